//! Which of a folder's GGUF files are the language model and its vision part (`mmproj`).
//!
//! Files say it themselves (`general.architecture`). Passed over: importance matrices, which lie
//! beside many published models, and the vision parts that are not the best one.

use super::files::file_sets;
use super::source::{ModelSource, parent};
use super::weight_name::Kind;
use crate::config::{EncoderPart, VisionPart};
use crate::error::{Error, Result};
use crate::weights::gguf::MetaValue;
use crate::weights::{StoredType, WeightFile};

/// The chosen files, opened.
pub(super) struct Ggufs {
    /// Their paths, the language model's parts first.
    pub(super) paths: Vec<String>,
    pub(super) files: Vec<WeightFile>,
    pub(super) vision: VisionPart,
}

/// A GGUF file, or all parts of one.
struct Set {
    paths: Vec<String>,
    files: Vec<WeightFile>,
}

/// The sets of a folder that are named as vision parts.
pub(super) async fn vision_beside(
    source: &dyn ModelSource,
    folder: &str,
) -> Result<Vec<Vec<String>>> {
    let mut sets = file_sets(source, folder, Kind::Gguf).await?;
    sets.retain(|set| is_mmproj(&set[0]));
    Ok(sets)
}

/// By its name alone.
fn is_mmproj(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.to_ascii_lowercase().contains("mmproj")
}

/// Chooses the language model and its vision part among `sets`.
///
/// # Errors
/// [`Error::Config`] when there is no language model, when there are several, or for a GGUF file of
/// something else.
pub(super) async fn choose(
    source: &dyn ModelSource,
    folder: &str,
    sets: Vec<Vec<String>>,
) -> Result<Ggufs> {
    let (mut models, mut visions) = (Vec::new(), Vec::new());
    for paths in sets {
        let mut files = Vec::with_capacity(paths.len());
        for path in &paths {
            files.push(WeightFile::open(source.open(path).await?).await?);
        }
        let set = Set { paths, files };
        let architecture = text(&set.files[0], "general.architecture").map(str::to_owned);
        match architecture.as_deref() {
            Some("qwen2vl") => models.push(set),
            Some("clip") => visions.push(set),
            _ if is_importance(&set) => {}
            other => return Err(stranger(&set, other)),
        }
    }
    if models.len() != 1 {
        return Err(not_one_model(folder, &models));
    }
    let mut chosen = models.remove(0);
    let width = columns(&chosen.files, "token_embd.weight", 1);
    // The folder may hold vision parts of models of other sizes.
    let fits = |vision: &Set| {
        let out = columns(&vision.files, "mm.2.weight", 0);
        width.is_none() || out.is_none() || out == width
    };
    if visions.len() > 1 {
        visions.retain(fits);
    }
    visions.sort_by_cached_key(|set| (rank(set), set.paths[0].clone()));
    let vision = match visions.is_empty() {
        true => VisionPart::Missing,
        false => {
            let Set { paths, files } = visions.remove(0);
            chosen.paths.extend(paths);
            chosen.files.extend(files);
            VisionPart::Inside
        }
    };
    Ok(Ggufs {
        paths: chosen.paths,
        files: chosen.files,
        vision,
    })
}

/// What was left aside when the encoder's files were chosen, a sentence each.
///
/// # Errors
/// What the source says.
pub(super) async fn left_out(source: &dyn ModelSource, part: &EncoderPart) -> Result<Vec<String>> {
    let Some(used) = part.weights.iter().find(|path| is_mmproj(path)) else {
        return Ok(Vec::new());
    };
    let beside = vision_beside(source, parent(used)).await?.into_iter();
    let others: Vec<String> = beside.flatten().filter(|path| path != used).collect();
    Ok(match others.is_empty() {
        true => Vec::new(),
        false => {
            let others = others.join(", ");
            vec![format!(
                "{used} is the vision part that is used, {others} is not; to choose, name it as mmproj in \
                 x2i.json"
            )]
        }
    })
}

fn text<'a>(file: &'a WeightFile, key: &str) -> Option<&'a str> {
    file.metadata_value(key).and_then(MetaValue::as_str)
}

/// llama.cpp's measurements for quantizing.
fn is_importance(set: &Set) -> bool {
    text(&set.files[0], "general.type") == Some("imatrix")
        || set.paths[0].to_ascii_lowercase().contains("imatrix")
}

/// One size of a tensor's shape.
fn columns(files: &[WeightFile], name: &str, axis: usize) -> Option<usize> {
    let info = files.iter().find_map(|file| file.tensors().get(name))?;
    info.shape.get(axis).copied()
}

/// F16 before BF16: products of 11 bits of mantissa are nearer to the published model's.
fn rank(set: &Set) -> usize {
    let order = [StoredType::F16, StoredType::BF16, StoredType::F32];
    let bytes = |stored: StoredType| -> u64 {
        let infos = set.files.iter().flat_map(|file| file.tensors().values());
        let same = infos.filter(|info| info.stored == stored && info.shape.len() > 1);
        same.map(|info| info.byte_len()).sum()
    };
    let all: u64 = {
        let infos = set.files.iter().flat_map(|file| file.tensors().values());
        let matrices = infos.filter(|info| info.shape.len() > 1);
        matrices.map(|info| info.byte_len()).sum()
    };
    let main = order.iter().position(|&stored| 2 * bytes(stored) > all);
    main.unwrap_or(order.len())
}

fn stranger(set: &Set, architecture: Option<&str>) -> Error {
    let part = set.files[0].metadata_value("split.no");
    let reason = match (architecture, part.and_then(MetaValue::as_u64)) {
        (None, Some(part)) => format!(
            "is part {} of a split GGUF file, and its name does not say so; name the parts \
             NAME-00001-of-00003.gguf and so on",
            part.saturating_add(1)
        ),
        (other, _) => format!(
            "is a GGUF file of {}, neither of qwen2vl (Qwen2.5-VL) nor of its vision part (clip)",
            other.unwrap_or("no architecture")
        ),
    };
    Error::config(set.paths[0].clone(), reason)
}

/// There are none or several, and only the user knows which.
fn not_one_model(folder: &str, models: &[Set]) -> Error {
    let names: Vec<&str> = models.iter().map(|set| set.paths[0].as_str()).collect();
    let found = match names.is_empty() {
        true => "none is there".to_owned(),
        false => format!("there are {}", names.join(", ")),
    };
    let reason = format!(
        "one GGUF file of the language model is needed, {found}; name it in x2i.json: \"mllm\": \
         {{\"model\": \"..\", \"mmproj\": \"..\"}}"
    );
    Error::config(folder, reason)
}
