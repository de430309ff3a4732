//! Options for loading a model: memory and precision.

use x2i_core::{InputBits, LoadOptions, Memory};

use crate::device::{DeviceEntry, DeviceKind};
use crate::host;
use crate::models::Verify;

/// Options for loading a model.
#[derive(Debug, Clone, Default)]
pub struct EngineOptions {
    /// Which components stay on the device.
    pub memory: MemoryPolicy,
    /// The most bytes of the model on the device. Transformer blocks that do not fit are streamed: read
    /// in every step.
    pub max_device_memory: Option<u64>,
    /// The precision to which block-quantized layers round their inputs on the CPU.
    pub input_bits: InputBits,
    /// When the model's files are compared with the hashes that `model.json` records.
    pub verify: Verify,
}

/// Which components of a model stay on the device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MemoryPolicy {
    /// All if they fit into the memory that is free now, else none.
    #[default]
    Auto,
    /// None: each component is loaded for each image, and dropped after its work.
    Low,
    /// All.
    High,
}

impl EngineOptions {
    /// True when block-quantized layers round their inputs to 16 bits.
    pub(crate) fn is_exact(&self) -> bool {
        matches!(self.input_bits, InputBits::Sixteen)
    }

    /// The options for the pipeline; `Auto` becomes a limit from the memory that is free now.
    pub(crate) fn load_options(&self, device: &DeviceEntry) -> LoadOptions {
        let in_host_memory = device.kind == DeviceKind::Cpu || device.software;
        let free = match in_host_memory {
            true => host::memory().map(|memory| memory.available),
            false => device.memory,
        };
        LoadOptions {
            memory: match (self.memory, free) {
                (MemoryPolicy::Low, _) => Memory::Low,
                (MemoryPolicy::High, _) => Memory::High,
                (MemoryPolicy::Auto, Some(free)) => Memory::Fit(free),
                // An unknown amount of memory counts as enough, but a given limit holds.
                (MemoryPolicy::Auto, None) => {
                    self.max_device_memory.map_or(Memory::High, Memory::Fit)
                }
            },
            max_device_memory: self.max_device_memory,
            input_bits: self.input_bits,
            ..LoadOptions::default()
        }
    }
}
