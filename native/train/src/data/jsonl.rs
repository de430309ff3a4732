//! A file with one JSON object a line: a caption and the names of pictures beside the file.

use std::path::Path;

use x2i_core::Result;

use super::entry::{Entry, Place};
use super::file::{DataFile, Window};
use super::name::leads_out;
use super::problem::{Note, Problem};
use super::text::{self, MOST_BYTES};

/// Fields that name the picture; of a pair the source.
const PICTURE: [&str; 4] = ["source", "file_name", "image", "picture"];
/// Fields that name the picture after the edit.
const EDITED: [&str; 2] = ["target", "edited_image"];
/// The field that names the picture that steers.
const HINT: [&str; 1] = ["hint"];
/// Bytes that are looked at for a line's end at once.
const STRIDE: u64 = 1 << 16;

/// The samples of a file; their keys are the numbers of their lines, counted from 1.
///
/// # Errors
/// When the file can't be read. A line that can't is left for its use to tell.
pub(super) fn read(file: &DataFile, number: u32, source: u32) -> Result<(Vec<Entry>, Vec<Note>)> {
    let (mut entries, mut notes) = (vec![], vec![]);
    let folder = Path::new(file.name()).parent().unwrap_or(Path::new(""));
    let mut window = Window::of(file);
    let (mut at, mut line) = (0, 0);
    while at < file.len() {
        line += 1;
        let end = line_end(&mut window, at, file.len())?;
        let size = end - at;
        let mut entry = Entry::new(line.to_string(), source);
        entry.json = Some(Place::Range {
            file: number,
            at,
            size,
        });
        let bytes = match size {
            ..=MOST_BYTES => window.read(at, size as usize)?,
            _ => &[],
        };
        at = end + 1;
        if size <= MOST_BYTES && bytes.trim_ascii().is_empty() {
            continue;
        }
        if let Ok(fields) = text::fields(bytes) {
            let named = |keys: &[&str]| {
                let mut names = keys.iter().filter_map(|key| fields.get(*key)?.as_str());
                names.next().map(str::to_owned)
            };
            let (picture, edited) = (named(&PICTURE), named(&EDITED));
            // A target alone is the picture.
            let (picture, edited) = match picture {
                None => (edited, None),
                picture => (picture, edited),
            };
            let slots = [
                (picture, &mut entry.picture),
                (edited, &mut entry.edited),
                (named(&HINT), &mut entry.hint),
            ];
            for (name, slot) in slots {
                let Some(name) = name else { continue };
                entry.leads_out |= leads_out(&name) || super::file::is_url(&name);
                *slot = Some(Place::Path(folder.join(name)));
            }
        }
        entries.push(entry);
    }
    if entries.is_empty() {
        notes.push(Note {
            file: file.name().to_owned(),
            key: None,
            byte: None,
            problem: Problem::Empty,
        });
    }
    Ok((entries, notes))
}

/// Where the line that begins at `at` ends.
fn line_end(window: &mut Window<'_>, at: u64, len: u64) -> Result<u64> {
    let mut from = at;
    while from < len {
        let size = STRIDE.min(len - from);
        let bytes = window.read(from, size as usize)?;
        if let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            return Ok(from + end as u64);
        }
        from += size;
    }
    Ok(len)
}
