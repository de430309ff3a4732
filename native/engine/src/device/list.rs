//! Lists devices, and chooses the one for `auto`.

use super::entry::{DeviceEntry, DeviceKind};
use super::{cuda, gpu};

/// All devices of this machine: the CPU, then the GPUs from the best down to the software ones.
///
/// No device is opened.
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

pub(super) fn cpu() -> DeviceEntry {
    DeviceEntry {
        id: "cpu".into(),
        kind: DeviceKind::Cpu,
        index: 0,
        name: crate::host::cpu_name().unwrap_or_else(|| std::env::consts::ARCH.into()),
        software: false,
        memory: crate::host::memory().map(|memory| memory.total),
        free: None,
        gpu: None,
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
            free: None,
            gpu: None,
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
}
