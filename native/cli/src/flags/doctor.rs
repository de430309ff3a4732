//! The flags of `x2i doctor`.

use clap::Args;

use x2i_engine::DeviceList;

use super::paths;
use super::values::ByteSize;

/// `x2i doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// A model: check it, and which devices can run it
    #[arg(long, short, value_name = "DIR|NAME", value_parser = paths::place)]
    pub model: Option<String>,
    /// Devices as `generate` takes them: tell which part of the model each of them would have
    #[arg(long, value_name = "DEVICE[,DEVICE...]")]
    pub device: Option<DeviceList>,
    /// The most memory of the model on each device, as `generate` takes it
    #[arg(
        long,
        value_name = "SIZE[,SIZE...]",
        value_delimiter = ',',
        requires = "device",
        allow_hyphen_values = true
    )]
    pub max_device_memory: Vec<ByteSize>,
    /// Read every number of the model, and hash its files even if that was done before
    #[arg(long)]
    pub verify: bool,
    /// Run every kernel on each GPU, and every variant of the CPU's, and compare their numbers with the CPU's in plain
    /// Rust
    #[arg(long)]
    pub kernels: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
