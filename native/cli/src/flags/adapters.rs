//! Flags for adapters, the initial image and the control image.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, ValueEnum};
use x2i_core::image::Hint;

use super::paths::{PathParser, expand};

/// Adapters, the initial image and the control image.
#[derive(Debug, Default, Args)]
pub struct AdapterArgs {
    /// A LoRA of the transformer (also DoRA, LoHa, LoKr; with the names of diffusers, PEFT, kohya, LyCORIS, BFL
    /// or x-labs) or its folder, and its scale (default: 1); may be given several times, or with several
    /// files
    #[arg(long = "lora", value_name = "FILE[:SCALE]")]
    pub loras: Vec<Scaled>,
    /// Initial image (img2img), resized to the size of the new one
    #[arg(long, value_name = "FILE", value_parser = PathParser)]
    pub init: Option<PathBuf>,
    /// Share of the steps that run on the initial image, above 0 and at most 1 (default: 0.6)
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    pub strength: Option<f64>,
    /// Control image of LightControl, and its scale (default: 1); resized to the size of the new image
    #[arg(long, value_name = "FILE[:SCALE]")]
    pub control: Option<Scaled>,
    /// What of the control image steers: the image itself, its edges (OpenCV's Canny, 100 and 200) or its brightness
    /// (default: what the weights were trained on, else source)
    #[arg(long, value_enum, value_name = "HINT")]
    pub control_hint: Option<HintArg>,
    /// LightControl's weights, as its training writes them (diffusion_pytorch_model.bin, or the same
    /// tensors in safetensors or GGUF)
    #[arg(long, value_name = "FILE", value_parser = PathParser)]
    pub control_weights: Option<PathBuf>,
}

/// What of a control image steers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HintArg {
    /// The image itself
    Source,
    /// Its edges
    Edges,
    /// Its brightness
    Gray,
}

impl From<HintArg> for Hint {
    fn from(hint: HintArg) -> Self {
        match hint {
            HintArg::Source => Self::Source,
            HintArg::Edges => Self::Edges,
            HintArg::Gray => Self::Gray,
        }
    }
}

/// `FILE` or `FILE:SCALE`.
#[derive(Debug, Clone, PartialEq)]
pub struct Scaled {
    /// The file.
    pub file: PathBuf,
    /// The scale, finite.
    pub scale: f32,
}

impl FromStr for Scaled {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A path may contain colons: only a number after the last one is a scale.
        let scaled = text
            .rsplit_once(':')
            .and_then(|(file, scale)| Some((file, scale.parse::<f32>().ok()?)));
        let (file, scale) = scaled.unwrap_or((text, 1.0));
        if file.is_empty() {
            return Err("expected FILE or FILE:SCALE, such as style.safetensors:0.8".into());
        }
        if !scale.is_finite() {
            return Err(format!("the scale {scale} is not finite"));
        }
        Ok(Self {
            file: expand(Path::new(file)),
            scale,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_follows_the_last_colon_if_it_is_a_number() {
        let scaled = |text: &str| {
            let Scaled { file, scale } = text.parse().unwrap();
            (file.display().to_string(), scale)
        };
        assert_eq!(scaled("a.safetensors"), ("a.safetensors".into(), 1.0));
        assert_eq!(scaled("a:0.5"), ("a".into(), 0.5));
        assert_eq!(scaled("a:-2"), ("a".into(), -2.0));
        assert_eq!(
            scaled(r"C:\b.safetensors"),
            (r"C:\b.safetensors".into(), 1.0)
        );
        assert_eq!(scaled(r"C:\b:3"), (r"C:\b".into(), 3.0));
        for text in ["", ":1", "a:inf", "a:NaN"] {
            assert!(text.parse::<Scaled>().is_err(), "{text}");
        }
    }
}
