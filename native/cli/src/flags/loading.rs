//! The flags of every command that loads models: what stays on a device, and how exactly it computes.

use clap::Args;
use x2i_core::InputBits;
use x2i_engine::device::Precision;
use x2i_engine::models::Verify;
use x2i_engine::{EngineOptions, MemoryPolicy};

use super::values::{ByteSize, MemoryChoice};

/// How models are loaded.
#[derive(Debug, Clone, Args)]
pub struct LoadingArgs {
    /// Components of a model on the device: `high` keeps all, `low` loads one after the other for each
    /// image, `auto` keeps all if they fit into the free memory
    #[arg(long, value_enum, default_value_t)]
    pub memory: MemoryChoice,
    /// Round the inputs of quantized layers on the CPU to 16 bits instead of 8, and compute others in f32 instead of bf16:
    /// slower, more exact
    #[arg(long)]
    pub exact: bool,
    /// The floats in which a GPU multiplies: `auto` is bf16 (CUDA) or f16 where it has matrix units (tensor
    /// cores), else f32
    #[arg(long, value_name = "auto|f32|f16|bf16")]
    pub precision: Option<Precision>,
    /// Hash the model's files and compare them with model.json, even if that was done before (default: when
    /// a file is new or has changed)
    #[arg(long)]
    pub verify: bool,
}

impl LoadingArgs {
    /// The engine's options, with limits of the memory of devices.
    pub fn options<'a>(&self, limits: impl IntoIterator<Item = &'a ByteSize>) -> EngineOptions {
        EngineOptions {
            memory: match self.memory {
                MemoryChoice::Auto => MemoryPolicy::Auto,
                MemoryChoice::Low => MemoryPolicy::Low,
                MemoryChoice::High => MemoryPolicy::High,
            },
            max_device_memory: limits.into_iter().map(|ByteSize(bytes)| *bytes).collect(),
            input_bits: match self.exact {
                true => InputBits::Sixteen,
                false => InputBits::AsWeights,
            },
            verify: verify(self.verify),
        }
    }
}

/// What a flag `--verify` means.
pub fn verify(given: bool) -> Verify {
    match given {
        true => Verify::Always,
        false => Verify::WhenNew,
    }
}
