//! Decodes the planes of a picture through ffmpeg, and puts them together.

use std::io::Write;

use image::{DynamicImage, GrayImage, RgbImage, RgbaImage, imageops};
use x2i_core::Image;

use super::plane::Plane;
use super::still::Still;
use crate::media::ffmpeg::{Failure, Source, ppm};
use crate::media::icc;
use crate::media::limits::PICTURE_PIXELS;
use crate::media::reading::Reading;

/// The picture in sRGB, upright, with its transparency; `instead` says what to do without ffmpeg.
///
/// # Errors
/// [`Failure`]: those of the program; when tiles are missing or of other sizes than the file says.
pub fn decode(
    still: Still,
    instead: &'static str,
    reading: &Reading,
) -> Result<DynamicImage, Failure> {
    let color = Job {
        instead,
        reading,
        filter: color_filter(&still.color),
    };
    let color = color.run(&still.color)?;
    let picture = match &still.alpha {
        None => DynamicImage::from(color),
        Some(plane) => {
            let alpha = Job {
                instead,
                reading,
                filter: "format=gray,format=rgb24".into(),
            };
            let alpha = DynamicImage::from(alpha.run(plane)?).into_luma8();
            transparent(color, alpha, still.is_premultiplied).into()
        }
    };
    let picture = match &still.profile {
        Some(profile) => icc::to_srgb(picture, profile),
        None => picture,
    };
    Ok(still
        .turns
        .iter()
        .fold(picture, |picture, turn| turn.apply(picture)))
}

fn color_filter(plane: &Plane) -> String {
    match plane.coding {
        Some(coding) => {
            let (matrix, range) = (
                coding.matrix,
                if coding.is_full { "full" } else { "limited" },
            );
            format!("scale=in_color_matrix={matrix}:in_range={range},format=rgb24")
        }
        None => "format=rgb24".into(),
    }
}

/// How a plane is decoded.
struct Job<'a> {
    instead: &'static str,
    reading: &'a Reading<'a>,
    filter: String,
}

impl Job<'_> {
    fn run(&self, plane: &Plane) -> Result<RgbImage, Failure> {
        let kept =
            copy(&plane.stream.bytes).map_err(|error| format!("can't be decoded: {error}"))?;
        let source = Source {
            path: kept.path(),
            format: plane.stream.codec.format(),
            pixels: PICTURE_PIXELS,
            instead: self.instead,
            cancelled: self.reading.cancelled,
        };
        let filter = format!("{},setpts=N/25/TB", self.filter);
        let output = [
            "-map",
            "0:v:0",
            "-vf",
            &filter,
            "-r",
            "25",
            "-c:v",
            "ppm",
            "-f",
            "image2pipe",
            "-",
        ];
        let mut canvas = Canvas::new(plane);
        let mut fits = true;
        let mut keep = |tile| {
            fits = canvas.put(&tile);
            fits
        };
        source.convert(&output, ppm::read, &mut keep)?;
        match fits {
            true => canvas.finish(),
            false => Err("its tiles are not of the size that it states".into()),
        }
    }
}

/// A temporary file, which only this user can read.
fn copy(bytes: &[u8]) -> std::io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(bytes)?;
    file.flush()?;
    Ok(file)
}

/// A picture that its tiles fill.
struct Canvas<'a> {
    plane: &'a Plane,
    picture: RgbImage,
    tiles: u32,
}

impl<'a> Canvas<'a> {
    fn new(plane: &'a Plane) -> Self {
        let [width, height] = plane.size;
        Self {
            plane,
            picture: RgbImage::new(width, height),
            tiles: 0,
        }
    }

    /// Puts the next tile in its place, as far as it lies within the picture; `false` for one that does
    /// not fit.
    fn put(&mut self, tile: &Image) -> bool {
        let [width, height] = self.plane.tile.map(|side| side as usize);
        let (column, row) = (
            self.tiles % self.plane.columns,
            self.tiles / self.plane.columns,
        );
        if (tile.width(), tile.height()) != (width, height) || row >= self.plane.rows {
            return false;
        }
        self.tiles += 1;
        let [right, bottom] = self.plane.size.map(|side| side as usize);
        let (left, top) = (column as usize * width, row as usize * height);
        let columns = width.min(right.saturating_sub(left));
        if columns == 0 {
            return true;
        }
        let whole: &mut [u8] = &mut self.picture;
        let lines = tile.pixels().chunks_exact(width * 3);
        for (y, line) in (top..bottom).zip(lines) {
            let start = (y * right + left) * 3;
            whole[start..start + columns * 3].copy_from_slice(&line[..columns * 3]);
        }
        true
    }

    fn finish(self) -> Result<RgbImage, Failure> {
        let count = self.plane.columns * self.plane.rows;
        match self.tiles == count {
            true => Ok(self.picture),
            false => Err(format!("{} of its {count} tiles could be decoded", self.tiles).into()),
        }
    }
}

/// Colors with their transparency, which is scaled to their size.
fn transparent(color: RgbImage, alpha: GrayImage, is_premultiplied: bool) -> RgbaImage {
    let (width, height) = color.dimensions();
    let alpha = match alpha.dimensions() == (width, height) {
        true => alpha,
        false => imageops::resize(&alpha, width, height, imageops::FilterType::Triangle),
    };
    let pixels = color.as_raw().chunks_exact(3).zip(alpha.as_raw());
    let pixels = pixels.flat_map(|(color, &alpha)| {
        let channel = |at: usize| match (is_premultiplied, alpha) {
            (true, 1..) => divided(color[at], alpha),
            _ => color[at],
        };
        [channel(0), channel(1), channel(2), alpha]
    });
    // As many bytes as it needs, by construction.
    RgbaImage::from_raw(width, height, pixels.collect()).unwrap_or_default()
}

/// A channel before it was multiplied by its alpha.
fn divided(channel: u8, alpha: u8) -> u8 {
    let (channel, alpha) = (u32::from(channel), u32::from(alpha));
    ((channel * 255 + alpha / 2) / alpha).min(255) as u8
}

#[cfg(test)]
mod tests {
    use image::{Luma, Rgb};

    use super::*;

    #[test]
    fn transparency_is_put_beside_the_colors_and_divided_out_of_them() {
        let color = RgbImage::from_pixel(2, 2, Rgb([100, 50, 0]));
        let alpha = |value| GrayImage::from_pixel(1, 1, Luma([value]));
        let plain = transparent(color.clone(), alpha(128), false);
        assert_eq!(plain.get_pixel(1, 1).0, [100, 50, 0, 128]);
        let divided = transparent(color.clone(), alpha(128), true);
        assert_eq!(divided.get_pixel(0, 0).0, [199, 100, 0, 128]);
        let clear = transparent(color, alpha(0), true);
        assert_eq!(clear.get_pixel(0, 0).0, [100, 50, 0, 0]);
    }
}
