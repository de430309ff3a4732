//! Reads a folder of images as the frames of a video, in natural order.
//!
//! No frame is skipped: `qwen_vl_utils` reads a list of frames in the same way.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use x2i_core::{Error, Result, Video};

use super::kept::{Kept, MAX_FRAMES};
use crate::files::{hash_file, hex, io_error};
use crate::media::image;
use crate::media::input::Input;
use crate::media::kind::Kind;
use crate::media::reading::Reading;
use crate::media::sniff::{Format, start_of};

/// Reads the images of a folder as a video of the sampling's frames per second. Other files are ignored. The
/// hash covers the names and hashes of the images.
///
/// # Errors
/// [`Error::Io`], [`Error::Image`] for a broken image, [`Error::Video`] when there are none, too
/// many, or several sizes.
pub fn read(name: &str, folder: &Path, reading: &Reading) -> Result<Input<Video>> {
    let paths = pictures(name, folder)?;
    let mut kept = Kept::new(name, paths.len());
    let mut hasher = Sha256::new();
    for path in &paths {
        let picture = image::read_with(path, reading)?;
        add(&mut hasher, path, &picture.sha256);
        kept.push(picture.value)?;
    }
    Ok(Input {
        value: kept.video(reading.sampling.fps())?,
        sha256: hex(&hasher.finalize()),
    })
}

/// The hash of a folder's images that [`read`] gives, without decoding them.
///
/// # Errors
/// As [`read`], but for broken images.
pub fn hash(name: &str, folder: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    for path in pictures(name, folder)? {
        add(&mut hasher, &path, &hash_file(&path)?);
    }
    Ok(hex(&hasher.finalize()))
}

/// Adds an image's name and hash.
fn add(hasher: &mut Sha256, path: &Path, sha256: &str) {
    let file = path.file_name().unwrap_or_default();
    hasher.update(file.as_encoded_bytes());
    hasher.update([0]);
    hasher.update(sha256);
}

/// The files of a folder that begin like images, in natural order; at least one.
///
/// # Errors
/// [`Error::Io`]; [`Error::Video`] when there are none or too many.
pub fn pictures(name: &str, folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error| io_error(name, error);
    let mut paths = vec![];
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_file() {
            let start = start_of(&path);
            let start = start.map_err(|error| io_error(&path.display().to_string(), error))?;
            if Format::of(&start).is_some_and(|format| format.kind() == Kind::Image) {
                paths.push(path);
            }
        }
    }
    let file_name = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    };
    paths.sort_by(|a, b| natural_order(&file_name(a), &file_name(b)));
    let problem = match paths.len() {
        0 => "is a folder without images".to_owned(),
        1..=MAX_FRAMES => return Ok(paths),
        n => format!("is a folder of {n} frames; a video has at most {MAX_FRAMES}; remove some"),
    };
    Err(Error::video(name, problem))
}

/// Compares runs of digits as numbers: `frame_9` comes before `frame_10`.
fn natural_order(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    loop {
        let (x, y) = match (left.chars().next(), right.chars().next()) {
            // The names differ at most in leading zeros; a total order is needed.
            (None, None) => return a.cmp(b),
            (None, _) => return Ordering::Less,
            (_, None) => return Ordering::Greater,
            (Some(x), Some(y)) => (x, y),
        };
        let order = match x.is_ascii_digit() && y.is_ascii_digit() {
            true => take_number(&mut left).cmp(&take_number(&mut right)),
            false => {
                left = &left[x.len_utf8()..];
                right = &right[y.len_utf8()..];
                x.cmp(&y)
            }
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// Takes the digits at the start of `text`. Returns a key that orders them as numbers: the length
/// without leading zeros, then the digits.
fn take_number<'a>(text: &mut &'a str) -> (usize, &'a str) {
    let end = text.find(|c: char| !c.is_ascii_digit());
    let (digits, rest) = text.split_at(end.unwrap_or(text.len()));
    *text = rest;
    let digits = digits.trim_start_matches('0');
    (digits.len(), digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_stand_in_the_order_of_their_numbers() {
        let mut names = [
            "f10.png",
            "f9.png",
            "f009.png",
            "f1.png",
            "g1.png",
            "f",
            "F2.png",
            "f1a.png",
            "é2",
            "é10",
            "f99999999999999999999999.png",
            "f100000000000000000000000.png",
        ];
        names.sort_by(|a, b| natural_order(a, b));
        let expected = [
            "F2.png",
            "f",
            "f1.png",
            "f1a.png",
            "f009.png",
            "f9.png",
            "f10.png",
            "f99999999999999999999999.png",
            "f100000000000000000000000.png",
            "g1.png",
            "é2",
            "é10",
        ];
        assert_eq!(names, expected);
    }
}
