//! The files that every side of `x2i bench stack` reads: weights, inputs and their sizes.
//!
//! Written once and kept: mapping a file is what a user's start does, and one folder gives all
//! sides the same numbers. Weights are GGUF files in the names of BFL's checkpoint, quantized from
//! bf16 by the rules of `x2i convert`; inputs and results are raw little-endian f32.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use x2i_core::config::FluxConfig;
use x2i_core::weights::gguf::GgufWriter;
use x2i_core::weights::{Component, Weights};

use super::synthetic::{SyntheticSource, flux_shapes, normal};
use crate::cli::Quantize;
use crate::convert::plan;

/// `stack.json`: what is in the folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct StackConfig {
    /// Counts changes of the numbers, so that no old file is taken for a new one.
    pub numbers: u32,
    /// Sizes, in the words of diffusers.
    pub transformer: FluxConfig,
    /// Text tokens.
    pub text_tokens: usize,
    /// The noise level.
    pub sigma: f32,
}

impl StackConfig {
    /// FLUX's width, and a fraction of its depth.
    pub fn flux() -> Self {
        Self {
            numbers: 1,
            transformer: FluxConfig {
                in_channels: 64,
                num_layers: 2,
                num_single_layers: 4,
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
        // A single block does side by side what a double block does in each of its streams.
        let block = tokens * (4 * hidden + 2 * mlp) * hidden + attention;
        let blocks = (config.num_layers + config.num_single_layers) * block;
        let modulations =
            (12 * config.num_layers + 3 * config.num_single_layers + 2) * hidden * hidden;
        let last = image * config.in_channels * hidden;
        2e-9 * (embedders + blocks + modulations + last) as f64
    }
}

/// Image tokens along a side of a picture: a token is 2x2 latents of 8x8 pixels.
pub(super) fn side(pixels: usize) -> usize {
    pixels / 16
}

/// Where each input's numbers begin in the sequence of [`normal`]; weights come before them.
const IMG: u64 = 1 << 40;
const TXT: u64 = 2 << 40;
const VEC: u64 = 3 << 40;

/// The folder.
pub(super) struct StackFiles {
    folder: PathBuf,
    config: StackConfig,
}

impl StackFiles {
    /// Makes the folder, and empties it of the files of another `config`.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn create(folder: &Path, config: StackConfig) -> Result<Self> {
        let shown = || format!("--weights: {}", folder.display());
        fs::create_dir_all(folder).with_context(shown)?;
        let files = Self {
            folder: folder.to_owned(),
            config,
        };
        if Self::open(folder).is_ok_and(|found| found.config == files.config) {
            return Ok(files);
        }
        for entry in fs::read_dir(folder).with_context(shown)? {
            let path = entry.with_context(shown)?.path();
            if path
                .extension()
                .is_some_and(|end| end == "gguf" || end == "f32")
            {
                fs::remove_file(&path).with_context(|| path.display().to_string())?;
            }
        }
        let json = serde_json::to_vec_pretty(&files.config)?;
        files.write("stack.json", |out| Ok(out.write_all(&json)?))?;
        Ok(files)
    }

    /// A folder that is there.
    ///
    /// # Errors
    /// When it has no readable `stack.json`.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("stack.json");
        let shown = || format!("--weights: {}", path.display());
        let json = fs::read(&path).with_context(shown)?;
        Ok(Self {
            folder: folder.to_owned(),
            config: serde_json::from_slice(&json).with_context(shown)?,
        })
    }

    /// What is in it.
    pub fn config(&self) -> &StackConfig {
        &self.config
    }

    /// The path of a file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The path of the weights of `quantize`: `q8_0.gguf`. Those without quantization are bf16,
    /// as published checkpoints are; widened to f32 they are the same numbers.
    pub fn weights(&self, quantize: Quantize) -> PathBuf {
        let name = match quantize {
            Quantize::None | Quantize::F32 => "bf16".to_owned(),
            other => value_name(other),
        };
        self.path(&format!("{name}.gguf"))
    }

