//! The flags of every command that generates images: model, device and memory.

use clap::Args;

use super::loading::LoadingArgs;
use super::paths;
use super::values::ByteSize;
use x2i_engine::device::DeviceList;

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
    /// The most memory of the model on each device: 3GiB, 3G, 3000M or bytes, or a list with one for each
    /// (`20G,8G`); transformer blocks that fit on none are read from the file in every step
    #[arg(
        long,
        value_name = "SIZE[,SIZE...]",
        value_delimiter = ',',
        allow_hyphen_values = true
    )]
    pub max_device_memory: Vec<ByteSize>,
    /// How it is loaded.
    #[command(flatten)]
    pub loading: LoadingArgs,
}
