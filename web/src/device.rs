//! Devices: lists those of the browser, chooses one and opens it.
//!
//! A software adapter is 30 to 90 times slower than wasm on the CPU, so `auto` never takes it. Not
//! here: Canvas and WebGL, which can't run the kernels.

use std::fmt::Display;
use std::sync::{Arc, OnceLock};
use std::task::Poll;

use burn::tensor::Device;
use burn_wgpu::WgpuSetup;
use burn_wgpu::wgpu::{
    self, Adapter, Backend, Backends, DeviceDescriptor, DeviceType, ExperimentalFeatures, Features,
    Instance, InstanceDescriptor, Limits, MemoryHints, PowerPreference, Queue,
    RequestAdapterOptions, RequestDeviceError, Trace,
};
use futures_util::task::AtomicWaker;
use serde::Serialize;
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;
use x2i_core::Field;

use crate::failure::{Failure, Result};
use crate::js;

/// The feature's name in WebGPU.
const SUBGROUPS: &str = "subgroups";

/// The caller's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceChoice {
    /// A hardware WebGPU adapter, else the CPU.
    Auto,
    /// wasm on the CPU.
    Cpu,
    /// The browser's WebGPU adapter, even a software one.
    WebGpu,
}

impl std::str::FromStr for DeviceChoice {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "webgpu" => Ok(Self::WebGpu),
            _ => Err(Failure::request(
                Field::Device,
                format!("`{text}` must be auto, cpu or webgpu"),
            )),
        }
    }
}

/// Facts about a device.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeviceInfo {
    /// `cpu` or `webgpu`.
    pub kind: &'static str,
    /// The adapter's name, or `CPU`.
    pub name: String,
    /// True for an adapter that is emulated on the CPU.
    pub software: bool,
    /// True when shaders can compute in f16.
    pub f16: bool,
    /// True when shaders have subgroup operations.
    pub subgroups: bool,
}

/// An open device.
pub struct OpenDevice {
    /// The device as burn takes it.
    pub device: Device,
    /// Facts about it.
    pub info: DeviceInfo,
    /// Its first failure, if any.
    pub health: Health,
    /// The largest tensor that it can bind, in bytes; `None` on the CPU.
    pub max_binding: Option<u64>,
    /// The largest buffer that it can make, in bytes; `None` on the CPU.
    pub max_buffer: Option<u64>,
}

/// The first failure of a device; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<HealthState>);

#[derive(Debug, Default)]
struct HealthState {
    failure: OnceLock<Failure>,
    waker: AtomicWaker,
}

impl Health {
    fn report(&self, code: &'static str, message: impl Display) {
        // Later failures follow from the first.
        let failure = Failure::new(code, format!("the GPU failed: {message}"));
        let _ = self.0.failure.set(failure);
        self.0.waker.wake();
    }

    /// Resolves when the device fails. A readback from a lost device may never end.
    pub async fn failed(&self) -> Failure {
        let failure = std::future::poll_fn(|context| {
            self.0.waker.register(context.waker());
            match self.0.failure.get() {
                Some(failure) => Poll::Ready(failure.clone()),
                None => Poll::Pending,
            }
        });
        failure.await
    }
}

/// The CPU, then the adapter that the browser offers.
pub async fn list() -> Vec<DeviceInfo> {
    let adapter = find_adapter().await;
    std::iter::once(cpu())
        .chain(adapter.map(|found| found.info))
        .collect()
}

/// Opens a device.
///
/// # Errors
/// `device-unavailable` when the choice is WebGPU and there is none; `device-limit` when a limit of the
/// adapter is too small; the message names it.
pub async fn open(choice: DeviceChoice) -> Result<OpenDevice> {
    if choice == DeviceChoice::Cpu {
        return Ok(open_cpu());
    }
    match (choice, find_adapter().await) {
        (DeviceChoice::Auto, Some(found)) if found.info.software => Ok(open_cpu()),
        (DeviceChoice::Auto, Some(found)) => {
            // `auto` must work even when the GPU can't be opened.
            Ok(found.open().await.unwrap_or_else(|_| open_cpu()))
        }
        (DeviceChoice::Auto, None) => Ok(open_cpu()),
        (_, Some(found)) => found.open().await,
        (_, None) => Err(Failure::new(
            "device-unavailable",
            "this browser offers no WebGPU adapter; use device `auto` or `cpu`",
        )),
    }
}