    /// Writes the weights of `quantize` unless they are there.
    ///
    /// # Errors
    /// When they can't be written.
    pub fn need_weights(&self, quantize: Quantize) -> Result<()> {
        let path = self.weights(quantize);
        if path.exists() {
            return Ok(());
        }
        let quantize = match quantize {
            Quantize::F32 => Quantize::None,
            other => other,
        };
        let source = SyntheticSource::new(&flux_shapes(&self.config.transformer));
        pollster::block_on(async {
            let sources = vec![Rc::new(source) as _];
            let weights = Weights::open("synthetic", Component::Flux, sources).await?;
            let tensors = plan::tensors(&weights, quantize);
            let metadata = plan::metadata(Component::Flux, "stack");
            let writer = GgufWriter::new(metadata, tensors.clone())?;
            self.write(&file_name(&path), |out| {
                let mut body = writer.start(path.display().to_string(), out)?;
                for (name, stored, _) in &tensors {
                    let tensor = pollster::block_on(weights.read(name))?;
                    let bytes = plan::store(&tensor, *stored).map_err(anyhow::Error::msg)?;
                    body.write_tensor(&bytes)?;
                }
                body.finish()?;
                Ok(())
            })
        })
    }

    /// Writes the inputs for pictures of `pixels` along a side unless they are there.
    ///
    /// # Errors
    /// When they can't be written.
    pub fn need_inputs(&self, pixels: usize) -> Result<()> {
        let config = &self.config.transformer;
        let image = side(pixels) * side(pixels) * config.in_channels;
        let text = self.config.text_tokens * config.joint_attention_dim;
        for (name, first, count, scale) in [
            (image_file(pixels), IMG, image, 1.0),
            ("txt.f32".into(), TXT, text, 0.5),
            ("vec.f32".into(), VEC, config.pooled_projection_dim, 1.0),
        ] {
            if self.path(&name).exists() {
                continue;
            }
            let numbers = (first..).take(count).map(|index| scale * normal(index));
            self.write(&name, |out| write_floats(out, numbers))?;
        }
        Ok(())
    }

    /// The inputs: image tokens, text tokens and the pooled text.
    ///
    /// # Errors
    /// When they are not there.
    pub fn inputs(&self, pixels: usize) -> Result<[Vec<f32>; 3]> {
        Ok([
            read_floats(&self.path(&image_file(pixels)))?,
            read_floats(&self.path("txt.f32"))?,
            read_floats(&self.path("vec.f32"))?,
        ])
    }

    /// Writes a file under another name and renames it: what is there is whole.
    fn write(&self, name: &str, content: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
        let path = self.path(name);
        let shown = || path.display().to_string();
        let part = self.path(&format!("{name}.part"));
        let mut out = BufWriter::with_capacity(1 << 20, File::create(&part).with_context(shown)?);
        content(&mut out)?;
        out.flush().with_context(shown)?;
        fs::rename(&part, &path).with_context(shown)
    }
}

fn image_file(pixels: usize) -> String {
    format!("img-{pixels}.f32")
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// As on the command line: `q8_0`.
pub(super) fn value_name(quantize: Quantize) -> String {
    let value = quantize.to_possible_value();
    value.map_or(String::new(), |value| value.get_name().to_owned())
}

/// Writes raw f32.
pub(super) fn write_floats(out: &mut dyn Write, numbers: impl Iterator<Item = f32>) -> Result<()> {
    for number in numbers {
        out.write_all(&number.to_le_bytes())?;
    }
    Ok(())
}

/// Reads a file of raw f32.
pub(super) fn read_floats(path: &Path) -> Result<Vec<f32>> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    let numbers = bytes.as_chunks().0.iter();
    Ok(numbers.map(|&number| f32::from_le_bytes(number)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stack of a width that a test can afford.
    fn tiny() -> StackConfig {
        let mut config = StackConfig::flux();
        config.transformer.num_attention_heads = 1;
        config.transformer.joint_attention_dim = 32;
        config.transformer.num_single_layers = 1;
        config.transformer.num_layers = 1;
        config
    }

    #[test]
    fn work_is_counted_as_by_hand() {
        // The sums of the matrix shapes at these sizes, counted tensor by tensor.
        for (pixels, gflop) in [(256, 722.5), (512, 1868.0)] {
            let counted = StackConfig::flux().gflop(pixels);
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
