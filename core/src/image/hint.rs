//! What LightControl sees of a picture.

use serde::{Deserialize, Serialize};

use super::Image;
use super::edges::edges;
use crate::error::Result;

/// How a picture becomes the one that steers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hint {
    /// It is that picture: edges, depths or anything that the nets were trained on.
    #[default]
    Source,
    /// By its edges: white on black, where OpenCV's `Canny(100, 200)` has them.
    Edges,
    /// By its brightness, PIL's: `(19595 R + 38470 G + 7471 B + 32768) / 65536`.
    Gray,
}

impl Hint {
    /// Its word in settings and in the metadata of weights.
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Edges => "edges",
            Self::Gray => "gray",
        }
    }

    /// True where the picture itself steers.
    pub fn is_source(&self) -> bool {
        *self == Self::Source
    }

    /// The picture that steers, of the same size.
    ///
    /// # Errors
    /// As [`Image::new`].
    pub fn of(self, image: &Image) -> Result<Image> {
        match self {
            Self::Source => Ok(image.clone()),
            Self::Edges => edges(image),
            Self::Gray => {
                let pixels = image.pixels().as_chunks().0.iter();
                let gray = pixels.flat_map(|&[red, green, blue]: &[u8; 3]| {
                    let [red, green, blue] = [red, green, blue].map(u32::from);
                    [((19_595 * red + 38_470 * green + 7_471 * blue + 32_768) >> 16) as u8; 3]
                });
                Image::new(image.width(), image.height(), gray.collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gray_is_that_of_pil() {
        // PIL 11: Image.convert("L").
        let image = Image::new(4, 1, vec![255, 0, 0, 0, 255, 0, 0, 0, 255, 12, 34, 56]).unwrap();
        let gray = Hint::Gray.of(&image).unwrap();
        let first: Vec<u8> = gray.pixels().iter().copied().step_by(3).collect();
        assert_eq!(first, [76, 150, 29, 30]);
        assert!(Hint::Source.of(&image).unwrap() == image);
    }
}
