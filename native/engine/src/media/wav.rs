//! Finds the sound in a WAV file, whatever its header and its other chunks say of their lengths.
//!
//! A recorder that was stopped leaves a length of 0, a program that writes to a pipe the greatest number;
//! some write a text chunk of odd length without the byte that fills it up. The decoder gets a plain
//! header, the `fmt ` chunk and the samples.

use std::io::{self, Cursor, Read, Seek, SeekFrom};

use symphonia::core::io::{MediaSource, ReadOnlySource};

/// The longest `fmt ` chunk that is read, in bytes; the known ones have at most 50 and coefficients.
const MAX_FORMAT: u64 = 1024;
/// Where the samples are looked for when a chunk's length leads nowhere, in bytes.
const MAX_SEARCH: u64 = 1 << 20;
/// Lengths that programs write when they don't know it: the ends of signed and unsigned 32 bits.
const UNKNOWN: [std::ops::RangeInclusive<u64>; 2] =
    [0x7fff_0000..=0x8000_0000, 0xffff_0000..=0xffff_ffff];
/// The tags of formats without compression: whole numbers, floats, A-law, µ-law, and one of these in an
/// extended header.
const PLAIN: [u16; 5] = [1, 3, 6, 7, 0xfffe];

/// The sound of a WAV file.
pub struct Wav {
    /// A WAV file of the `fmt ` chunk and the samples.
    pub source: Box<dyn MediaSource>,
    /// The samples have no compression, or one that is read here.
    pub plain: bool,
}

/// Finds the sound; a source without one is returned as it is.
///
/// # Errors
/// The system's.
pub fn find(mut source: Box<dyn MediaSource>) -> io::Result<Wav> {
    let length = source.seek(SeekFrom::End(0))?;
    let Some((format, samples)) = chunks(&mut source, length)? else {
        source.seek(SeekFrom::Start(0))?;
        return Ok(Wav {
            source,
            plain: true,
        });
    };
    let plain = format
        .get(..2)
        .is_some_and(|tag| PLAIN.contains(&u16::from_le_bytes([tag[0], tag[1]])));
    let header = header(&format, samples.stated);
    source.seek(SeekFrom::Start(samples.start))?;
    let whole = Cursor::new(header).chain(source);
    Ok(Wav {
        source: Box::new(ReadOnlySource::new(whole)),
        plain,
    })
}

/// Where the samples are.
struct Samples {
    start: u64,
    /// Their length by the header, or of what is there where the header does not know.
    stated: u64,
}

fn header(format: &[u8], samples: u64) -> Vec<u8> {
    let clamp = |length: u64| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    let filled = format.len() as u64 + format.len() as u64 % 2;
    let mut header = [
        &b"RIFF"[..],
        &clamp(samples.saturating_add(20 + filled)),
        b"WAVEfmt ",
    ]
    .concat();
    header.extend(clamp(format.len() as u64));
    header.extend(format);
    header.resize(20 + filled as usize, 0);
    header.extend(b"data");
    header.extend(clamp(samples));
    header
}

/// The `fmt ` chunk and the samples; `None` when one is missing.
fn chunks(
    source: &mut Box<dyn MediaSource>,
    length: u64,
) -> io::Result<Option<(Vec<u8>, Samples)>> {
    let (mut place, mut format) = (12, None);
    while let Some((name, size)) = chunk(source, place)? {
        let body = place + 8;
        match &name {
            b"fmt " if size <= MAX_FORMAT => {
                source.seek(SeekFrom::Start(body))?;
                let mut bytes = vec![];
                source.by_ref().take(size).read_to_end(&mut bytes)?;
                format = Some(bytes);
            }
            b"data" => {
                let there = length.saturating_sub(body);
                let unknown = size == 0 && !is_list(source, body, length)?
                    || size > there && UNKNOWN.iter().any(|range| range.contains(&size));
                let stated = if unknown { there } else { size };
                let samples = Samples {
                    start: body,
                    stated,
                };
                return Ok(format.map(|format| (format, samples)));
            }
            _ => {}
        }
        match next(source, body, size)? {
            Some(next) => place = next,
            None => return Ok(None),
        }
    }
    Ok(None)
}

