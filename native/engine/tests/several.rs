//! Several devices: a split transformer paints what one device paints, and what becomes of failures.
#![cfg(feature = "embedded-model")]

use x2i_core::{Cache, Image, InputBits};
use x2i_engine::device::{self, DeviceChoice};
use x2i_engine::{
    Engine, EngineOptions, Error, JobSpec, Layout, MemoryPolicy, Model, OpenDevice, Painted,
    Settings, Sharing, ignore_progress, layout_on,
};

/// More than the embedded model needs.
const PLENTY: u64 = 1 << 30;
/// PSNR of pictures whose blocks were computed by other kernels: summation order and `exp` differ.
const CLOSE: f64 = 40.0;

/// The first wgpu adapter, opened so many times: devices of one kind.
fn wgpu(count: usize) -> Option<Vec<OpenDevice>> {
    let open = |index| {
        let mut opened = device::acquire(DeviceChoice::Wgpu(None)).ok()?;
        opened.entry.id = format!("wgpu:{index}");
        Some(opened)
    };
    let opened: Option<Vec<_>> = (0..count).map(open).collect();
    if opened.is_none() {
        eprintln!("skipped: this machine has no wgpu adapter");
    }
    opened
}

fn model() -> Model {
    Model::open("emoji").expect("the embedded model")
}

fn limited(memory: MemoryPolicy, limits: [u64; 2]) -> EngineOptions {
    EngineOptions {
        memory,
        max_device_memory: limits.to_vec(),
        input_bits: InputBits::Sixteen,
        ..EngineOptions::default()
    }
}

/// The first of the options for whose layout `wanted` holds: limits from the largest down.
fn limits_for(
    devices: &[OpenDevice],
    memory: MemoryPolicy,
    seconds: &[u64],
    wanted: impl Fn(&Layout) -> bool,
) -> EngineOptions {
    let firsts = (20..50).rev().map(|halves| halves * 500_000);
    let limits = firsts.flat_map(|first| seconds.iter().map(move |&second| [first, second]));
    let mut options = limits.map(|limits| limited(memory, limits));
    let found = options
        .find(|options| layout_on(&model(), devices, options).is_ok_and(|layout| wanted(&layout)));
    found.expect("limits with which the model lies so")
}

/// A picture with a side in pixels.
fn paint(devices: Vec<OpenDevice>, options: &EngineOptions, cache: Cache, side: usize) -> Painted {
    let mut engine = Engine::open_on(model(), devices, options, &mut ignore_progress).unwrap();
    let spec = JobSpec {
        settings: Settings {
            seed: Some(7),
            steps: Some(6),
            size: Some((side, side)),
            cache: Some(cache),
            ..Settings::default()
        },
        ..JobSpec::text("a red apple")
    };
    let job = spec.job(engine.model()).unwrap();
    engine.paint(&job, &mut ignore_progress).unwrap()
}

fn psnr(a: &Image, b: &Image) -> f64 {
    let pairs = a.pixels().iter().zip(b.pixels());
    let squares: f64 = pairs.map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum();
    10.0 * (255.0_f64.powi(2) * a.pixels().len() as f64 / squares).log10()
}

/// Both kinds of blocks lie on both devices, and all of them stay.
fn is_split(layout: &Layout) -> bool {
    let [first, second] = &layout.shares[..] else {
        return false;
    };
    layout.streamed == 0 && !first.double.is_empty() && !second.double.is_empty()
}

/// Enough for all on each device.
fn plenty() -> EngineOptions {
    limited(MemoryPolicy::High, [PLENTY; 2])
}

#[test]
fn a_split_over_devices_of_one_kind_paints_the_same_picture_bit_for_bit() {
    let Some(devices) = wgpu(2) else { return };
    let options = limits_for(&devices, MemoryPolicy::High, &[PLENTY], is_split);
    drop(devices);
    for cache in [Cache::Off, Cache::FirstBlock(0.2)] {
        let expected = paint(wgpu(2).unwrap(), &plenty(), cache, 64);
        assert_eq!(
            expected.metadata.device.id, "wgpu:0",
            "it fits on the first"
        );
        let split = paint(wgpu(2).unwrap(), &options, cache, 64);
        assert_eq!(split.metadata.device.id, "wgpu:0,wgpu:1");
        assert_eq!(split.skipped_steps, expected.skipped_steps);
        assert!(split.image == expected.image, "{cache:?}");
    }
}

