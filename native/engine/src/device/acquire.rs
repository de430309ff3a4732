//! Opens the chosen device.

use burn::tensor::Device;
use x2i_core::{Error, Result};

use super::choice::DeviceChoice;
use super::entry::{DeviceEntry, DeviceKind, names};
use super::health::Health;
use super::list::{choose, cpu, list};
use super::opened::OpenDevice;
use super::precision::Precision;
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
        DeviceKind::Cpu => open_cpu(precision),
        DeviceKind::Wgpu | DeviceKind::Cuda => tried::open(entry, precision),
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

/// The CPU, which has one precision; the environment's words are for GPUs.
fn open_cpu(precision: Precision) -> Result<OpenDevice> {
    let entry = cpu();
    precision.kernels(&entry)?;
    Ok(OpenDevice {
        device: Device::flex(),
        entry,
        health: Health::default(),
        wgpu: None,
        precision: Precision::F32,
        warning: None,
    })
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
