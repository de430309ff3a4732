//! GPUs through wgpu: lists adapters with their facts, and opens a device for burn.
//!
//! cubecl's own set-up panics when a device can't be made, and so does its error handler. This module
//! requests the same limits and features, and records errors in a [`Health`].

use std::sync::{Arc, OnceLock};

use burn::tensor::Device;
use burn_wgpu::WgpuSetup;
use burn_wgpu::wgpu::{
    Adapter, AdapterInfo, Backends, CooperativeScalarType, DeviceDescriptor, DeviceType,
    ExperimentalFeatures, Features, Instance, InstanceDescriptor, MemoryHints, Trace,
};
use x2i_core::{Error, Result};

use super::entry::{DeviceEntry, DeviceKind};
use super::facts::GpuFacts;
use super::health::Health;
use super::opened::OpenDevice;
use super::precision::Precision;

/// Adapters with these words in their names run on the CPU, even when they report another type.
const SOFTWARE_NAMES: [&str; 5] = [
    "llvmpipe",
    "lavapipe",
    "swiftshader",
    "softpipe",
    "microsoft basic render",
];

pub(super) fn list() -> Vec<DeviceEntry> {
    adapters()
        .iter()
        .enumerate()
        .map(|(index, adapter)| entry(index, adapter))
        .collect()
}

/// Opens an adapter, with cooperative matrices or without.
pub(super) fn open(entry: &DeviceEntry, matrices: bool) -> Result<OpenDevice> {
    let failed = |reason: String| Error::device(entry.id.clone(), reason);
    // `adapters` gives the same order while the process runs.
    let adapter = adapters()
        .into_iter()
        .nth(entry.index)
        .ok_or_else(|| failed("is gone".into()))?;
    let (device, queue) =
        pollster::block_on(adapter.request_device(&descriptor(&adapter, matrices)))
            .map_err(|error| failed(format!("can't be opened: {error}")))?;
    let setup = WgpuSetup {
        instance: instance().clone(),
        backend: adapter.get_info().backend,
        adapter,
        device: device.clone(),
        queue,
    };
    let burn_device = Device::wgpu_options()
        .setup(setup)
        .init()
        .map_err(|error| failed(format!("can't be used: {error}")))?;
    // cubecl has just set two handlers. Its handler of a lost device fails every later readback,
    // which is right. Its handler of other errors panics, so it is replaced here.
    let health = Health::default();
    let reported = health.clone();
    device.on_uncaptured_error(Arc::new(move |error| reported.report(error.to_string())));
    Ok(OpenDevice {
        device: burn_device,
        entry: entry.clone(),
        health,
        wgpu: Some(device),
        precision: Precision::F32,
        warning: None,
    })
}

/// cubecl's own descriptor (`cubecl-wgpu/src/backend/wgsl.rs`): all limits and features of the
/// adapter. Of the experimental ones it asks for cooperative matrices alone.
fn descriptor(adapter: &Adapter, matrices: bool) -> DeviceDescriptor<'static> {
    // This feature puts every buffer of a discrete GPU into host memory.
    let unwanted = Features::MAPPABLE_PRIMARY_BUFFERS | Features::all_experimental_mask();
    let mut required_features = adapter.features().difference(unwanted);
    required_features.set(Features::EXPERIMENTAL_COOPERATIVE_MATRIX, matrices);
    DeviceDescriptor {
        label: Some("x2i"),
        required_features,
        required_limits: adapter.limits(),
        // burn pools memory itself.
        memory_hints: MemoryHints::MemoryUsage,
        trace: Trace::Off,
        experimental_features: match matrices {
            // SAFETY: wgpu does not check experimental features for soundness. Our shaders load and store
            // matrices inside of arrays whose sizes are constants, and their results are compared with those of
            // other kernels when the device is opened.
            true => unsafe { ExperimentalFeatures::enabled() },
            false => ExperimentalFeatures::disabled(),
        },
    }
}

