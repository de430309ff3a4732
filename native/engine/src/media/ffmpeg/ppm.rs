//! Reads a sequence of PPM images as ffmpeg's `image2pipe` writes it. Not here: the rest of PPM.

use std::io::{self, BufRead, Read};

use x2i_core::Image;

/// The next image: `P6`, the size and 255 on lines of their own, then RGB. `None` at the end.
///
/// # Errors
/// For anything else, and those of reading.
pub fn read(output: &mut dyn BufRead) -> io::Result<Option<Image>> {
    if output.fill_buf()?.is_empty() {
        return Ok(None);
    }
    let broken = || io::Error::other("printed no PPM image");
    let mut line = || {
        let mut line = String::new();
        (&mut *output).take(32).read_line(&mut line)?;
        Ok::<_, io::Error>(line)
    };
    let [magic, size, depth] = [line()?, line()?, line()?];
    let size = size.trim_end().split_once(' ');
    let size = size.and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    let Some((width, height)) = size else {
        return Err(broken());
    };
    let pixels = usize::checked_mul(width, height).unwrap_or(usize::MAX);
    if (magic.trim_end(), depth.trim_end()) != ("P6", "255") || pixels > x2i_core::image::MAX_PIXELS
    {
        return Err(broken());
    }
    let mut rgb = vec![0; pixels * 3];
    output.read_exact(&mut rgb)?;
    Image::new(width, height, rgb)
        .map(Some)
        .map_err(|_| broken())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ppm_cut_anywhere_or_of_absurd_size_is_an_error() {
        let whole = b"P6\n2 1\n255\nabcdef";
        let read = |bytes: &[u8]| super::read(&mut io::BufReader::new(bytes));
        assert_eq!(read(whole).unwrap().unwrap().pixels(), b"abcdef");
        assert!(read(b"").unwrap().is_none());
        for length in 1..whole.len() {
            assert!(read(&whole[..length]).is_err(), "{length}");
        }
        for bytes in [
            &b"P6\n99999999 99999999\n255\n"[..],
            b"P6\n-1 1\n255\n",
            b"P5\n1 1\n255\nabc",
        ] {
            assert!(read(bytes).is_err());
        }
    }
}
