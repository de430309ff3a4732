//! Devices: what `auto` takes, and a GPU that is lost while it works.

use burn::tensor::{Device, Tensor};
use x2i_core::{Error, Result};
use x2i_engine::device::{self, DeviceChoice, DeviceKind, OpenDevice};

/// A product of two matrices of ones, read back.
fn work(device: &Device) -> Result<f32> {
    let ones = Tensor::<2>::ones([64, 64], device);
    let data = pollster::block_on(ones.clone().matmul(ones).into_data_async())?;
    let values: Vec<f32> = data
        .try_to_vec()
        .map_err(|error| Error::device("test", format!("{error:?}")))?;
    Ok(values[0])
}

/// The first wgpu adapter, software or not.
fn wgpu() -> Option<OpenDevice> {
    let opened = device::acquire(DeviceChoice::Wgpu(None)).ok();
    if opened.is_none() {
        eprintln!("skipped: this machine has no wgpu adapter");
    }
    opened
}

#[test]
fn the_list_begins_with_the_cpu_and_software_adapters_come_last() {
    let entries = device::list();
    assert_eq!(entries[0].kind, DeviceKind::Cpu);
    let software: Vec<bool> = entries.iter().map(|entry| entry.software).collect();
    assert!(software.is_sorted());
    assert!(!device::choose(&entries).software);
}

#[test]
fn the_cpu_computes() {
    let opened = device::acquire(DeviceChoice::Cpu).unwrap();
    assert_eq!(opened.guard(|| work(&opened.device)).unwrap(), 64.0);
}

#[test]
fn a_device_that_is_lost_is_an_error_and_not_a_crash() {
    let Some(opened) = wgpu() else { return };
    assert_eq!(opened.guard(|| work(&opened.device)).unwrap(), 64.0);
    if let Some(wgpu) = &opened.wgpu {
        wgpu.destroy();
    }
    let message = opened
        .guard(|| work(&opened.device))
        .unwrap_err()
        .to_string();
    assert!(message.starts_with("device wgpu:0: failed: "), "{message}");
}

#[test]
fn a_panic_on_a_gpu_is_an_error_with_its_message() {
    let Some(opened) = wgpu() else { return };
    let message = opened
        .guard::<()>(|| panic!("a buffer could not be mapped"))
        .unwrap_err()
        .to_string();
    assert_eq!(
        message,
        "device wgpu:0: failed: a buffer could not be mapped"
    );
}
