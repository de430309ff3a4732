//! The files that every side of `x2i bench stack` reads: weights, inputs and their sizes.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use x2i_core::config::FluxConfig;
use x2i_core::weights::Component;

use super::folder::{Content, Folder, read_floats};
use super::synthetic::{flux_shapes, normal};
use crate::flags::Quantize;

/// `stack.json`: the description of the folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct StackConfig {
    /// The version of the generated numbers, so that old files are not used.
    pub numbers: u32,
    /// Sizes, with diffusers' keys.
    pub transformer: FluxConfig,
    /// The number of text tokens.
    pub text_tokens: usize,
    /// The sigma.
    pub sigma: f32,
}

impl StackConfig {
    /// A stack of FLUX's width with so many blocks.
    pub fn flux(double_blocks: usize, single_blocks: usize) -> Self {
        Self {
            numbers: 1,
            transformer: FluxConfig {
                in_channels: 64,
                num_layers: double_blocks,
                num_single_layers: single_blocks,
                attention_head_dim: 128,
                num_attention_heads: 24,
                joint_attention_dim: 4096,
                pooled_projection_dim: 768,
                guidance_embeds: false,
                axes_dims_rope: vec![16, 56, 56],
            },
            text_tokens: 256,
            sigma: 0.5,
        }
    }

    /// Multiplications and additions of one pass's matrix products, in billions.
    pub fn gflop(&self, pixels: usize) -> f64 {
        let config = &self.transformer;
        let (hidden, mlp) = (config.hidden_size(), config.mlp_size());
        let (image, text) = (side(pixels) * side(pixels), self.text_tokens);
        let tokens = image + text;
        let embedders = image * config.in_channels * hidden
            + text * config.joint_attention_dim * hidden
            + (256 + config.pooled_projection_dim + 2 * hidden) * hidden;
        let attention = 2 * tokens * tokens * hidden;
        // A single block computes in parallel what a double block computes in each stream.
        let block = tokens * (4 * hidden + 2 * mlp) * hidden + attention;
        let blocks = (config.num_layers + config.num_single_layers) * block;
        let modulations =
            (12 * config.num_layers + 3 * config.num_single_layers + 2) * hidden * hidden;
        let last = image * config.in_channels * hidden;
        2e-9 * (embedders + blocks + modulations + last) as f64
    }
}

/// Image tokens along a side of an image: a token is 2x2 latents of 8x8 pixels.
pub(super) fn side(pixels: usize) -> usize {
    pixels / 16
}

/// The first index of each input in the sequence of [`normal`]; weights come before them.
const IMG: u64 = 1 << 40;
const TXT: u64 = 2 << 40;
const VEC: u64 = 3 << 40;

impl Content for StackConfig {
    const FILE: &str = "stack.json";
}

/// The folder.
pub(super) struct StackFiles(Folder<StackConfig>);

impl StackFiles {
    /// As [`Folder::create`].
    ///
    /// # Errors
    /// When it can't be written.
    pub fn create(folder: &Path, config: StackConfig) -> Result<Self> {
        Folder::create(folder, config).map(Self)
    }

    /// As [`Folder::open`].
    ///
    /// # Errors
    /// When it has no readable `stack.json`.
    pub fn open(folder: &Path) -> Result<Self> {
        Folder::open(folder).map(Self)
    }

    /// The description of its content.
    pub fn config(&self) -> &StackConfig {
        self.0.content()
    }

    /// The path of a file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path(name)
    }

    /// The path of the weights in the type `quantize`: `q8_0.gguf`. Without quantization they are bf16,
    /// as in published checkpoints; in f32 they are the same numbers.
    pub fn weights(&self, quantize: Quantize) -> PathBuf {
        self.path(&weights_file(quantize))
    }

    /// Writes the weights in the type `quantize`, unless they exist.
    ///
    /// # Errors
    /// When they can't be written.
    pub fn need_weights(&self, quantize: Quantize) -> Result<()> {
        let name = weights_file(quantize);
        let quantize = match quantize {
            Quantize::F32 => Quantize::None,
            other => other,
        };
        let shapes = flux_shapes(&self.config().transformer);
        self.0
            .need_weights(&name, Component::Flux, &shapes, quantize)
    }

    /// Writes the inputs for images of `pixels` along a side, unless they exist.
    ///
    /// # Errors
    /// When they can't be written.
    pub fn need_inputs(&self, pixels: usize) -> Result<()> {
        let config = &self.config().transformer;
        let image = side(pixels) * side(pixels) * config.in_channels;
        let text = self.config().text_tokens * config.joint_attention_dim;
        for (name, first, count, scale) in [
            (image_file(pixels), IMG, image, 1.0),
            ("txt.f32".into(), TXT, text, 0.5),
            ("vec.f32".into(), VEC, config.pooled_projection_dim, 1.0),
        ] {
            let numbers = (first..).take(count).map(|index| scale * normal(index));
            self.0.need_floats(&name, numbers)?;
        }
        Ok(())
    }

    /// The inputs: image tokens, text tokens and the pooled text.
    ///
    /// # Errors
    /// When they do not exist.
    pub fn inputs(&self, pixels: usize) -> Result<[Vec<f32>; 3]> {
        Ok([
            read_floats(&self.path(&image_file(pixels)))?,
            read_floats(&self.path("txt.f32"))?,
            read_floats(&self.path("vec.f32"))?,
        ])
    }
}

fn image_file(pixels: usize) -> String {
    format!("img-{pixels}.f32")
}

/// The file of the weights in the type `quantize`, as [`StackFiles::weights`].
pub(super) fn weights_file(quantize: Quantize) -> String {
    let name = match quantize {
        Quantize::None | Quantize::F32 => "bf16".to_owned(),
        other => value_name(other),
    };
    format!("{name}.gguf")
}

/// The name on the command line: `q8_0`.
pub(super) fn value_name(quantize: Quantize) -> String {
    let value = quantize.to_possible_value();
    value.map_or(String::new(), |value| value.get_name().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stack that is small enough for a test.
    fn tiny() -> StackConfig {
        let mut config = StackConfig::flux(1, 1);
        config.transformer.num_attention_heads = 1;
        config.transformer.joint_attention_dim = 32;
        config
    }

    #[test]
    fn work_is_counted_as_by_hand() {
        // The sums over the matrix shapes at these sizes, counted tensor by tensor.
        for (pixels, gflop) in [(256, 722.5), (512, 1868.0)] {
            let counted = StackConfig::flux(2, 4).gflop(pixels);
            assert!((counted / gflop - 1.0).abs() < 1e-3, "{pixels}: {counted}");
        }
    }

    #[test]
    fn files_are_written_once_and_replaced_with_their_config() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let files = StackFiles::create(folder.path(), tiny())?;
        files.need_weights(Quantize::Q4_0)?;
        files.need_inputs(32)?;
        let weights = files.weights(Quantize::Q4_0);
        let written = weights.metadata()?.modified()?;
        StackFiles::create(folder.path(), tiny())?.need_weights(Quantize::Q4_0)?;
        assert_eq!(weights.metadata()?.modified()?, written);

        let [img, txt, vec] = files.inputs(32)?;
        assert_eq!((img.len(), txt.len(), vec.len()), (4 * 64, 256 * 32, 768));

        let mut other = tiny();
        other.numbers += 1;
        let files = StackFiles::create(folder.path(), other)?;
        assert!(!weights.exists() && files.inputs(32).is_err());
        Ok(())
    }
}
