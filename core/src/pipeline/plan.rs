//! How much of a model is on the device at once: what a caller may ask for, and what follows.
//!
//! Weights are counted from the headers, the transformer's activations from the tokens. Left out:
//! the activations of the other parts, which work while the transformer is not there.

use std::sync::Arc;

use burn::tensor::Device;

use crate::config::{FluxConfig, ModelConfig};
use crate::encoders::EncoderBytes;
use crate::error::{Error, Field, Result};
use crate::flux::FluxBytes;
use crate::lora::Lora;
use crate::nn::InputBits;
use crate::weights::Weights;

/// How a model is held.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Which parts stay on the device.
    pub memory: Memory,
    /// The most bytes of weights and activations on the device. Transformer blocks that do not fit
    /// are read from the files in every step; layers of an LLM that is loaded for one prompt and does not fit
    /// are read when their turn comes.
    pub max_device_memory: Option<u64>,
    /// How quantized layers round their inputs on the CPU.
    pub input_bits: InputBits,
    /// Changes of the transformer, all of which count.
    pub loras: Vec<Arc<Lora>>,
    /// LightControl's nets, for requests with a control.
    pub control: Option<Arc<Weights>>,
    /// Devices beside the first one, for transformer blocks that do not fit there.
    pub others: Vec<OtherDevice>,
}

/// A device for transformer blocks that do not fit on the first one.
#[derive(Debug, Clone)]
pub struct OtherDevice {
    /// The device.
    pub device: Device,
    /// The most bytes of blocks and activations there; none is no limit.
    pub memory: Option<u64>,
}

/// Which parts of a model stay on the device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Memory {
    /// All, from loading on.
    #[default]
    High,
    /// None: encoder, AlignNet, transformer and VAE are loaded one after the other for each
    /// picture, and dropped when they have done their work.
    Low,
    /// All where they fit into this many bytes, else none.
    Fit(u64),
}

/// Bytes of a model's parts on the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sizes {
    pub encoder: EncoderBytes,
    pub align_net: u64,
    pub flux: FluxBytes,
    pub vae: u64,
    pub control: u64,
    /// Bytes of activations for each token of the transformer.
    pub per_token: u64,
}

impl Sizes {
    /// All but the transformer.
    pub fn others(&self) -> u64 {
        self.encoder.all() + self.align_net + self.vae + self.control
    }

    /// The largest part but the transformer, where one at a time is within `limit` bytes.
    pub fn largest_other(&self, limit: u64) -> u64 {
        let encoder = self.encoder.held(self.encoder.resident(limit));
        encoder.max(self.align_net).max(self.vae)
    }
}

/// Which parts are on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Residency {
    All,
    OneByOne,
}

/// What follows from the options for one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub residency: Residency,
    pub limit: Limit,
}

/// Place for the transformer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Limit {
    /// What the transformer may take on each device, in bytes; `u64::MAX` is no limit.
    bytes: Vec<u64>,
    /// What was asked for, where it was: it is kept, or the picture refused.
    asked: Option<u64>,
    /// Bytes of activations for each token.
    per_token: u64,
    /// The VAE's bytes, for when it stands beside the transformer.
    vae: u64,
}

impl Plan {
    /// Decides before a weight is read.
    pub fn of(options: &LoadOptions, config: &ModelConfig, sizes: &Sizes) -> Result<Self> {
        let asked = options.max_device_memory;
        let bytes = match options.memory {
            Memory::Fit(available) => Some(asked.map_or(available, |most| most.min(available))),
            Memory::High | Memory::Low => asked,
        };
        let others = options.others.iter();
        let limit = Limit {
            bytes: std::iter::once(bytes)
                .chain(others.map(|other| other.memory))
                .map(|bytes| bytes.unwrap_or(u64::MAX))
                .collect(),
            asked,
            per_token: sizes.per_token,
            vae: sizes.vae,
        };
        let all = limit.beside_others(sizes, default_tokens(config));
        let fits = sizes.flux.fits(all.flux_weights());
        let residency = match options.memory {
            Memory::High => Residency::All,
            Memory::Low => Residency::OneByOne,
            Memory::Fit(_) if fits => Residency::All,
            Memory::Fit(_) => Residency::OneByOne,
        };
        let (needed, what) = match residency {
            Residency::All if fits => (0, ""),
            Residency::All => (
                sizes.others() + sizes.flux.least(),
                "all parts with two transformer blocks at a time",
            ),
            Residency::OneByOne => largest(sizes, limit.flux_weights()),
        };
        refuse(asked, needed, what)?;
        Ok(Self {
            residency,
            limit: match residency {
                Residency::All => all,
                Residency::OneByOne => limit,
            },
        })
    }
}

