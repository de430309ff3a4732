//! The files that every side of `x2i bench train` reads: the stack's weights, what the steps learn from, and how the
//! parameters start.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use x2i_core::config::{AlignNetConfig, FluxConfig, Mix};
use x2i_core::training::lora::{Adapter, Start, Targets};
use x2i_core::training::{Parameters, initial};
use x2i_core::weights::{Component, Weights};
use x2i_engine::models::MappedFile;

use super::folder::{Content, Folder, read_floats};
use super::stack_files::{StackConfig, side, weights_file};
use super::synthetic::{flux_shapes, normal};
use crate::flags::{Quantize, TrainStep};

/// `train.json`: the description of the folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct TrainContent {
    /// The version of the generated numbers, so that old files are not used.
    pub numbers: u32,
    /// Sizes, with diffusers' keys.
    pub transformer: FluxConfig,
    /// The number of text tokens.
    pub text_tokens: usize,
    /// Hidden states of the language model that AlignNet mixes.
    pub layers: usize,
    /// Their width.
    pub layer_width: usize,
    /// The kernel of the convolution that mixes them.
    pub kernel: usize,
    /// The epsilon of AlignNet's norm.
    pub norm_eps: f64,
    /// The rank of the LoRA; its alpha is the same.
    pub rank: usize,
    /// The noise level of the LoRA's step; AlignNet learns at 1.
    pub sigma: f32,
    /// The temperature of the divergence.
    pub temperature: f32,
}

impl TrainContent {
    /// FLUX's width, and AlignNet of Qwen2.5-VL 7B.
    pub fn flux() -> Self {
        let stack = StackConfig::flux(2, 4);
        Self {
            numbers: 1,
            transformer: stack.transformer,
            text_tokens: 512,
            layers: 29,
            layer_width: 3584,
            kernel: 5,
            norm_eps: 1e-6,
            rank: 16,
            sigma: stack.sigma,
            temperature: 3.0,
        }
    }

    /// The same with sizes of a test.
    pub fn small() -> Self {
        let mut content = Self::flux();
        let transformer = &mut content.transformer;
        transformer.num_attention_heads = 2;
        transformer.num_layers = 1;
        transformer.num_single_layers = 2;
        transformer.joint_attention_dim = 64;
        transformer.pooled_projection_dim = 32;
        content.text_tokens = 16;
        content.layers = 3;
        content.layer_width = 32;
        content.rank = 4;
        content
    }

    /// Multiplications and additions of the matrix products of a step of an image of `pixels`, in billions: the teacher's
    /// pass and the student's, or that of the LoRA, and a way back through frozen weights.
    pub fn gflop(&self, step: TrainStep, pixels: usize) -> f64 {
        let stack = StackConfig {
            numbers: self.numbers,
            transformer: self.transformer.clone(),
            text_tokens: self.text_tokens,
            sigma: self.sigma,
        };
        let passes = match step {
            TrainStep::Align => 3.0,
            TrainStep::Lora => 2.0,
        };
        passes * stack.gflop(pixels)
    }

    /// AlignNet's sizes.
    pub fn align_net(&self) -> AlignNetConfig {
        AlignNetConfig {
            in_channels: self.layers,
            input_dim: self.layer_width,
            pooled_dim: self.transformer.pooled_projection_dim,
            text_dim: self.transformer.joint_attention_dim,
            norm_eps: self.norm_eps,
            mix: Mix::Conv {
                kernel: self.kernel,
            },
            t5: None,
        }
    }

    /// How AlignNet's parameters start.
    pub fn align_net_start(&self) -> Parameters {
        initial::align_net(&self.align_net(), SEED).expect("it has no T5 stack")
    }

    /// Tokens of a step.
    fn tokens(&self, pixels: usize) -> [usize; 2] {
        [self.text_tokens, side(pixels) * side(pixels)]
    }

    /// The raw files of a size: name, first index in the sequence of [`normal`], count and scale.
    fn inputs(&self, pixels: usize) -> [(String, u64, usize, f32); 5] {
        let [text, image] = self.tokens(pixels);
        let sizes = &self.transformer;
        let (image, pooled) = (image * sizes.in_channels, sizes.pooled_projection_dim);
        let states = self.layers * text * self.layer_width;
        [
            (format!("img-{pixels}.f32"), 1 << 40, image, 1.0),
            (format!("noise-{pixels}.f32"), 4 << 40, image, 1.0),
            (
                "txt.f32".into(),
                2 << 40,
                text * sizes.joint_attention_dim,
                0.5,
            ),
            ("vec.f32".into(), 3 << 40, pooled, 1.0),
            ("states.f32".into(), 5 << 40, states, 1.0),
        ]
    }
}

