//! Opens the chosen device.

use burn::tensor::Device;
use x2i_core::{CpuVariant, Error, Result, choose_cpu};

use super::choice::DeviceChoice;
use super::entry::{DeviceEntry, DeviceKind, names};
use super::health::Health;
use super::list::{choose, cpu, list};
use super::opened::OpenDevice;
use super::precision::Precision;
use super::wish::Wish;
use super::{cuda, tried};

/// Opens a device and returns burn's handle of it.
///
/// # Errors
/// As [`acquire`].
pub fn open(choice: &DeviceChoice) -> Result<Device> {
    acquire(*choice).map(|opened| opened.device)
}

/// Opens a device, which multiplies in [`Precision::Auto`].
///
/// # Errors
/// As [`acquire_with`].
pub fn acquire(choice: DeviceChoice) -> Result<OpenDevice> {
    acquire_with(choice, Precision::Auto)
}

/// Opens a device that multiplies in a precision.
///
/// # Errors
/// [`Error::Device`] when there is no such device (the message lists the devices of this machine), when it can't
/// be opened, or when it does not have the precision.
pub fn acquire_with(choice: DeviceChoice, precision: Precision) -> Result<OpenDevice> {
    if choice == DeviceChoice::Cpu {
        return open_cpu(precision); // listing GPUs would cost the start-up time of their drivers
    }
    open_entry(find(&list(), choice)?, precision)
}

/// Opens a listed device that multiplies in a precision.
pub(super) fn open_entry(entry: &DeviceEntry, precision: Precision) -> Result<OpenDevice> {
    match entry.kind {
        DeviceKind::Cpu => open_cpu(precision),
        DeviceKind::Wgpu | DeviceKind::Cuda => tried::open(entry, precision),
    }
}

/// The chosen one of all devices of this machine.
pub(super) fn find(entries: &[DeviceEntry], choice: DeviceChoice) -> Result<&DeviceEntry> {
    match choice {
        DeviceChoice::Auto => Ok(choose(entries)),
        DeviceChoice::Cpu => Ok(&entries[0]),
        DeviceChoice::Wgpu(index) => nth(entries, DeviceKind::Wgpu, index, choice),
        DeviceChoice::Cuda(index) => {
            cuda::check(entries)?;
            nth(entries, DeviceKind::Cuda, index, choice)
        }
    }
}

fn nth(
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

/// The CPU, which has one precision, with the variant of its kernels that the environment names.
fn open_cpu(precision: Precision) -> Result<OpenDevice> {
    let entry = cpu();
    precision.kernels(&entry, |_| false)?;
    choose_cpu(cpu_variant()?);
    Ok(OpenDevice {
        device: Device::flex(),
        entry,
        health: Health::default(),
        wgpu: None,
        precision: Precision::F32,
        warning: None,
    })
}

/// The variant of the processor's kernels that runs: the one that the environment names, else the fastest.
///
/// # Errors
/// [`Error::Device`] for words that are none, or a variant that this machine can't run.
pub fn cpu_variant() -> Result<&'static CpuVariant> {
    let asked = Wish::of_environment(&cpu().id)?.cpu()?;
    Ok(asked.unwrap_or_else(CpuVariant::current))
}

#[cfg(test)]
mod tests {
    use super::*;

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