fn cpu() -> DeviceInfo {
    DeviceInfo {
        kind: "cpu",
        name: "CPU".into(),
        software: false,
        f16: false,
        subgroups: false,
    }
}

fn open_cpu() -> OpenDevice {
    OpenDevice {
        device: Device::flex(),
        info: cpu(),
        health: Health::default(),
        max_binding: None,
        max_buffer: None,
    }
}

/// An adapter: wgpu's object and the browser's.
struct Found {
    instance: Instance,
    adapter: Adapter,
    /// The browser's `GPUAdapter`, which wgpu does not expose; `undefined` when the second request for it
    /// failed.
    browsers: JsValue,
    info: DeviceInfo,
}

async fn find_adapter() -> Option<Found> {
    let instance = Instance::new(InstanceDescriptor {
        backends: Backends::BROWSER_WEBGPU,
        ..InstanceDescriptor::new_without_display_handle()
    });
    let options = RequestAdapterOptions {
        power_preference: PowerPreference::HighPerformance,
        ..Default::default()
    };
    let adapter = instance.request_adapter(&options).await.ok()?;
    let browsers = browsers_adapter().await.unwrap_or(JsValue::UNDEFINED);
    let name = adapter_name(&js::get(&browsers, "info"));
    let software = adapter.get_info().device_type == DeviceType::Cpu
        || ["swiftshader", "llvmpipe", "lavapipe", "basic render"]
            .iter()
            .any(|software| name.to_lowercase().contains(software));
    let info = DeviceInfo {
        kind: "webgpu",
        name,
        software,
        f16: adapter.features().contains(Features::SHADER_F16),
        subgroups: has_subgroups(&browsers),
    };
    Some(Found {
        instance,
        adapter,
        browsers,
        info,
    })
}

/// Requests the same adapter as wgpu once more.
async fn browsers_adapter() -> std::result::Result<JsValue, JsValue> {
    let gpu = js::get(&js::get(&js_sys::global(), "navigator"), "gpu");
    let options = js_sys::Object::new().into();
    js::set(&options, "powerPreference", "high-performance");
    let adapter = js::call(&gpu, "requestAdapter", &[options])?;
    JsFuture::from(js_sys::Promise::resolve(&adapter)).await
}

/// The adapter's name from the browser; wgpu has only the description, which is mostly empty.
fn adapter_name(info: &JsValue) -> String {
    let text = |field| js::get(info, field).as_string().unwrap_or_default();
    let long = [text("description"), text("device")]
        .into_iter()
        .find(|name| !name.is_empty());
    let short = format!("{} {}", text("vendor"), text("architecture"));
    match (long, short.trim()) {
        (Some(name), _) => name,
        (None, "") => "WebGPU".into(),
        (None, short) => short.into(),
    }
}

/// True when the browser's adapter has subgroups.
fn has_subgroups(adapter: &JsValue) -> bool {
    js::call(&js::get(adapter, "features"), "has", &[SUBGROUPS.into()])
        .is_ok_and(|has| has.is_truthy())
}

