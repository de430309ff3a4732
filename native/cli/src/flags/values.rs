//! The values of flags that several commands take.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use x2i_engine::job::random_seed;

/// The seed of the noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seed {
    /// `-1`: another one every time.
    Random,
    /// This one.
    Number(u64),
}

impl Seed {
    /// The number; a random one is drawn now.
    pub fn number(self) -> u64 {
        match self {
            Self::Random => random_seed(),
            Self::Number(number) => number,
        }
    }
}

impl FromStr for Seed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "-1" => Ok(Self::Random),
            _ => match text.parse() {
                Ok(number) => Ok(Self::Number(number)),
                Err(_) => Err(format!(
                    "expected a whole number from 0 to {}, or -1 for a random one",
                    u64::MAX
                )),
            },
        }
    }
}

/// `WxH`, or `W` for a square.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
}

impl Size {
    /// Width and height in pixels.
    pub fn sides(self) -> (usize, usize) {
        (self.width, self.height)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let sides = text.split_once(['x', 'X', '×']).unwrap_or((text, text));
        let side = |side: &str| side.trim().parse().ok();
        let sides = side(sides.0).zip(side(sides.1));
        let (width, height) =
            sides.ok_or("expected WIDTHxHEIGHT in pixels, such as 512x512, or 512 for a square")?;
        Ok(Self { width, height })
    }
}

/// Which components of a model stay on the device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "described in the command's help")]
pub enum MemoryChoice {
    #[default]
    Auto,
    Low,
    High,
}

/// A number of bytes: `3GiB` or `3G` (binary), `3GB` (decimal), `3000M`, `3221225472`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
        let scale: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "t" | "tib" => 1 << 40,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "tb" => 1_000_000_000_000,
            _ => 0,
        };
        let bytes = match number.contains('.') {
            false => number
                .parse::<u64>()
                .ok()
                .and_then(|whole| whole.checked_mul(scale)),
            true => {
                let bytes = number.parse::<f64>().ok().map(|part| part * scale as f64);
                bytes
                    .filter(|bytes| *bytes < u64::MAX as f64)
                    .map(|bytes| bytes as u64)
            }
        };
        bytes
            .filter(|bytes| *bytes > 0)
            .map(Self)
            .ok_or_else(|| "expected a size, such as 3GiB, 3G, 3000M or a number of bytes".into())
    }
}

/// The values of `--quantize`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "described in the command's help")]
pub enum Quantize {
    None,
    F32,
    F16,
    #[value(name = "q8_0")]
    Q8_0,
    #[value(name = "q4_0")]
    Q4_0,
    #[value(name = "q4_k")]
    Q4K,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!(
            "640x480".parse(),
            Ok(Size {
                width: 640,
                height: 480
            })
        );
        let square = Size {
            width: 640,
            height: 640,
        };
        assert_eq!("640".parse(), Ok(square));
        for text in [
            "",
            "-640",
            "x",
            "640x",
            "axb",
            "-1x16",
            "1x2x3",
            "99999999999999999999x1",
        ] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_seed_is_a_number_or_minus_one() {
        assert_eq!("-1".parse(), Ok(Seed::Random));
        assert_eq!("7".parse(), Ok(Seed::Number(7)));
        assert_eq!(Seed::Number(u64::MAX).number(), u64::MAX);
        for text in ["-2", "", "x", "1.5", "18446744073709551616"] {
            assert!(text.parse::<Seed>().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_in_bytes_are_read_with_and_without_a_unit() {
        let bytes = |text: &str| text.parse().map(|ByteSize(bytes)| bytes);
        for text in [
            "3GiB",
            "3G",
            "3g",
            "3 GiB",
            "3072M",
            "3072MiB",
            "3221225472",
            "3221225472B",
        ] {
            assert_eq!(bytes(text), Ok(3 << 30), "{text}");
        }
        assert_eq!(bytes("1.5G"), Ok(3 << 29));
        assert_eq!(bytes("3GB"), Ok(3_000_000_000));
        for text in [
            "",
            "G",
            "-1G",
            "0",
            "0.0G",
            "3X",
            "3 G B",
            "1.2.3G",
            "99999999999999999999",
        ] {
            assert!(bytes(text).is_err(), "{text}");
        }
        assert!(bytes("99999999999G").is_err());
    }
}