/// The name and the length of the chunk at a place; `None` at the end, or when it has no name.
fn chunk(source: &mut Box<dyn MediaSource>, place: u64) -> io::Result<Option<([u8; 4], u64)>> {
    source.seek(SeekFrom::Start(place))?;
    let mut head = vec![];
    source.take(8).read_to_end(&mut head)?;
    let &[a, b, c, d, ..] = &head[..] else {
        return Ok(None);
    };
    let Some(&[e, f, g, h]) = head.get(4..8) else {
        return Ok(None);
    };
    let name = [a, b, c, d];
    let named = name.iter().all(|byte| (b' '..=b'~').contains(byte));
    Ok(named.then_some((name, u64::from(u32::from_le_bytes([e, f, g, h])))))
}

/// The place after a chunk: filled up to an even length, or not, or else wherever one
/// that is needed begins.
fn next(source: &mut Box<dyn MediaSource>, body: u64, size: u64) -> io::Result<Option<u64>> {
    let end = body + size;
    let needed = |name: &[u8]| name == b"data" || name == b"fmt ";
    let places = [end + size % 2, end];
    let mut named = None;
    for place in places {
        match chunk(source, place)? {
            Some((name, _)) if needed(&name) => return Ok(Some(place)),
            Some(_) => named = named.or(Some(place)),
            None => {}
        }
    }
    if named.is_some() {
        return Ok(named);
    }
    source.seek(SeekFrom::Start(body))?;
    let mut bytes = vec![];
    source.take(MAX_SEARCH).read_to_end(&mut bytes)?;
    let found = bytes.windows(4).position(needed);
    Ok(found.map(|found| body + found as u64))
}

/// Whether chunks fill the file from a place to its end: then there are no samples.
fn is_list(source: &mut Box<dyn MediaSource>, mut place: u64, length: u64) -> io::Result<bool> {
    while place < length {
        match chunk(source, place)? {
            Some((_, size)) => place += 8 + size + size % 2,
            None => return Ok(false),
        }
    }
    Ok(place <= length + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMAT: &[u8] = b"\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0";

    /// What the decoder gets of a file with these chunks: the length of its samples, and the samples.
    fn samples(chunks: &[(&[u8], u32, &[u8])]) -> (u32, Vec<u8>) {
        let mut bytes = b"RIFF\0\0\0\0WAVE".to_vec();
        for (name, size, data) in chunks {
            bytes.extend([*name, &size.to_le_bytes()[..], *data].concat());
        }
        let mut wav = find(Box::new(Cursor::new(bytes))).unwrap();
        assert!(wav.plain);
        let mut found = vec![];
        wav.source.read_to_end(&mut found).unwrap();
        assert_eq!(
            (&found[..4], &found[8..16], &found[20..36]),
            (&b"RIFF"[..], &b"WAVEfmt "[..], FORMAT)
        );
        let size = u32::from_le_bytes(found[40..44].try_into().unwrap());
        (size, found.split_off(44))
    }

    #[test]
    fn samples_are_found_whatever_stands_before_them() {
        let format = (&b"fmt "[..], 16, FORMAT);
        let data = (&b"data"[..], 4, &b"abcd"[..]);
        let whole = (4, b"abcd".to_vec());
        assert_eq!(samples(&[format, data]), whole);
        let lists: [(&[u8], u32, &[u8]); 4] = [
            (b"LIST", 5, b"INFOx\0"),
            (b"LIST", 5, b"INFOx"),
            (b"LIST", 4_000_000_000, b"INFO"),
            (b"LIST", 1, b"INFO\0\0\0"),
        ];
        for list in lists {
            assert_eq!(samples(&[format, list, data]), whole, "{list:?}");
            assert_eq!(samples(&[list, format, data]), whole, "{list:?}");
        }
    }

    #[test]
    fn a_length_that_nobody_knew_is_that_of_the_rest() {
        let format = (&b"fmt "[..], 16, FORMAT);
        for size in [0, u32::MAX, 0x7fff_ffff, 0xffff_ffd0] {
            let data = (&b"data"[..], size, &b"abcd"[..]);
            assert_eq!(samples(&[format, data]), (4, b"abcd".to_vec()));
        }
        // A promise stays one, so that a cut file is noticed.
        let data = (&b"data"[..], 1000, &b"abcd"[..]);
        assert_eq!(samples(&[format, data]).0, 1000);
        let empty = (&b"data"[..], 0, &b""[..]);
        assert_eq!(
            samples(&[format, empty, (&b"LIST"[..], 4, &b"INFO"[..])]).0,
            0
        );
    }
}