/// Rows of the largest square matrices of f16 with sums in f32; the kernels are written for 8 and 16.
fn matrix_side(adapter: &Adapter) -> Option<u32> {
    let needed = Features::EXPERIMENTAL_COOPERATIVE_MATRIX | Features::SHADER_F16;
    if !adapter.features().contains(needed) {
        return None;
    }
    let sides = adapter.cooperative_matrix_properties().into_iter();
    let sides = sides.filter_map(|matrix| {
        let square = matrix.m_size == matrix.n_size && matrix.n_size == matrix.k_size;
        let halves = matrix.ab_type == CooperativeScalarType::F16
            && matrix.cr_type == CooperativeScalarType::F32;
        (square && halves).then_some(matrix.m_size)
    });
    sides.filter(|side| [8, 16].contains(side)).max()
}

/// One instance for the whole process: the Vulkan loader crashes when instances come and go on
/// several threads.
fn instance() -> &'static Instance {
    static INSTANCE: OnceLock<Instance> = OnceLock::new();
    INSTANCE.get_or_init(|| {
        Instance::new(InstanceDescriptor {
            backends: Backends::PRIMARY,
            ..InstanceDescriptor::new_without_display_handle()
        })
    })
}

/// All adapters that can compute, the best first. The order is stable, so that an index keeps its
/// meaning.
fn adapters() -> Vec<Adapter> {
    let mut adapters = pollster::block_on(instance().enumerate_adapters(Backends::PRIMARY));
    adapters.retain(|adapter| {
        let limits = adapter.limits();
        limits.max_compute_invocations_per_workgroup > 0
            && limits.max_storage_buffers_per_shader_stage >= 4
    });
    adapters.sort_by_key(|adapter| rank(&adapter.get_info()));
    adapters
}

fn rank(info: &AdapterInfo) -> u8 {
    if is_software(info) {
        return 4;
    }
    match info.device_type {
        DeviceType::DiscreteGpu => 0,
        DeviceType::IntegratedGpu => 1,
        DeviceType::VirtualGpu => 2,
        DeviceType::Other | DeviceType::Cpu => 3,
    }
}

fn is_software(info: &AdapterInfo) -> bool {
    let name = info.name.to_lowercase();
    info.device_type == DeviceType::Cpu
        || SOFTWARE_NAMES
            .iter()
            .any(|software| name.contains(software))
}

fn entry(index: usize, adapter: &Adapter) -> DeviceEntry {
    let info = adapter.get_info();
    let limits = adapter.limits();
    let features = adapter.features();
    let software = is_software(&info);
    let gpu = GpuFacts {
        api: info.backend.to_str().to_owned(),
        class: match info.device_type {
            DeviceType::DiscreteGpu => "discrete",
            DeviceType::IntegratedGpu => "integrated",
            DeviceType::VirtualGpu => "virtual",
            DeviceType::Cpu => "cpu",
            DeviceType::Other => "other",
        },
        driver: format!("{} {}", info.driver, info.driver_info)
            .trim()
            .to_owned(),
        f16: features.contains(Features::SHADER_F16),
        subgroups: features.contains(Features::SUBGROUP),
        subgroup_size: [info.subgroup_min_size, info.subgroup_max_size],
        matrix_side: matrix_side(adapter),
        max_buffer: limits.max_buffer_size,
        max_binding: limits.max_storage_buffer_binding_size,
        max_workgroup_memory: limits.max_compute_workgroup_storage_size,
        max_workgroup_invocations: limits.max_compute_invocations_per_workgroup,
        max_storage_buffers: limits.max_storage_buffers_per_shader_stage,
    };
    DeviceEntry {
        id: format!("wgpu:{index}"),
        kind: DeviceKind::Wgpu,
        index,
        name: info.name,
        software,
        // wgpu does not report it; a software adapter uses the host's memory.
        memory: if software {
            crate::host::memory().map(|memory| memory.total)
        } else {
            None
        },
        gpu: Some(gpu),
    }
}
