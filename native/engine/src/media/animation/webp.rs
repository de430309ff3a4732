//! Counts the frames of an animated WebP without decoding.
//!
//! Source: Google's WebP container specification.

use x2i_core::{Error, Result};

use super::facts::Facts;

/// The bit of VP8X's flags that says that there are frames.
const ANIMATED: u8 = 2;

/// The facts of an animated WebP; `None` for one that stands still.
///
/// # Errors
/// [`Error::Video`] when it is broken, cut short, or has no frames or too many.
pub fn facts(name: &str, bytes: &[u8]) -> Result<Option<Facts>> {
    let cut = || Error::video(name, "is cut short: it ends within a frame");
    let number = |at: usize| {
        let bytes = bytes.get(at..at + 3).ok_or_else(cut)?;
        Ok::<_, Error>(
            bytes
                .iter()
                .rev()
                .fold(0, |n, &byte| n << 8 | usize::from(byte)),
        )
    };
    match bytes.get(12..21) {
        Some([b'V', b'P', b'8', b'X', _, _, _, _, flags]) if flags & ANIMATED != 0 => {}
        Some(_) => return Ok(None),
        None => return Err(cut()),
    }
    let mut facts = Facts::new([number(24)? + 1, number(27)? + 1]);
    let end = bytes
        .get(4..8)
        .map(|size| u32::from_le_bytes([size[0], size[1], size[2], size[3]]));
    let end = 8 + end.unwrap_or(0) as usize;
    if end > bytes.len() {
        return Err(cut());
    }
    let mut place = 12;
    while place + 8 <= end {
        let head = &bytes[place..place + 8];
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        if head.starts_with(b"ANMF") {
            facts.add(name, number(place + 20)? as f64 / 1000.0)?;
        }
        place = place.saturating_add(8 + length + length % 2);
    }
    match (place > end, facts.frames) {
        (true, _) => Err(cut()),
        (false, 0) => Err(Error::video(name, "has no frames")),
        (false, _) => Ok(Some(facts)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The chunks of an animation of 4x3 pixels, which nobody reads here.
    fn webp(delays: &[u8]) -> Vec<u8> {
        let mut chunks = b"WEBPVP8X\x0a\0\0\0\x02\0\0\0\x03\0\0\x02\0\0".to_vec();
        for &delay in delays {
            chunks.extend(b"ANMF\x11\0\0\0\0\0\0\0\0\0\x03\0\0\x02\0\0");
            chunks.extend([delay, 0, 0, 0, b'.', 0]);
        }
        let size = (chunks.len() as u32).to_le_bytes();
        [&b"RIFF"[..], &size, &chunks].concat()
    }

    #[test]
    fn frames_and_their_time_are_counted() {
        let found = facts("x", &webp(&[50, 250, 0])).unwrap().unwrap();
        assert_eq!((found.size, found.frames), ([4, 3], 3));
        assert!((found.seconds - 0.4).abs() < 1e-9);
        assert!(facts("x", &webp(&[])).is_err());
        assert_eq!(
            facts("x", b"RIFF\x10\0\0\0WEBPVP8L\x04\0\0\0....").unwrap(),
            None
        );
    }

    #[test]
    fn one_cut_anywhere_is_an_error() {
        let whole = webp(&[50, 250]);
        for length in 0..whole.len() {
            assert!(facts("x", &whole[..length]).is_err(), "{length}");
        }
    }
}