impl Found {
    async fn open(self) -> Result<OpenDevice> {
        check_limits(&self.adapter.limits())?;
        let name = self.info.name.clone();
        let failed = |reason: String| {
            Failure::new(
                "device-unavailable",
                format!("{name} can't be opened: {reason}"),
            )
        };
        let (device, queue) = self
            .request_device()
            .await
            .map_err(|error| failed(error.to_string()))?;
        x2i_shaders::tell_subgroups(self.info.subgroups);
        let limits = self.adapter.limits();
        let setup = WgpuSetup {
            instance: self.instance,
            adapter: self.adapter,
            device: device.clone(),
            queue,
            backend: Backend::BrowserWebGpu,
        };
        let burn_device = Device::wgpu_options()
            .setup(setup)
            .init()
            .map_err(|error| failed(error.to_string()))?;
        // cubecl's handler panics on any error, which would end the wasm instance; ours records it.
        let health = Health::default();
        let (lost, failing) = (health.clone(), health.clone());
        device.set_device_lost_callback(move |reason, message| {
            lost.report("device-lost", format_args!("{reason:?} {message}"));
        });
        device.on_uncaptured_error(Arc::new(move |error| match error {
            wgpu::Error::OutOfMemory { .. } => failing.report(
                "device-limit",
                "its memory is full; set maxDeviceMemory, or a smaller one, or paint a smaller picture",
            ),
            error => failing.report("device-lost", error),
        }));
        Ok(OpenDevice {
            device: burn_device,
            info: self.info,
            health,
            max_binding: Some(limits.max_storage_buffer_binding_size),
            max_buffer: Some(limits.max_buffer_size),
        })
    }

    /// Requests a device with all features and limits of the adapter.
    ///
    /// wgpu can't request a browser's `subgroups` (<https://github.com/gfx-rs/wgpu/issues/10146>), so its
    /// call of `requestDevice` is redirected to our adapter with that feature added. wgpu makes the call
    /// before it returns its future.
    fn request_device(
        &self,
    ) -> impl Future<Output = std::result::Result<(wgpu::Device, Queue), RequestDeviceError>> {
        let offered = self.adapter.features();
        let descriptor = DeviceDescriptor {
            label: Some("x2i"),
            required_features: offered
                .difference(Features::MAPPABLE_PRIMARY_BUFFERS | Features::all_experimental_mask()),
            required_limits: self.adapter.limits(),
            memory_hints: MemoryHints::MemoryUsage, // burn pools memory itself
            trace: Trace::Off,
            experimental_features: ExperimentalFeatures::disabled(),
        };
        let request = || self.adapter.request_device(&descriptor);
        if !self.info.subgroups {
            return request();
        }
        let (adapter, method) = (self.browsers.clone(), "requestDevice");
        let original = js::get(&adapter, method);
        let with_subgroups = move |descriptor: JsValue| {
            let features = js::get(&descriptor, "requiredFeatures");
            let added = js::call(&features, "concat", &[SUBGROUPS.into()]);
            js::set(&descriptor, "requiredFeatures", added.unwrap_or(features));
            js::call(&original, "call", &[adapter.clone(), descriptor])
                .unwrap_or_else(|thrown| js_sys::Promise::reject(&thrown).into())
        };
        js::overriding(&self.browsers, method, with_subgroups, request)
    }
}

/// Checks the limits that the kernels need. All are WebGPU's defaults, so every conforming adapter
/// passes.
fn check_limits(limits: &Limits) -> Result<()> {
    let needed = [
        (
            "maxComputeInvocationsPerWorkgroup",
            u64::from(limits.max_compute_invocations_per_workgroup),
            256,
        ),
        (
            "maxComputeWorkgroupSizeX",
            u64::from(limits.max_compute_workgroup_size_x),
            256,
        ),
        (
            "maxComputeWorkgroupStorageSize",
            u64::from(limits.max_compute_workgroup_storage_size),
            16_384,
        ),
        (
            "maxStorageBuffersPerShaderStage",
            u64::from(limits.max_storage_buffers_per_shader_stage),
            8,
        ),
    ];
    for (name, value, least) in needed {
        if value < least {
            return Err(Failure::new(
                "device-limit",
                format!("the adapter's {name} is {value}, x2i needs {least}; use device `cpu`"),
            ));
        }
    }
    Ok(())
}
