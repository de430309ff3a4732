//! A device that has cooperative matrices and uses them.

use std::io::{Write, stderr};
use std::sync::OnceLock;

use burn::tensor::Device;
use burn_wgpu::WgpuSetup;
use burn_wgpu::wgpu::{
    Adapter, Backends, CooperativeScalarType, DeviceDescriptor, ExperimentalFeatures, Features,
    Instance, InstanceDescriptor,
};
use x2i_shaders::{Kernels, choose_kernels};

/// Rows of the adapter's square matrices of f16 with sums in f32.
fn side(adapter: &Adapter) -> Option<u32> {
    let properties = adapter.cooperative_matrix_properties().into_iter();
    let sides = properties.filter(|matrix| {
        matrix.ab_type == CooperativeScalarType::F16
            && matrix.cr_type == CooperativeScalarType::F32
            && matrix.m_size == matrix.n_size
            && matrix.n_size == matrix.k_size
    });
    sides.map(|matrix| matrix.m_size).max()
}

/// A device that runs the kernels. A missing one is printed once.
pub fn device() -> Option<&'static Device> {
    static DEVICE: OnceLock<Option<Device>> = OnceLock::new();
    let opened = DEVICE.get_or_init(|| {
        let opened = pollster::block_on(open());
        if opened.is_none() {
            // Not a print macro: those the test runner captures.
            let _ = writeln!(stderr(), "SKIPPED: no adapter with cooperative matrices");
        }
        opened
    });
    opened.as_ref()
}

async fn open() -> Option<Device> {
    let instance = Instance::new(InstanceDescriptor {
        backends: Backends::PRIMARY,
        ..InstanceDescriptor::new_without_display_handle()
    });
    let adapters = instance.enumerate_adapters(Backends::PRIMARY).await;
    let (adapter, side) = adapters
        .into_iter()
        .find_map(|adapter| side(&adapter).map(|side| (adapter, side)))?;
    let unwanted = Features::MAPPABLE_PRIMARY_BUFFERS | Features::all_experimental_mask();
    let descriptor = DeviceDescriptor {
        required_features: adapter.features().difference(unwanted)
            | Features::EXPERIMENTAL_COOPERATIVE_MATRIX,
        required_limits: adapter.limits(),
        // SAFETY: the shaders load and store matrices inside of their arrays.
        experimental_features: unsafe { ExperimentalFeatures::enabled() },
        ..DeviceDescriptor::default()
    };
    let (device, queue) = adapter.request_device(&descriptor).await.ok()?;
    let setup = WgpuSetup {
        backend: adapter.get_info().backend,
        instance,
        adapter,
        device,
        queue,
    };
    let device = Device::wgpu_options().setup(setup).init().ok()?;
    let kernels = Kernels {
        cooperative: Some(side),
        ..Kernels::default()
    };
    choose_kernels(&device, kernels);
    Some(device)
}
