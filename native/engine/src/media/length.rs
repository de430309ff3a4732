//! Whether a sound or video is all there, where its container states its length.
//!
//! ffmpeg plays what is there of a file that was cut, and says nothing. What is compared: the `FORM` of AIFF, the
//! chunks of CAF, the data of AU, the file of Wave64, and the `Segment` of Matroska and WebM (RFC 8794). Left out:
//! containers of packets (MPEG, Ogg, MP3), and those whose frames are counted (MP4, AVI).

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::sniff::Format;

/// So much may be missing, of a hundred: tags and indexes at the end are lost without harm.
const HARMLESS: u64 = 1;
/// Chunks of a CAF that are looked at.
const CHUNKS: usize = 64;

/// The reason, for a file that is much shorter than its header says. A file that can't be read is left to those who
/// decode it.
pub(in crate::media) fn cut(path: &Path, format: Format) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let found = file.metadata().ok()?.len();
    let promised = match format {
        Format::Aiff => stated(&mut file, 4, |bytes: [u8; 4]| {
            u64::from(u32::from_be_bytes(bytes)) + 8
        }),
        Format::Au => au(&mut file),
        Format::W64 => stated(&mut file, 16, u64::from_le_bytes),
        Format::Caf => caf(&mut file),
        Format::Matroska => matroska(&mut file),
        _ => return None,
    };
    // A header that is not all there has no length.
    let promised = promised.ok().flatten()?;
    let missing = promised.saturating_sub(found);
    (missing > promised / 100 * HARMLESS).then(|| {
        format!("is cut short: its header promises {promised} bytes, {found} are there; get the whole file")
    })
}

/// A number of `N` bytes.
fn stated<const N: usize>(
    file: &mut File,
    at: u64,
    number: impl Fn([u8; N]) -> u64,
) -> io::Result<Option<u64>> {
    let mut bytes = [0; N];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut bytes)?;
    Ok(Some(number(bytes)))
}

/// The place of the data, and their length; all ones where a recorder did not know it.
fn au(file: &mut File) -> io::Result<Option<u64>> {
    let start = stated(file, 4, |bytes| u64::from(u32::from_be_bytes(bytes)))?;
    let length = stated(file, 8, |bytes| u64::from(u32::from_be_bytes(bytes)))?;
    let known = length.filter(|&length| length != u64::from(u32::MAX));
    Ok(start.zip(known).map(|(start, length)| start + length))
}

/// The end of the last chunk; a length of -1 is that of data which go to the end of the file.
fn caf(file: &mut File) -> io::Result<Option<u64>> {
    let found = file.metadata()?.len();
    let mut at = 8_u64;
    for _ in 0..CHUNKS {
        let Some(length) = stated(file, at + 4, u64::from_be_bytes)? else {
            break;
        };
        let end = (at + 12).checked_add(length);
        match end {
            Some(end) if end < found && length <= i64::MAX as u64 => at = end,
            Some(end) if length <= i64::MAX as u64 => return Ok(Some(end)),
            _ => return Ok(None),
        }
    }
    Ok(None)
}

/// The end of the first segment.
fn matroska(file: &mut File) -> io::Result<Option<u64>> {
    const EBML: u64 = 4;
    const SEGMENT: [u8; 4] = [0x18, 0x53, 0x80, 0x67];
    let Some((header, width)) = vint(file, EBML)? else {
        return Ok(None);
    };
    let Some(segment) = header.checked_add(EBML + width) else {
        return Ok(None);
    };
    let mut id = [0; 4];
    file.seek(SeekFrom::Start(segment))?;
    file.read_exact(&mut id)?;
    if id != SEGMENT {
        return Ok(None);
    }
    let length = vint(file, segment + 4)?;
    Ok(length.and_then(|(length, width)| length.checked_add(segment + 4 + width)))
}

/// EBML's variable-size integer, and its bytes: the zeros before the first one count them. `None` for all ones,
/// a length that was not known.
fn vint(file: &mut File, at: u64) -> io::Result<Option<(u64, u64)>> {
    let mut first = [0; 1];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut first)?;
    let width = first[0].leading_zeros() + 1;
    if width > 8 {
        return Ok(None);
    }
    let mut rest = [0; 8];
    let rest = &mut rest[..width as usize - 1];
    file.read_exact(rest)?;
    let all_ones = (1_u64 << (7 * width)) - 1;
    let head = u64::from(first[0]) & ((1 << (8 - width)) - 1);
    let value = rest
        .iter()
        .fold(head, |value, &byte| value << 8 | u64::from(byte));
    Ok((value != all_ones).then_some((value, u64::from(width))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(bytes: &[u8], format: Format) -> Option<String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        cut(file.path(), format)
    }

    /// Files of 4000 bytes of data behind a header that says so.
    fn files() -> Vec<(Format, Vec<u8>)> {
        let mut aiff = b"FORM\0\0\x0f\xa4AIFF".to_vec();
        let mut au = b".snd\0\0\0\x18\0\0\x0f\xa0\0\0\0\x03\0\0\x1f\x40\0\0\0\x01".to_vec();
        let mut caf = b"caff\0\x01\0\0data\0\0\0\0\0\0\x0f\xa0".to_vec();
        // An EBML header of three bytes, and a segment.
        let mut webm = b"\x1a\x45\xdf\xa3\x83abc\x18\x53\x80\x67\x01\0\0\0\0\0\x0f\xa0".to_vec();
        let mut w64 = vec![b'r'; 16];
        w64.extend((4000_u64 + 24).to_le_bytes());
        for file in [&mut aiff, &mut au, &mut caf, &mut webm, &mut w64] {
            file.extend([7; 4000]);
        }
        vec![
            (Format::Aiff, aiff),
            (Format::Au, au),
            (Format::Caf, caf),
            (Format::Matroska, webm),
            (Format::W64, w64),
        ]
    }

    #[test]
    fn half_a_file_is_told_by_what_its_header_promises() {
        for (format, bytes) in files() {
            assert_eq!(reason(&bytes, format), None, "{format:?}");
            assert_eq!(
                reason(&bytes[..bytes.len() - 8], format),
                None,
                "a tag is lost"
            );
            let half = reason(&bytes[..bytes.len() / 2], format).expect("half is missing");
            let found = format!("{} are there", bytes.len() / 2);
            assert!(
                half.starts_with("is cut short") && half.contains(&found),
                "{half}"
            );
        }
    }

    #[test]
    fn a_length_that_the_recorder_did_not_know_promises_nothing() {
        let unknown = [
            (Format::Au, 8..12),
            (Format::Caf, 12..20),
            (Format::Matroska, 12..20),
        ];
        for (format, place) in unknown {
            let (_, mut bytes) = files().into_iter().find(|file| file.0 == format).unwrap();
            let first = bytes[place.start];
            bytes[place.clone()].fill(0xff);
            if format == Format::Matroska {
                bytes[place.start] = first; // eight bytes, all ones
            }
            assert_eq!(reason(&bytes[..2000], format), None, "{format:?}");
        }
        for (format, bytes) in files() {
            for end in 0..30 {
                let _ = reason(&bytes[..end], format); // no panic within a header
            }
        }
    }
}
