//! Counts the frames of an APNG without decoding.
//!
//! Source: the PNG specification, third edition, 11.3.6.

use x2i_core::{Error, Result};

use super::facts::Facts;

/// Bytes of a chunk but for its data: length, name and checksum.
const FRAME: usize = 12;

/// The facts of an APNG; `None` for a PNG that stands still.
///
/// # Errors
/// [`Error::Video`] when it is broken, cut short, or has no frames or too many.
pub fn facts(name: &str, bytes: &[u8]) -> Result<Option<Facts>> {
    let cut = || Error::video(name, "is cut short: it ends within a frame");
    let (mut facts, mut animated, mut place) = (None, false, 8);
    loop {
        let head = bytes.get(place..place + 8).ok_or_else(cut)?;
        let length = number(head, 0) as usize;
        let data = place
            .checked_add(8 + length)
            .and_then(|end| bytes.get(place + 8..end));
        let data = data.ok_or_else(cut)?;
        match &head[4..] {
            b"IHDR" if length >= 8 => {
                facts = Some(Facts::new([
                    number(data, 0) as usize,
                    number(data, 4) as usize,
                ]));
            }
            b"acTL" => animated = true,
            b"fcTL" if length >= 24 => {
                let part = |at: usize| f64::from(u16::from_be_bytes([data[at], data[at + 1]]));
                let per_second = if part(22) == 0.0 { 100.0 } else { part(22) };
                let facts = facts.as_mut().ok_or_else(cut)?;
                facts.add(name, part(20) / per_second)?;
            }
            // `acTL` stands before the first pixels.
            b"IDAT" if !animated => return Ok(None),
            b"IEND" => break,
            _ => {}
        }
        place += FRAME + length;
    }
    match facts.filter(|facts: &Facts| facts.frames > 0) {
        Some(facts) => Ok(Some(facts)),
        None => Err(Error::video(name, "has no frames")),
    }
}

/// Four bytes at a place that is known to exist.
fn number(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4]
        .iter()
        .fold(0, |number, &byte| number << 8 | u32::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The chunks of an APNG, whose checksums and pixels nobody reads here.
    fn apng(delays: &[(u16, u16)]) -> Vec<u8> {
        let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
        let mut chunk = |name: &[u8], data: &[u8]| {
            bytes.extend((data.len() as u32).to_be_bytes());
            bytes.extend([name, data, b"crc!"].concat());
        };
        chunk(b"IHDR", b"\0\0\0\x04\0\0\0\x03\x08\x02\0\0\0");
        chunk(b"acTL", &[0; 8]);
        for (above, below) in delays {
            let data = [
                &[0; 20][..],
                &above.to_be_bytes(),
                &below.to_be_bytes(),
                &[0; 2],
            ];
            chunk(b"fcTL", &data.concat());
            chunk(b"fdAT", b"....");
        }
        chunk(b"IEND", b"");
        bytes
    }

    #[test]
    fn frames_and_their_time_are_counted() {
        let found = facts("x", &apng(&[(1, 4), (50, 0), (0, 1)]))
            .unwrap()
            .unwrap();
        assert_eq!((found.size, found.frames), ([4, 3], 3));
        assert!((found.seconds - 0.85).abs() < 1e-9);
        assert!(facts("x", &apng(&[])).is_err());
    }

    #[test]
    fn one_cut_anywhere_is_an_error_and_a_still_one_is_none() {
        let whole = apng(&[(1, 10), (1, 10)]);
        for length in 8..whole.len() - 4 {
            assert!(facts("x", &whole[..length]).is_err(), "{length}");
        }
        let still = [&whole[..33], b"\0\0\0\0IDATcrc!"].concat();
        assert_eq!(facts("x", &still).unwrap(), None);
    }
}