impl Limit {
    /// What is left to the transformer's weights where `tokens` are painted and, for previews, the
    /// VAE is there too.
    pub fn beside(&self, vae: bool, tokens: usize) -> Self {
        let activations = self.per_token * tokens as u64;
        let limit = self.less(if vae { self.vae } else { 0 });
        let left = limit.bytes.iter().map(|&bytes| minus(bytes, activations));
        Self {
            bytes: left.collect(),
            ..limit
        }
    }

    fn beside_others(&self, sizes: &Sizes, tokens: usize) -> Self {
        self.less(sizes.others()).beside(false, tokens)
    }

    /// What is left where so many bytes of the first device are taken besides.
    pub fn less(&self, taken: u64) -> Self {
        let mut less = self.clone();
        less.bytes[0] = minus(less.bytes[0], taken);
        less
    }

    /// Bytes for the transformer's weights on each device.
    pub fn flux_weights(&self) -> &[u64] {
        &self.bytes
    }

    /// Bytes on the first device.
    pub fn first(&self) -> u64 {
        self.bytes[0]
    }

    /// Refuses a picture whose activations and what it keeps leave no place for two blocks.
    pub fn check_picture(&self, flux: &FluxBytes, tokens: usize, kept: u64) -> Result<()> {
        if flux.fits(self.less(kept).beside(false, tokens).flux_weights()) {
            return Ok(());
        }
        let needed = flux.least() + self.per_token * tokens as u64 + kept;
        refuse(
            self.asked,
            needed,
            "this picture with two transformer blocks at a time",
        )
    }
}

/// What is left of a limit.
fn minus(limit: u64, taken: u64) -> u64 {
    match limit {
        u64::MAX => limit,
        limit => limit.saturating_sub(taken),
    }
}

/// The part that decides whether a model can be loaded one part after the other.
fn largest(sizes: &Sizes, flux_weights: &[u64]) -> (u64, &'static str) {
    let streamed = match sizes.flux.fits(flux_weights) {
        true => 0,
        false => sizes.flux.least(),
    };
    let parts = [
        match sizes.encoder.all() <= flux_weights[0] {
            true => (0, ""),
            false => (
                sizes.encoder.least(),
                "the encoder with two layers at a time",
            ),
        },
        (sizes.align_net, "AlignNet"),
        (sizes.vae, "the VAE"),
        (streamed, "the transformer with two blocks at a time"),
    ];
    let largest = parts.into_iter().max_by_key(|(bytes, _)| *bytes);
    largest.unwrap_or((0, ""))
}

fn refuse(asked: Option<u64>, needed: u64, what: &str) -> Result<()> {
    /// Messages count in these, rounded up.
    const MIB: u64 = 1 << 20;
    match asked {
        Some(asked) if asked < needed => Err(Error::request(
            Field::MaxDeviceMemory,
            format!(
                "{} MiB are too few: {what} needs {} MiB",
                asked / MIB,
                needed.div_ceil(MIB)
            ),
        )),
        _ => Ok(()),
    }
}

/// The most that a block holds for each token, in bytes; `halves` is true where what products give to products
/// takes 16 bits.
///
/// In f32 it is a single block's input, fused projection, queries, keys and values before and after their rotation,
/// MLP, and the two joined. Else the input, the projection and the output are f32; the modulated input, queries, keys
/// and values after their rotation, the attention and the MLP after its GELU take half of that, and nothing is
/// joined.
pub(super) fn activation_bytes(config: &FluxConfig, halves: bool) -> u64 {
    let (hidden, mlp) = (config.hidden_size(), config.mlp_size());
    let bytes = match halves {
        false => 4 * (2 * hidden + (3 * hidden + mlp) + 6 * hidden + 2 * mlp + (hidden + mlp)),
        true => 4 * (hidden + 3 * hidden + hidden) + 2 * (hidden + 3 * hidden + hidden + mlp),
    };
    bytes as u64
}

/// Tokens of a picture where the request says nothing.
pub(super) fn default_tokens(config: &ModelConfig) -> usize {
    let defaults = &config.defaults;
    let side = 2 * config.vae.config.downsampling();
    let text = defaults.padding.map_or(0, |padding| padding.max_length);
    text + (defaults.width / side) * (defaults.height / side)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activations_of_16_bits_take_a_third_of_the_others_memory() {
        let config = include_str!("../../configs/flux1-dev.json");
        let mut parts: serde_json::Value = serde_json::from_str(config).expect("JSON");
        let config: FluxConfig =
            serde_json::from_value(parts["transformer"].take()).expect("a config of the program");
        let [floats, halves] = [false, true].map(|halves| activation_bytes(&config, halves));
        assert_eq!((floats, halves), (28 * 4 * 3072, 38 * 3072));
        // 1024x1024 with 512 tokens of text: 1.5 GiB become 0.5.
        assert_eq!(
            [floats, halves].map(|bytes| (bytes * 4608) >> 20),
            [1512, 513]
        );
    }
}
