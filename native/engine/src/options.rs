//! How an engine holds a model.

use x2i_core::{InputBits, LoadOptions, Memory};

use crate::device::{DeviceEntry, DeviceKind};
use crate::host;

/// How an engine holds a model.
#[derive(Debug, Clone, Default)]
pub struct EngineOptions {
    /// Which parts stay on the device.
    pub memory: MemoryPolicy,
    /// The most bytes that the model takes on the device. Transformer blocks that do not fit are
    /// read again in every step.
    pub max_device_memory: Option<u64>,
    /// How quantized layers round their inputs on the CPU.
    pub input_bits: InputBits,
}

/// Which parts of a model stay on the device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MemoryPolicy {
    /// All where they fit into the memory that is free now, else none.
    #[default]
    Auto,
    /// None: each part is loaded for each image, and dropped after its work.
    Low,
    /// All.
    High,
}

impl EngineOptions {
    /// True when quantized layers keep inputs of 16 bits.
    pub(crate) fn is_exact(&self) -> bool {
        matches!(self.input_bits, InputBits::Sixteen)
    }

    /// The pipeline's options, with the memory that is free now where they leave it to us.
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
                // An unknown amount of memory is taken for enough, but a limit counts.
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
