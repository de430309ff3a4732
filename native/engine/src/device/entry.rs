//! One device of this machine, as it is listed.

use std::fmt;

use serde::Serialize;

use super::facts::GpuFacts;

/// The API behind a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// burn's flex backend.
    Cpu,
    /// A GPU adapter of wgpu.
    Wgpu,
    /// CUDA.
    Cuda,
}

/// One device of this machine.
#[derive(Debug, Clone, Serialize)]
pub struct DeviceEntry {
    /// Its id, which [`super::DeviceChoice`] parses: `cpu`, `wgpu:0`.
    pub id: String,
    /// The API behind it.
    pub kind: DeviceKind,
    /// Its index among devices of its kind.
    pub index: usize,
    /// The name that its driver gives.
    pub name: String,
    /// True for a GPU that is emulated on the CPU.
    pub software: bool,
    /// Bytes of memory, where known.
    pub memory: Option<u64>,
    /// Bytes of a GPU's own memory that are free now, where known.
    pub free: Option<u64>,
    /// Facts from the driver; `None` for the CPU.
    pub gpu: Option<GpuFacts>,
}

impl DeviceEntry {
    /// True for the CPU, and for a GPU that it emulates.
    pub fn is_in_host_memory(&self) -> bool {
        self.kind == DeviceKind::Cpu || self.software
    }
}

impl fmt::Display for DeviceEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind, self.software) {
            (DeviceKind::Cpu, _) => f.write_str(&self.id),
            (_, false) => write!(f, "{} ({})", self.id, self.name),
            (_, true) => write!(f, "{} ({}, software)", self.id, self.name),
        }
    }
}

/// All entries in one line: `cpu, wgpu:0 (Radeon RX 7900)`.
pub fn names(entries: &[DeviceEntry]) -> String {
    entries
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
