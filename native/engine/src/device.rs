//! Which devices this machine has, which one to take, and opening it.
//!
//! burn's own default device panics where a GPU library is missing, so devices are listed first
//! and opened by us. Left out: OpenGL adapters, which offer too few storage buffers.

mod cuda;
mod gpu;
mod health;

use std::fmt;
use std::str::FromStr;

use burn::tensor::Device;
use serde::Serialize;
use x2i_core::{Error, Result};

pub use gpu::GpuFacts;
pub use health::Health;

/// What `--device` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The best hardware GPU, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A wgpu adapter: the one of this index, or the best.
    Wgpu(Option<usize>),
    /// An NVIDIA GPU through CUDA: the one of this index, or the first.
    Cuda(Option<usize>),
}

/// The forms of `--device`, for help and messages.
pub const FORMS: &str = "auto, cpu, wgpu[:index] or cuda[:index]";

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, index) = match text.split_once(':') {
            None => (text, Some(None)),
            Some((kind, index)) => (kind, index.parse().ok().map(Some)),
        };
        match (kind, index) {
            ("auto", Some(None)) => Ok(Self::Auto),
            ("cpu", Some(None)) => Ok(Self::Cpu),
            ("wgpu", Some(index)) => Ok(Self::Wgpu(index)),
            ("cuda", Some(index)) => Ok(Self::Cuda(index)),
            _ => Err(format!(
                "expected {FORMS}; this machine has {}",
                names(&list())
            )),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, index) = match self {
            Self::Auto => ("auto", None),
            Self::Cpu => ("cpu", None),
            Self::Wgpu(index) => ("wgpu", *index),
            Self::Cuda(index) => ("cuda", *index),
        };
        match index {
            None => f.write_str(kind),
            Some(index) => write!(f, "{kind}:{index}"),
        }
    }
}

/// Through what a device is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// burn's flex backend.
    Cpu,
    /// A wgpu adapter.
    Wgpu,
    /// CUDA.
    Cuda,
}