/// Loaded for each picture, the transformer has the place that this picture's activations leave: here for
/// less than all blocks.
#[test]
fn a_split_of_parts_that_do_not_stay_is_that_of_the_picture() {
    let Some(devices) = wgpu(2) else { return };
    let limits = (1..400).map(|tenths| limited(MemoryPolicy::Low, [tenths * 100_000, PLENTY]));
    let mut limits = limits.filter(|options| layout_on(&model(), &devices, options).is_ok());
    let least = limits
        .next()
        .expect("a limit that one part at a time keeps");
    let split = paint(devices, &least, Cache::Off, 192);
    assert_eq!(split.metadata.device.id, "wgpu:0,wgpu:1");
    let expected = paint(wgpu(2).unwrap(), &plenty(), Cache::Off, 192);
    assert!(split.image == expected.image);
}

#[test]
fn blocks_that_fit_on_no_device_are_streamed_and_the_picture_is_the_same() {
    let Some(devices) = wgpu(2) else { return };
    let streams = |layout: &Layout| layout.streamed > 0 && !layout.shares[1].single.is_empty();
    let seconds = [1_000_000, 1_500_000, 2_000_000];
    let options = limits_for(&devices, MemoryPolicy::High, &seconds, streams);
    let streamed = paint(devices, &options, Cache::Off, 64);
    let expected = paint(wgpu(2).unwrap(), &plenty(), Cache::Off, 64);
    assert!(streamed.image == expected.image);
}

#[test]
fn blocks_that_the_cpu_computes_for_a_gpu_paint_nearly_the_same_picture() {
    let Some(mut devices) = wgpu(1) else { return };
    devices.push(device::acquire(DeviceChoice::Cpu).unwrap());
    let options = limits_for(&devices, MemoryPolicy::High, &[PLENTY], is_split);
    let split = paint(devices, &options, Cache::Off, 64);
    assert_eq!(split.metadata.device.id, "wgpu:0,cpu");
    let expected = paint(wgpu(2).unwrap(), &plenty(), Cache::Off, 64);
    let close = psnr(&split.image, &expected.image);
    assert!(close > CLOSE, "{close} dB");
}

#[test]
fn a_second_device_that_is_lost_is_named() {
    let Some(devices) = wgpu(2) else { return };
    let options = limits_for(&devices, MemoryPolicy::High, &[PLENTY], is_split);
    let lost = devices[1].wgpu.clone();
    let mut engine = Engine::open_on(model(), devices, &options, &mut ignore_progress).unwrap();
    let job = JobSpec::text("a red apple").job(engine.model()).unwrap();
    lost.expect("a wgpu device").destroy();
    let error = engine
        .paint(&job, &mut ignore_progress)
        .expect_err("it is lost");
    assert!(matches!(error.root(), Error::Device { .. }), "{error}");
    let message = error.to_string();
    assert!(message.starts_with("device wgpu:"), "{message}");
    assert!(message.contains("wgpu:1"), "{message}");
}

#[test]
fn pictures_are_spread_over_gpus_that_hold_the_model_and_blocks_else() {
    let Some(devices) = wgpu(3) else { return };
    let none = EngineOptions::default();
    let share = |devices, options: &EngineOptions, pictures| match Sharing::of(
        &model(),
        devices,
        options,
        pictures,
    )
    .unwrap()
    {
        Sharing::Pictures(devices) => devices
            .into_iter()
            .map(|(device, _)| device.entry.id)
            .collect(),
        Sharing::Blocks(_) => vec![],
    };
    let nobody: Vec<String> = vec![];
    assert_eq!(share(devices, &none, 2), ["wgpu:0", "wgpu:1"]);
    assert_eq!(share(wgpu(2).unwrap(), &none, 1), nobody);
    let small = EngineOptions {
        max_device_memory: vec![PLENTY, 12_000_000, PLENTY],
        ..EngineOptions::default()
    };
    assert_eq!(share(wgpu(3).unwrap(), &small, 9), ["wgpu:0", "wgpu:2"]);
    let mut with_cpu = wgpu(1).unwrap();
    with_cpu.push(device::acquire(DeviceChoice::Cpu).unwrap());
    assert_eq!(share(with_cpu, &none, 9), nobody);
}

#[test]
fn limits_are_one_for_all_devices_or_one_for_each() {
    let cpu = || device::acquire(DeviceChoice::Cpu).unwrap();
    let options = EngineOptions {
        max_device_memory: vec![PLENTY; 3],
        ..EngineOptions::default()
    };
    let refused = |devices: &[OpenDevice]| {
        let error = layout_on(&model(), devices, &options).err();
        error.expect("three limits").to_string()
    };
    assert_eq!(
        refused(&[cpu(), cpu()]),
        "device memory: 3 sizes for 2 devices; give one for all, or one for each"
    );
    assert!(refused(&[cpu()]).contains("3 sizes for 1 device;"));
    assert!(layout_on(&model(), &[cpu(), cpu(), cpu()], &options).is_ok());
}
