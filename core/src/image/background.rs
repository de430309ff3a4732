//! What lies under the transparent pixels of a picture. Colors are composed as PIL's `Image.paste` with a
//! mask does, bit for bit.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What lies under the transparent pixels of a picture. As text it is six digits in hex, or `dropped`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Background {
    /// A color, red, green and blue, as `qwen_vl_utils` since 2025 and `Image.paste` of PIL compose.
    Color([u8; 3]),
    /// Nothing: transparency is dropped, as by PIL's `convert("RGB")` in earlier releases.
    Dropped,
}

/// The text of [`Background::Dropped`].
const DROPPED: &str = "dropped";

impl Background {
    /// RGB bytes of RGBA bytes.
    pub fn flatten(self, rgba: &[u8]) -> Vec<u8> {
        let pixels = rgba.chunks_exact(4);
        match self {
            Self::Color(color) => pixels.flat_map(|pixel| compose(pixel, color)).collect(),
            Self::Dropped => pixels.flat_map(|pixel| &pixel[..3]).copied().collect(),
        }
    }

    /// True for white, the default.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for Background {
    /// White.
    fn default() -> Self {
        Self::Color([255; 3])
    }
}

fn compose(pixel: &[u8], color: [u8; 3]) -> [u8; 3] {
    let alpha = u32::from(pixel[3]);
    [0, 1, 2].map(|channel| blend(u32::from(color[channel]), u32::from(pixel[channel]), alpha))
}

/// `(below * (255 - alpha) + above * alpha) / 255`, rounded as PIL does.
fn blend(below: u32, above: u32, alpha: u32) -> u8 {
    let sum = below * (255 - alpha) + above * alpha + 128;
    ((sum + (sum >> 8)) >> 8) as u8
}

impl fmt::Display for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Color([red, green, blue]) => write!(f, "{red:02x}{green:02x}{blue:02x}"),
            Self::Dropped => f.write_str(DROPPED),
        }
    }
}

impl FromStr for Background {
    type Err = String;

    /// Reads what `Display` writes, `white`, `black`, and `#3366CC`.
    fn from_str(text: &str) -> Result<Self, String> {
        let digits = match text {
            DROPPED => return Ok(Self::Dropped),
            "white" => "ffffff",
            "black" => "000000",
            other => other.strip_prefix('#').unwrap_or(other),
        };
        let number = u32::from_str_radix(digits, 16).ok();
        let number = number.filter(|_| digits.len() == 6 && !digits.starts_with('+'));
        let [_, red, green, blue] = number
            .map(u32::to_be_bytes)
            .ok_or("expected white, black or six digits in hex, such as 3366cc")?;
        Ok(Self::Color([red, green, blue]))
    }
}

impl TryFrom<String> for Background {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Background> for String {
    fn from(background: Background) -> Self {
        background.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blending_is_exact_division_rounded() {
        for below in [0, 7, 128, 255] {
            for above in 0..=255 {
                for alpha in 0..=255 {
                    let exact = f64::from(below * (255 - alpha) + above * alpha) / 255.0;
                    assert_eq!(f64::from(blend(below, above, alpha)), exact.round());
                }
            }
        }
    }

    #[test]
    fn what_is_hidden_shows_only_when_transparency_is_dropped() {
        let flat = |background: Background| background.flatten(&[10, 20, 30, 0, 4, 5, 6, 255]);
        assert_eq!(flat(Background::default()), [255, 255, 255, 4, 5, 6]);
        assert_eq!(flat(Background::Color([1, 2, 3])), [1, 2, 3, 4, 5, 6]);
        assert_eq!(flat(Background::Dropped), [10, 20, 30, 4, 5, 6]);
    }

    #[test]
    fn colors_have_names_or_six_digits() {
        let blue = Background::Color([0x33, 0x66, 0xcc]);
        for (text, background) in [
            ("white", Background::default()),
            ("black", Background::Color([0; 3])),
            ("3366cc", blue),
            ("#3366CC", blue),
            ("dropped", Background::Dropped),
        ] {
            assert_eq!(text.parse(), Ok(background));
            assert_eq!(background.to_string().parse(), Ok(background));
        }
        for text in ["", "red", "fff", "+12345", "3366cc00"] {
            assert!(text.parse::<Background>().is_err(), "{text}");
        }
    }
}
