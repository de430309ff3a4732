//! A folder of pictures, each with a caption file of the same name, and perhaps a hint: `cat.png`, `cat.txt`,
//! `cat.hint.png`.

use std::fs;
use std::path::Path;

use x2i_core::{Error, Result};
use x2i_engine::files::io_error;

use super::entry::{Entry, Place};

/// Folders in one another that are looked into.
const DEEPEST: usize = 8;
/// Endings of pictures.
const PICTURES: [&str; 6] = ["png", "jpg", "jpeg", "webp", "bmp", "gif"];
/// What the name of a picture's hint ends with, before its own ending.
const HINT: &str = ".hint";

/// The samples of a folder, sorted by key, the path without its ending. `caption` serves where there is
/// no caption file. Links to folders are not followed.
///
/// # Errors
/// [`Error::MissingFile`], [`Error::Io`], or [`Error::Config`] when there is no picture at all.
pub(super) fn read(folder: &Path, caption: Option<&str>, source: u32) -> Result<Vec<Entry>> {
    let mut entries = vec![];
    walk(folder, "", 0, &mut |path, key| {
        let mut entry = Entry::new(key, source);
        let beside = |ending: &str| Some(path.with_extension(ending)).filter(|file| file.is_file());
        entry.json = beside("json").map(Place::Path);
        entry.txt = beside("txt")
            .map(Place::Path)
            .or_else(|| Some(Place::Memory(caption?.as_bytes().into())));
        let mut hints = PICTURES
            .iter()
            .map(|ending| format!("{}.{ending}", &HINT[1..]));
        entry.hint = hints.find_map(|ending| beside(&ending)).map(Place::Path);
        entry.picture = Some(Place::Path(path.to_owned()));
        entries.push(entry);
    })?;
    if entries.is_empty() {
        let reason = format!("holds no picture ({})", PICTURES.join(", "));
        return Err(Error::config(folder.display().to_string(), reason));
    }
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(entries)
}

/// Calls `found` for every picture, with its key.
fn walk(
    folder: &Path,
    prefix: &str,
    depth: usize,
    found: &mut dyn FnMut(&Path, String),
) -> Result<()> {
    let name = folder.display().to_string();
    let failed = |error| io_error(&name, error);
    let mut names = vec![];
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // A name that is not UTF-8 can't be a key.
        if let Ok(name) = entry.file_name().into_string()
            && !name.starts_with('.')
        {
            names.push((name, entry.file_type().map_err(failed)?));
        }
    }
    names.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (name, kind) in names {
        let path = folder.join(&name);
        if kind.is_dir() {
            if depth < DEEPEST {
                walk(&path, &format!("{prefix}{name}/"), depth + 1, found)?;
            }
        } else if let Some((stem, ending)) = name.rsplit_once('.')
            && PICTURES.contains(&ending.to_ascii_lowercase().as_str())
            && !stem.ends_with(HINT)
            && path.is_file()
        {
            found(&path, format!("{prefix}{stem}"));
        }
    }
    Ok(())
}
