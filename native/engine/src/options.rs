//! Options for loading a model: memory and precision.

use x2i_core::{Error, Field, InputBits, LoadOptions, Memory, OtherDevice, Result};

use crate::device::OpenDevice;
use crate::host;
use crate::models::Verify;

/// Options for loading a model.
#[derive(Debug, Clone, Default)]
pub struct EngineOptions {
    /// Which components stay on the device.
    pub memory: MemoryPolicy,
    /// The most bytes of the model on each device, in their order; one number holds for every device, and none
    /// is no limit. Transformer blocks that fit on no device are streamed: read in every step.
    pub max_device_memory: Vec<u64>,
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
    ///
    /// # Errors
    /// [`Error::Request`] for [`Field::MaxDeviceMemory`] when there are other numbers of limits than devices.
    pub(crate) fn load_options(&self, devices: &[OpenDevice]) -> Result<LoadOptions> {
        let limits = devices.iter().enumerate().map(|(index, device)| {
            let asked = self.limit(index, devices.len())?;
            Ok((device, asked, free(device, devices)))
        });
        let limits = limits.collect::<Result<Vec<_>>>()?;
        let others = limits.iter().skip(1).map(|(device, asked, free)| {
            let free = free.filter(|_| self.memory == MemoryPolicy::Auto);
            OtherDevice {
                device: device.device.clone(),
                memory: [*asked, free].into_iter().flatten().min(),
            }
        });
        let (asked, free) = limits
            .first()
            .map_or((None, None), |first| (first.1, first.2));
        Ok(LoadOptions {
            memory: match (self.memory, free) {
                (MemoryPolicy::Low, _) => Memory::Low,
                (MemoryPolicy::High, _) => Memory::High,
                (MemoryPolicy::Auto, Some(free)) => Memory::Fit(free),
                // An unknown amount of memory counts as enough, but a given limit holds.
                (MemoryPolicy::Auto, None) => asked.map_or(Memory::High, Memory::Fit),
            },
            max_device_memory: asked,
            input_bits: self.input_bits,
            others: others.collect(),
            ..LoadOptions::default()
        })
    }

    /// The same options for one of several devices alone, beside which the others have copies of the model.
    ///
    /// # Errors
    /// As [`load_options`](Self::load_options).
    pub(crate) fn alone(&self, index: usize, devices: &[OpenDevice]) -> Result<Self> {
        let asked = self.limit(index, devices.len())?;
        let device = &devices[index];
        // In the host's memory the others' copies are not there yet, and count.
        let part = free(device, devices).filter(|_| device.entry.is_in_host_memory());
        let part = part.filter(|_| self.memory == MemoryPolicy::Auto);
        Ok(Self {
            max_device_memory: [asked, part]
                .into_iter()
                .flatten()
                .min()
                .into_iter()
                .collect(),
            ..self.clone()
        })
    }

    fn limit(&self, index: usize, count: usize) -> Result<Option<u64>> {
        match self.max_device_memory[..] {
            [] => Ok(None),
            [all] => Ok(Some(all)),
            ref each if each.len() == count => Ok(Some(each[index])),
            ref each => {
                let devices = if count == 1 { "device" } else { "devices" };
                let reason = format!(
                    "{} sizes for {count} {devices}; give one for all, or one for each",
                    each.len()
                );
                Err(Error::request(Field::MaxDeviceMemory, reason))
            }
        }
    }
}

/// The memory of a device that is free now, where known. Devices in the host's memory have equal parts of it.
fn free(device: &OpenDevice, all: &[OpenDevice]) -> Option<u64> {
    let in_host_memory = |device: &&OpenDevice| device.entry.is_in_host_memory();
    match device.entry.is_in_host_memory() {
        true => {
            let sharing = all.iter().filter(in_host_memory).count() as u64;
            host::memory().map(|memory| memory.available / sharing.max(1))
        }
        false => device.entry.free,
    }
}
