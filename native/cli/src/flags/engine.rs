//! The flags of every command that paints: which model, where, and with how much memory.

use clap::Args;

use super::{ByteSize, MemoryChoice};
use x2i_engine::device::DeviceChoice;

/// A model on a device.
#[derive(Debug, Clone, Args)]
pub struct EngineArgs {
    /// A model folder, or the name of the built-in model (default: emoji)
    #[arg(long, value_name = "DIR|NAME")]
    pub model: Option<String>,
    /// `auto`, `cpu`, `wgpu[:INDEX]` or `cuda[:INDEX]`; auto takes the best hardware GPU, else the CPU
    #[arg(long)]
    pub device: Option<DeviceChoice>,
    /// Parts of the model on the device: `high` is all, `low` one after the other for each picture,
    /// `auto` all where they fit into the memory that is free
    #[arg(long, value_enum, default_value_t)]
    pub memory: MemoryChoice,
    /// The most memory that the model takes on the device, as 3GiB, 3G, 3000M or bytes; transformer
    /// blocks that do not fit are read again in every step
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub max_device_memory: Option<ByteSize>,
    /// Compute quantized layers on the CPU with inputs of 16 bits, not of as few as the weights bear:
    /// slower, and nearer to the weights
    #[arg(long)]
    pub exact: bool,
}