/// One device of this machine.
#[derive(Debug, Clone, Serialize)]
pub struct DeviceEntry {
    /// What it is called in `--device`: `cpu`, `wgpu:0`.
    pub id: String,
    /// Through what it is reached.
    pub kind: DeviceKind,
    /// Its index among devices of its kind.
    pub index: usize,
    /// What its driver calls it.
    pub name: String,
    /// True for a GPU that is emulated on the CPU.
    pub software: bool,
    /// Bytes of memory, where known.
    pub memory: Option<u64>,
    /// What a GPU's driver says about it.
    pub gpu: Option<GpuFacts>,
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

/// An open device.
pub struct OpenDevice {
    /// The device as burn takes it.
    pub device: Device,
    /// What it is.
    pub entry: DeviceEntry,
    /// What went wrong on it.
    pub health: Health,
    /// The wgpu device behind it.
    pub wgpu: Option<burn_wgpu::wgpu::Device>,
}

/// Every device of this machine, the CPU first, then GPUs from the best to the software ones.
///
/// Opens none of them.
pub fn list() -> Vec<DeviceEntry> {
    let mut entries = vec![cpu()];
    entries.extend(cuda::list());
    entries.extend(gpu::list());
    entries
}

/// The device that `auto` takes: CUDA, then the best hardware adapter, then the CPU.
pub fn choose(entries: &[DeviceEntry]) -> &DeviceEntry {
    let hardware = |kind| {
        entries
            .iter()
            .find(|entry| entry.kind == kind && !entry.software)
    };
    // `list` always begins with the CPU.
    hardware(DeviceKind::Cuda)
        .or_else(|| hardware(DeviceKind::Wgpu))
        .unwrap_or(&entries[0])
}

/// Opens a device and returns what burn needs.
///
/// # Errors
/// As [`acquire`].
pub fn open(choice: &DeviceChoice) -> Result<Device> {
    acquire(*choice).map(|opened| opened.device)
}

/// Opens a device.
///
/// # Errors
/// [`Error::Device`] when the device is not there (the message lists those that are) or can't be
/// opened.
pub fn acquire(choice: DeviceChoice) -> Result<OpenDevice> {
    if choice == DeviceChoice::Cpu {
        return Ok(open_cpu()); // without looking for GPUs, which takes a driver's start-up time
    }
    let entries = list();
    let entry = match choice {
        DeviceChoice::Auto => choose(&entries),
        DeviceChoice::Cpu => &entries[0],
        DeviceChoice::Wgpu(index) => find(&entries, DeviceKind::Wgpu, index, choice)?,
        DeviceChoice::Cuda(index) => {
            cuda::check_built(&entries)?;
            find(&entries, DeviceKind::Cuda, index, choice)?
        }
    };
    match entry.kind {
        DeviceKind::Cpu => Ok(open_cpu()),
        DeviceKind::Wgpu => gpu::open(entry),
        DeviceKind::Cuda => cuda::open(entry),
    }
}

fn find(
    entries: &[DeviceEntry],
    kind: DeviceKind,
    index: Option<usize>,
    choice: DeviceChoice,
) -> Result<&DeviceEntry> {
    let mut of_kind = entries.iter().filter(|entry| entry.kind == kind);
    of_kind.nth(index.unwrap_or(0)).ok_or_else(|| {
        Error::device(
            choice.to_string(),
            format!("is not there; this machine has {}", names(entries)),
        )
    })
}

/// `cpu, wgpu:0 (Radeon RX 7900)`.
pub fn names(entries: &[DeviceEntry]) -> String {
    entries
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

fn cpu() -> DeviceEntry {
    DeviceEntry {
        id: "cpu".into(),
        kind: DeviceKind::Cpu,
        index: 0,
        name: crate::host::cpu_name().unwrap_or_else(|| std::env::consts::ARCH.into()),
        software: false,
        memory: crate::host::memory().map(|memory| memory.total),
        gpu: None,
    }
}

fn open_cpu() -> OpenDevice {
    OpenDevice {
        device: Device::flex(),
        entry: cpu(),
        health: Health::default(),
        wgpu: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: DeviceKind, index: usize, software: bool) -> DeviceEntry {
        let id = format!("{kind:?}:{index}").to_lowercase();
        DeviceEntry {
            id,
            kind,
            index,
            name: "test".into(),
            software,
            memory: None,
            gpu: None,
        }
    }

    #[test]
    fn every_form_is_read_and_written_back() {
        for form in ["auto", "cpu", "wgpu", "wgpu:0", "wgpu:12", "cuda", "cuda:1"] {
            assert_eq!(
                form.parse::<DeviceChoice>()
                    .map(|choice| choice.to_string()),
                Ok(form.to_owned())
            );
        }
    }

    #[test]
    fn other_forms_are_refused_with_the_forms_and_the_devices() {
        for form in [
            "", "gpu", "wgpu:", "wgpu:x", "wgpu:-1", "cpu:0", "auto:1", "WGPU",
        ] {
            let message = form.parse::<DeviceChoice>().unwrap_err();
            assert!(
                message.contains(FORMS) && message.contains("this machine has cpu"),
                "{message}"
            );
        }
    }

    #[test]
    fn auto_takes_hardware_and_never_a_software_adapter() {
        let cpu = || entry(DeviceKind::Cpu, 0, false);
        let software = || entry(DeviceKind::Wgpu, 1, true);
        let chosen = |entries: &[DeviceEntry]| choose(entries).id.clone();
        assert_eq!(chosen(&[cpu(), software()]), "cpu:0");
        assert_eq!(
            chosen(&[cpu(), entry(DeviceKind::Wgpu, 0, false), software()]),
            "wgpu:0"
        );
        assert_eq!(
            chosen(&[
                cpu(),
                entry(DeviceKind::Cuda, 0, false),
                entry(DeviceKind::Wgpu, 0, false)
            ]),
            "cuda:0"
        );
    }

    #[test]
    fn a_device_that_is_not_there_is_named_with_those_that_are() {
        let message = acquire(DeviceChoice::Wgpu(Some(4242)))
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert!(
            message.starts_with("device wgpu:4242: is not there; this machine has cpu"),
            "{message}"
        );
    }
}