/// Of the first parameters.
const SEED: u64 = 1;
/// The index of the first number of LoRA's `B`, in the sequence of [`normal`].
const UP: u64 = 6 << 40;
/// `B` starts as zeros in a run, which makes the gradient of `A` zero; a measured step has both.
const UP_SCALE: f32 = 0.02;

impl Content for TrainContent {
    const FILE: &str = "train.json";
}

impl fmt::Display for TrainStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Align => "align",
            Self::Lora => "lora",
        })
    }
}

/// The folder.
pub(super) struct TrainFiles(Folder<TrainContent>);

impl TrainFiles {
    /// As [`Folder::create`].
    ///
    /// # Errors
    /// When it can't be written.
    pub fn create(folder: &Path, content: TrainContent) -> Result<Self> {
        Folder::create(folder, content).map(Self)
    }

    /// As [`Folder::open`].
    ///
    /// # Errors
    /// When it has no readable `train.json`.
    pub fn open(folder: &Path) -> Result<Self> {
        Folder::open(folder).map(Self)
    }

    /// The description of its content.
    pub fn content(&self) -> &TrainContent {
        self.0.content()
    }

    /// The path of a file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path(name)
    }

    /// Writes the transformer's weights in the type `quantize`, unless they exist.
    ///
    /// # Errors
    /// When they can't be written.
    pub fn need_weights(&self, quantize: Quantize) -> Result<()> {
        let name = weights_file(quantize);
        let shapes = flux_shapes(&self.content().transformer);
        self.0
            .need_weights(&name, Component::Flux, &shapes, quantize)
    }

    /// Writes inputs and first parameters of a step on an image of `pixels`, unless they exist. Parameters are the numbers
    /// of all tensors, sorted by name.
    ///
    /// # Errors
    /// When they can't be written, or the weights do not exist.
    pub fn need_inputs(&self, step: TrainStep, pixels: usize) -> Result<()> {
        for (name, first, count, scale) in self.content().inputs(pixels) {
            let numbers = (first..).take(count).map(|index| scale * normal(index));
            self.0.need_floats(&name, numbers)?;
        }
        let name = format!("{step}.f32");
        if self.path(&name).exists() {
            return Ok(());
        }
        let start = match step {
            TrainStep::Align => self.content().align_net_start(),
            TrainStep::Lora => {
                let weights = self.open_weights(Quantize::None)?;
                self.lora_start(&self.adapter(&weights)?)
            }
        };
        let values = start.iter().flat_map(|(_, parameter)| &parameter.values);
        self.0.need_floats(&name, values.copied())
    }

    /// The numbers of an input of [`need_inputs`](Self::need_inputs).
    ///
    /// # Errors
    /// When it does not exist.
    pub fn floats(&self, name: &str) -> Result<Vec<f32>> {
        read_floats(&self.path(name))
    }

    /// Opens the transformer's weights.
    ///
    /// # Errors
    /// When they do not exist.
    pub fn open_weights(&self, quantize: Quantize) -> Result<Weights> {
        let source = Arc::new(MappedFile::open(&self.path(&weights_file(quantize)))?);
        let weights = Weights::open("stack", Component::Flux, vec![source]);
        Ok(pollster::block_on(weights)?)
    }

    /// The LoRA: attention, and the MLPs of double blocks.
    ///
    /// # Errors
    /// When the weights do not have these layers.
    pub fn adapter(&self, weights: &Weights) -> Result<Adapter> {
        let rank = self.content().rank;
        let size = (rank, rank as f32);
        let adapter = Adapter::new(weights, Targets::attention_mlp(), size, false);
        Ok(pollster::block_on(adapter)?)
    }

    /// How its parameters start.
    pub fn lora_start(&self, adapter: &Adapter) -> Parameters {
        let mut parameters = adapter.start(Start::Uniform, SEED);
        let mut index = UP;
        for (name, parameter) in parameters.iter_mut() {
            if name.ends_with(".lora_B.weight") {
                for value in &mut parameter.values {
                    *value = UP_SCALE * normal(index);
                    index += 1;
                }
            }
        }
        parameters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_align_net_is_that_of_qwen_7b() {
        // docs: AlignNet's published sizes.
        assert_eq!(TrainContent::flux().align_net_start().numbers(), 34_611_670);
    }

    #[test]
    fn both_factors_of_the_lora_learn() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let files = TrainFiles::create(folder.path(), TrainContent::small())?;
        files.need_weights(Quantize::None)?;
        files.need_inputs(TrainStep::Lora, 32)?;
        let start = files.lora_start(&files.adapter(&files.open_weights(Quantize::None)?)?);
        let some = |values: &[f32]| values.iter().any(|&value| value != 0.0);
        assert!(start.iter().all(|(_, parameter)| some(&parameter.values)));
        assert_eq!(files.floats("lora.f32")?.len(), start.numbers());
        assert_eq!(files.floats("states.f32")?.len(), 3 * 16 * 32);
        Ok(())
    }
}
