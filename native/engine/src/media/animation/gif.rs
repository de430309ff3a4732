//! Counts the frames of a GIF without decoding.
//!
//! Source: GIF89a, sections 18 to 26.

use x2i_core::{Error, Result};

use super::facts::Facts;

/// Reads the blocks of a GIF.
///
/// # Errors
/// [`Error::Video`] when it is broken, ends within a frame, or has no frames or too many.
pub fn facts(name: &str, bytes: &[u8]) -> Result<Facts> {
    let cut = || Error::video(name, "is cut short: it ends within a frame");
    let mut reader = Reader { bytes, place: 0 };
    let screen = reader.take(13).ok_or_else(cut)?;
    if !screen.starts_with(b"GIF") {
        return Err(Error::video(name, "is not a GIF"));
    }
    let side = |at: usize| usize::from(u16::from_le_bytes([screen[at], screen[at + 1]]));
    let size = [side(6), side(8)];
    reader.color_table(screen[10]).ok_or_else(cut)?;
    let (mut facts, mut delay) = (Facts::new(size), 0);
    loop {
        match reader.take(1).ok_or_else(cut)?[0] {
            b';' => break,
            b'!' => {
                let label = reader.take(1).ok_or_else(cut)?[0];
                let first = reader.sub_blocks().ok_or_else(cut)?;
                if let (0xf9, [_, low, high, ..]) = (label, first) {
                    delay = u16::from_le_bytes([*low, *high]);
                }
            }
            b',' => {
                let descriptor = reader.take(9).ok_or_else(cut)?;
                check_place(name, descriptor, size)?;
                reader.color_table(descriptor[8]).ok_or_else(cut)?;
                reader.take(1).ok_or_else(cut)?; // bits of a code
                reader.sub_blocks().ok_or_else(cut)?;
                facts.add(name, f64::from(delay) / 100.0)?;
                delay = 0;
            }
            other => {
                let reason = format!("is a broken GIF: it has a block of unknown type {other}");
                return Err(Error::video(name, reason));
            }
        }
    }
    match facts.frames {
        0 => Err(Error::video(name, "has no frames")),
        _ => Ok(facts),
    }
}

/// Checks that a frame lies inside the screen, as the format demands: the decoder would allocate it
/// whole, however large. `descriptor`: left, top, width and height, two bytes each.
fn check_place(name: &str, descriptor: &[u8], [width, height]: [usize; 2]) -> Result<()> {
    let number = |at: usize| usize::from(u16::from_le_bytes([descriptor[at], descriptor[at + 1]]));
    let [right, bottom] = [number(0) + number(4), number(2) + number(6)];
    if right > width || bottom > height {
        let reason = format!(
            "is a broken GIF: a frame of {}x{} reaches beyond its screen of {width}x{height}",
            number(4),
            number(6)
        );
        return Err(Error::video(name, reason));
    }
    Ok(())
}

struct Reader<'a> {
    bytes: &'a [u8],
    place: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.place..self.place + count)?;
        self.place += count;
        Some(taken)
    }

    /// Skips the color table that `flags` announces.
    fn color_table(&mut self, flags: u8) -> Option<()> {
        if flags & 0x80 != 0 {
            self.take(3 << (1 + (flags & 7)))?;
        }
        Some(())
    }

    /// Skips sub-blocks up to the empty one; returns the first.
    fn sub_blocks(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.take(1)?[0]);
        let first = self.take(length)?;
        let mut length = length;
        while length > 0 {
            length = usize::from(self.take(1)?[0]);
            self.take(length)?;
        }
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many frames of one black pixel with a delay of `delay`/100 s.
    fn gif(frames: usize, delay: u16) -> Vec<u8> {
        let mut bytes = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff".to_vec();
        for _ in 0..frames {
            bytes.extend(b"!\xf9\x04\x00");
            bytes.extend(delay.to_le_bytes());
            bytes.extend(b"\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00");
        }
        bytes.push(b';');
        bytes
    }

    fn message(bytes: &[u8]) -> String {
        facts("x", bytes).unwrap_err().to_string()
    }

    #[test]
    fn frames_and_their_time_are_counted_without_decoding() {
        let expected = Facts {
            size: [1, 1],
            frames: 3,
            seconds: 0.75,
        };
        assert_eq!(facts("x", &gif(3, 25)).unwrap(), expected);
        assert!((facts("x", &gif(3, 0)).unwrap().seconds - 0.3).abs() < 1e-9);
        assert_eq!(message(&gif(0, 1)), "x: has no frames");
    }

    #[test]
    fn a_million_frames_are_refused_by_number() {
        assert!(message(&gif(1_000_000, 1)).contains("more than 100000 frames"));
    }

    /// Found by the fuzzer: 56 bytes that allocated gigabytes.
    #[test]
    fn a_frame_larger_than_its_screen_is_refused_before_it_is_decoded() {
        let mut bytes = gif(1, 1);
        let frame = bytes.iter().position(|&byte| byte == b',').unwrap();
        bytes[frame + 5..frame + 9].fill(0xff);
        assert_eq!(
            message(&bytes),
            "x: is a broken GIF: a frame of 65535x65535 reaches beyond its screen of 1x1"
        );
    }

    #[test]
    fn a_gif_cut_anywhere_is_an_error() {
        let bytes = gif(3, 25);
        for length in 0..bytes.len() {
            let message = message(&bytes[..length]);
            assert!(message.starts_with("x: is "), "{message}");
        }
        assert!(message(b"GIF89a\x01\x00\x01\x00\x00\x00\x00?").contains("unknown type 63"));
    }
}
