//! Checks and hashes input files without decoding them.
//!
//! A batch is checked whole before its first image: there its files exist and are of their kind. What
//! only decoding shows is known when a line is painted.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use image::{ImageError, ImageFormat, ImageReader};
use x2i_core::{Error, Result};

use super::kind::Kind;
use super::sniff::{Format, SIGNATURE};
use super::{audio, image as picture, sniff, video};
use crate::files::{hash_file, io_error, open_regular};

/// Checks that a file can be opened, and that it begins like one of its kind.
///
/// # Errors
/// As [`super::read`], but for what only decoding shows; [`Error::Format`] for a pipe or a device, which
/// can't be read twice.
pub fn check(kind: Kind, path: &Path) -> Result<()> {
    let name = path.display().to_string();
    if path.is_dir() {
        return match kind {
            Kind::Image => Err(Error::image(name, "is a folder, not an image")),
            Kind::Video => video::folder::pictures(&name, path).map(drop),
            Kind::Audio => Err(Error::audio(name, "is a folder, not an audio file")),
        };
    }
    let (_, mut file, _) = open_regular(path)?;
    let mut start = vec![];
    let read = (&mut file).take(SIGNATURE as u64).read_to_end(&mut start);
    read.map_err(|error| io_error(&name, error))?;
    let format = Format::of(sniff::without_junk(&start));
    let mistaken = |formats| Err(sniff::mistaken(&name, &start, kind, formats));
    match (kind, format.map(Format::kind)) {
        (Kind::Image, Some(Kind::Image)) if Format::of(&start) == format => {
            match format.and_then(picture::native) {
                Some(native) => check_size(&name, path, native),
                None => Ok(()), // ffmpeg's
            }
        }
        (Kind::Image, Some(Kind::Image)) => Ok(()), // junk in front
        (Kind::Image, None) if picture::is_tga(&name, &start) => Ok(()),
        (Kind::Image, _) => mistaken(picture::FORMATS),
        (Kind::Video, Some(Kind::Video)) => Ok(()),
        (Kind::Video, _) if format.is_some_and(may_move) => Ok(()),
        (Kind::Video, _) => mistaken(video::FORMATS),
        (Kind::Audio, Some(Kind::Audio | Kind::Video)) => Ok(()),
        (Kind::Audio, _) => mistaken(audio::FORMATS),
    }
}

/// Formats of another kind that may hold a video.
fn may_move(format: Format) -> bool {
    matches!(
        format,
        Format::Gif | Format::Png | Format::Webp | Format::Ogg
    )
}

/// Reads the header of an image.
fn check_size(name: &str, path: &Path, format: ImageFormat) -> Result<()> {
    let file = File::open(path).map_err(|error| io_error(name, error))?;
    let reader = ImageReader::with_format(BufReader::new(file), format);
    match reader.into_decoder() {
        Ok(decoder) => picture::check_size(name, &decoder),
        // ffmpeg may read this kind of it.
        Err(ImageError::Unsupported(_)) => Ok(()),
        Err(error) => Err(Error::image(name, format!("can't be read: {error}"))),
    }
}

/// The hash that [`super::read`] gives for a file, without decoding it.
///
/// # Errors
/// [`Error::MissingFile`], [`Error::Io`], or [`Error::Format`] for a pipe or a device.
pub fn hash(kind: Kind, path: &Path) -> Result<String> {
    match kind {
        Kind::Video if path.is_dir() => video::folder::hash(&path.display().to_string(), path),
        _ => hash_file(path),
    }
}

#[cfg(test)]
mod tests {
    use x2i_core::video::sampling::Sampling;

    use super::*;

    fn write_picture(path: &Path, shade: u8) {
        let picture = image::RgbImage::from_pixel(8, 8, image::Rgb([shade; 3]));
        picture.save(path).unwrap();
    }

    #[test]
    fn the_hash_of_a_file_is_the_same_before_and_after_decoding() {
        let folder = tempfile::tempdir().unwrap();
        for n in [2, 10, 9] {
            write_picture(&folder.path().join(format!("f{n}.png")), n);
        }
        let path = folder.path().join("f9.png");
        check(Kind::Image, &path).unwrap();
        let read = picture::read(&path).unwrap();
        assert_eq!(hash(Kind::Image, &path).unwrap(), read.sha256);
        check(Kind::Video, folder.path()).unwrap();
        let read = video::read(folder.path(), Sampling::Even { fps: 2.0 }).unwrap();
        assert_eq!(hash(Kind::Video, folder.path()).unwrap(), read.sha256);
    }

    #[test]
    fn what_is_not_of_its_kind_is_said_without_decoding() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let refused = |kind, bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            check(kind, &path).unwrap_err().to_string()
        };
        assert!(
            refused(Kind::Image, b"RIFF\0\0\0\0WAVEfmt ")
                .ends_with("is an audio file, not an image")
        );
        assert!(refused(Kind::Image, b"hello").contains("is not an image"));
        assert!(refused(Kind::Image, b"\x89PNG\r\n\x1a\n").contains("can't be read"));
        assert!(refused(Kind::Video, b"#EXTM3U\n").contains("is not a video"));
        assert!(refused(Kind::Video, b"\xff\xd8\xff\xe0").contains("is an image, not a video"));
        assert!(refused(Kind::Audio, b"").contains("is empty"));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(
            check(Kind::Image, &path),
            Err(Error::MissingFile { .. })
        ));
    }
}
