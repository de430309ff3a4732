//! The flags of every command that generates images: model, device and memory.

use clap::Args;

use super::paths;
use super::values::{ByteSize, MemoryChoice};
use x2i_engine::device::{DeviceList, Precision};
use x2i_engine::models::Verify;

/// A model on a device.
#[derive(Debug, Clone, Args)]
pub struct EngineArgs {
    /// A model folder, the name of the embedded model (default: emoji), or OWNER/REPO of the Hugging Face
    /// Hub (@REVISION for a branch, tag or commit), which is downloaded first unless it is in the cache
    #[arg(long, short, value_name = "DIR|NAME", value_parser = paths::place)]
    pub model: Option<String>,
    /// Use no network: a model that is not here is an error
    #[arg(long)]
    pub offline: bool,
    /// `auto`, `cpu`, `wgpu[:INDEX]` or `cuda[:INDEX]`; auto takes the best hardware GPU, else the CPU. A list
    /// (`wgpu:0,wgpu:1` or `wgpu:0,cpu`) splits a model that is too large for the first between all; several
    /// images are spread over GPUs that each hold the model
    #[arg(long, value_name = "DEVICE[,DEVICE...]")]
    pub device: Option<DeviceList>,
    /// Components of the model on the device: `high` keeps all, `low` loads one after the other for each
    /// image, `auto` keeps all if they fit into the free memory
    #[arg(long, value_enum, default_value_t)]
    pub memory: MemoryChoice,
    /// The most memory of the model on each device: 3GiB, 3G, 3000M or bytes, or a list with one for each
    /// (`20G,8G`); transformer blocks that fit on none are read from the file in every step
    #[arg(
        long,
        value_name = "SIZE[,SIZE...]",
        value_delimiter = ',',
        allow_hyphen_values = true
    )]
    pub max_device_memory: Vec<ByteSize>,
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

impl EngineArgs {
    /// When the model's files are hashed.
    pub fn verify(&self) -> Verify {
        verify(self.verify)
    }
}

/// What a flag `--verify` means.
pub fn verify(given: bool) -> Verify {
    match given {
        true => Verify::Always,
        false => Verify::WhenNew,
    }
}
