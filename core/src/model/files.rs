//! Which files make a part of a model, and opening them.

use std::collections::BTreeSet;

use super::source::{ModelSource, exists, join, read_optional};
use super::weight_name::{Kind, WeightName, kind, with_siblings};
use crate::error::{Error, Result};
use crate::weights::{Component, WeightFile, Weights, check_split, safetensors};

/// Opens all weight files of one part.
///
/// # Errors
/// As [`WeightFile::open`]; [`Error::Format`] when parts of a split GGUF file are missing.
pub async fn open_weights(
    source: &dyn ModelSource,
    component: Component,
    files: &[String],
) -> Result<Weights> {
    let mut opened = Vec::with_capacity(files.len());
    for file in files {
        opened.push(WeightFile::open(source.open(file).await?).await?);
    }
    check_split(&opened)?;
    Weights::new(files.join(", "), component, opened)
}

/// The files of one part by their usual `stems`: shards by their index, a single file, shards without
/// an index, or one of the variants (`fp16`) of these.
///
/// # Errors
/// [`Error::MissingFile`] naming the missing shard, or the name that is looked for first.
pub(super) async fn weight_files(
    source: &dyn ModelSource,
    folder: &str,
    stems: &[&str],
) -> Result<Vec<String>> {
    let listed = file_names(source, folder).await?;
    let mut incomplete = None;
    for stem in stems {
        for index in indexes(stem, &listed) {
            match by_index(source, folder, &index, !listed.is_empty()).await {
                Ok(Some(files)) => return Ok(files),
                Ok(None) => {}
                Err(error @ Error::MissingFile { .. }) => incomplete = Some(error),
                Err(error) => return Err(error),
            }
        }
        for extension in ["safetensors", "gguf", "bin", "pt"] {
            let file = join(folder, &format!("{stem}.{extension}"));
            if exists(source, &file).await? {
                return Ok(vec![file]);
            }
        }
        match by_listing(folder, stem, &listed) {
            Ok(Some(files)) => return Ok(files),
            Ok(None) => {}
            Err(error) => incomplete = Some(error),
        }
    }
    Err(incomplete.unwrap_or_else(|| Error::MissingFile {
        file: join(folder, &format!("{}.safetensors", stems[0])),
    }))
}

/// The indexes that a folder may have: the usual name, then those of variants.
fn indexes(stem: &str, listed: &[String]) -> Vec<String> {
    let usual = ["safetensors", "bin"].map(|kind| format!("{stem}.{kind}.index.json"));
    let variant = |name: &&String| {
        let rest = name.strip_prefix(stem).unwrap_or_default();
        rest.starts_with('.') && rest.contains(".index.") && rest.ends_with(".json")
    };
    let variants = listed.iter().filter(variant).cloned();
    let variants = variants.filter(|name| !usual.contains(name));
    let [safetensors, bin] = usual.clone();
    std::iter::once(safetensors)
        .chain(listed.contains(&bin).then_some(bin))
        .chain(variants)
        .collect()
}

/// The shards of an index, if it is there. `look` is whether they are looked for: a source that
/// lists nothing may ask a network for each of them.
async fn by_index(
    source: &dyn ModelSource,
    folder: &str,
    index: &str,
    look: bool,
) -> Result<Option<Vec<String>>> {
    let path = join(folder, index);
    let Some(json) = read_optional(source, &path).await? else {
        return Ok(None);
    };
    let shards = safetensors::shard_names(&path, &json)?.into_iter();
    let shards: Vec<String> = shards.map(|shard| join(folder, &shard)).collect();
    for shard in shards.iter().filter(|_| look) {
        if !exists(source, shard).await? {
            let file = shard.clone();
            return Err(Error::MissingFile { file });
        }
    }
    Ok(Some(shards))
}

/// The files of a stem among the `listed` names.
///
/// # Errors
/// [`Error::MissingFile`] when there are some shards, and not all.
fn by_listing(folder: &str, stem: &str, listed: &[String]) -> Result<Option<Vec<String>>> {
    let named = |name: &String| Some((WeightName::of(name, stem)?, name.clone()));
    let mut found: Vec<(WeightName, String)> = listed.iter().filter_map(named).collect();
    found.sort_by(|(a, _), (b, _)| a.rank().cmp(&b.rank()));
    let mut missing = None;
    for (name, file) in found {
        let files = name.shard.map_or_else(|| vec![file], |shard| shard.all());
        match files.iter().find(|file| !listed.contains(file)) {
            None => return Ok(Some(paths(folder, files))),
            Some(absent) => missing = missing.or_else(|| Some(join(folder, absent))),
        }
    }
    missing.map_or(Ok(None), |file| Err(Error::MissingFile { file }))
}

fn paths(folder: &str, names: Vec<String>) -> Vec<String> {
    names.into_iter().map(|name| join(folder, &name)).collect()
}

/// The names in a folder, without those that macOS leaves on foreign disks (`._model.safetensors`)
/// and other hidden ones.
pub(super) async fn file_names(source: &dyn ModelSource, folder: &str) -> Result<Vec<String>> {
    let names = source.list(folder).await?.into_iter();
    Ok(names.filter(|name| !name.starts_with('.')).collect())
}

/// The files of one format in a folder, those that belong together as one: a file, or all its parts.
pub(super) async fn file_sets(
    source: &dyn ModelSource,
    folder: &str,
    wanted: Kind,
) -> Result<Vec<Vec<String>>> {
    let names = file_names(source, folder).await?;
    let names = names.iter().filter(|name| kind(name) == Some(wanted));
    let sets: BTreeSet<Vec<String>> = names.map(|name| with_siblings(name)).collect();
    Ok(sets.into_iter().map(|set| paths(folder, set)).collect())
}

/// The one GGUF file of a folder, or the parts of the one, if there is any.
///
/// # Errors
/// [`Error::Config`] when there are several.
pub(super) async fn one_gguf(
    source: &dyn ModelSource,
    folder: &str,
) -> Result<Option<Vec<String>>> {
    one_of(folder, file_sets(source, folder, Kind::Gguf).await?, "GGUF")
}

/// The one of several.
///
/// # Errors
/// [`Error::Config`] when only the user knows which.
pub(super) fn one_of(
    folder: &str,
    mut sets: Vec<Vec<String>>,
    what: &str,
) -> Result<Option<Vec<String>>> {
    if sets.len() > 1 {
        let firsts = sets.iter().filter_map(|set| set.first());
        let firsts: Vec<&str> = firsts.map(String::as_str).collect();
        let reason = format!(
            "has several {what} files ({}); keep one, or name it in x2i.json",
            firsts.join(", ")
        );
        return Err(Error::config(folder, reason));
    }
    Ok(sets.pop())
}
