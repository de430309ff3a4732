//! The segments of a JPEG and the chunks of a WebP, as far as a record needs them.
//!
//! Sources: ITU-T T.81 annex B, and Google's "WebP Container Specification". An EXIF segment of JPEG holds
//! 64 KiB at most; a longer record stands in comment segments with numbers.

use super::exif;

/// The longest EXIF block of a JPEG: a segment without its length and `Exif\0\0`.
pub(super) const MOST_EXIF: usize = 65_535 - 2 - 6;
/// Begins a comment segment with a stretch of a record; its number and their count follow.
const COMMENT: &[u8; 4] = b"x2i\0";
/// Bytes of a record in one comment segment.
const STRETCH: usize = 65_535 - 2 - COMMENT.len() - 4;

/// A JPEG with a record in comment segments behind its first one.
pub(super) fn with_comments(jpeg: &[u8], record: &str) -> Vec<u8> {
    let first = jpeg.get(4..6).map_or(0, |length| {
        usize::from(length[0]) << 8 | usize::from(length[1])
    });
    let (head, tail) = jpeg.split_at((4 + first).min(jpeg.len()));
    let mut whole = head.to_vec();
    let stretches = record.as_bytes().chunks(STRETCH);
    let count = stretches.len() as u16; // `MAX_RECORD` is 769 of them
    for (number, stretch) in (0u16..).zip(stretches) {
        whole.extend([0xff, 0xfe]);
        let length = 2 + COMMENT.len() + 4 + stretch.len();
        whole.extend((length as u16).to_be_bytes());
        whole.extend_from_slice(COMMENT);
        whole.extend(number.to_be_bytes());
        whole.extend(count.to_be_bytes());
        whole.extend_from_slice(stretch);
    }
    whole.extend_from_slice(tail);
    whole
}

/// The record of a JPEG.
///
/// # Errors
/// The reason, for a file that is cut short.
pub(super) fn jpeg_record(jpeg: &[u8]) -> Result<Option<String>, &'static str> {
    const CUT: &str = "it is cut short";
    let mut record = None;
    let mut comments: Vec<&[u8]> = vec![];
    let mut at = 2;
    loop {
        let marker = match jpeg.get(at..at + 2).ok_or(CUT)? {
            [0xff, 0xff] => {
                at += 1; // a fill byte
                continue;
            }
            [0xff, marker] => *marker,
            _ => return Err("a segment is broken"),
        };
        at += 2;
        if matches!(marker, 0x01 | 0xd0..=0xd7) {
            continue; // without a length
        }
        if matches!(marker, 0xd9 | 0xda) {
            break;
        }
        let length = jpeg.get(at..at + 2).ok_or(CUT)?;
        let length = usize::from(length[0]) << 8 | usize::from(length[1]);
        let segment = jpeg.get(at + 2..at + length.max(2)).ok_or(CUT)?;
        match marker {
            0xe1 if record.is_none() => {
                record = segment.strip_prefix(b"Exif\0\0").and_then(exif::read);
            }
            0xfe => comments.extend(segment.strip_prefix(COMMENT)),
            _ => {}
        }
        at += length.max(2);
    }
    let ends = jpeg[at..].windows(2).any(|bytes| bytes == [0xff, 0xd9]);
    if !ends {
        return Err(CUT);
    }
    Ok(record.or_else(|| joined(&comments)))
}

/// The record of all comment segments, in the order of their numbers.
fn joined(comments: &[&[u8]]) -> Option<String> {
    let mut stretches = vec![];
    for comment in comments {
        let (numbers, stretch) = comment.split_first_chunk::<4>()?;
        let [number, count] = [[numbers[0], numbers[1]], [numbers[2], numbers[3]]];
        stretches.push((
            u16::from_be_bytes(number),
            u16::from_be_bytes(count),
            stretch,
        ));
    }
    stretches.sort_by_key(|(number, ..)| *number);
    let (_, count, _) = stretches.first()?;
    let is_whole = stretches.len() == usize::from(*count)
        && (0..)
            .zip(&stretches)
            .all(|(at, (number, ..))| at == *number);
    let bytes = stretches.iter().flat_map(|(_, _, stretch)| *stretch);
    let bytes = is_whole.then(|| bytes.copied().collect());
    String::from_utf8(bytes?).ok()
}

/// The record of a WebP.
///
/// # Errors
/// The reason, for a file that is cut short.
pub(super) fn webp_record(webp: &[u8]) -> Result<Option<String>, &'static str> {
    const CUT: &str = "it is cut short";
    let long = |at: usize| {
        let bytes: [u8; 4] = webp.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_le_bytes(bytes) as usize)
    };
    let end = long(4).ok_or(CUT)?.saturating_add(8);
    if webp.len() < end {
        return Err(CUT);
    }
    let mut at = 12;
    while at + 8 <= end {
        let length = long(at + 4).ok_or(CUT)?;
        let chunk = webp.get(at + 8..(at + 8).saturating_add(length));
        let chunk = chunk.ok_or(CUT)?;
        if &webp[at..at + 4] == b"EXIF" {
            // Some programs keep JPEG's heading.
            let block = chunk.strip_prefix(b"Exif\0\0").unwrap_or(chunk);
            return Ok(exif::read(block));
        }
        at += 8 + length + length % 2;
    }
    Ok(None)
}
