//! x2i in a browser: the runtime as WebAssembly, on WebGPU or the CPU, with weights by HTTP ranges.
//!
//! The npm package (`www`) uses [`Session`] and a few functions for devices, the cache and PNG files;
//! `www/src/contract.ts` has their types. Only text, small objects, pixels and audio samples cross to
//! JavaScript, never tensors. Not here: workers, queues and the decoding of image files, which are in
//! `www`.

mod adapters;
#[cfg_attr(
    not(target_family = "wasm"),
    allow(dead_code, reason = "only wasm's memory is full at 4 GiB")
)]
mod allocator;
pub mod device;
mod events;
mod failure;
mod inputs;
mod js;
mod memory;
mod model;
mod request;
mod session;
mod threads;
mod words;

pub use failure::Failure;
pub use session::Session;

#[cfg(target_family = "wasm")]
use std::sync::atomic::{AtomicBool, Ordering};

use js_sys::Function;
use send_wrapper::SendWrapper;
use serde::Serialize;
use serde_wasm_bindgen::Serializer;
use wasm_bindgen::prelude::*;

use failure::Result;
use model::{Location, WebModel};
use x2i_core::png::Metadata;

/// Runs once, when the module starts.
///
/// cubecl's compiler registers its operations in constructors (crate `inventory`). If nothing refers to
/// `__wasm_call_ctors`, the linker takes the module for a command line program and runs all
/// constructors again in every call of every export: seconds per image, and lists that grow.
/// <https://github.com/dtolnay/inventory/blob/master/README.md#webassembly-and-constructors>
#[cfg(target_family = "wasm")]
#[wasm_bindgen(start)]
pub fn start() {
    static STARTED: AtomicBool = AtomicBool::new(false);
    unsafe extern "C" {
        fn __wasm_call_ctors();
    }
    // Every thread starts the module, in one memory.
    if !STARTED.swap(true, Ordering::Relaxed) {
        // SAFETY: the linker makes this function; it is called only here, before anything else runs.
        unsafe { __wasm_call_ctors() }
    }
}

/// Where a function that was left out of this build goes, by `scripts/wasm/cut.mjs`: `line` is that of `never-run.txt`,
/// which is beside the module.
#[cfg(target_family = "wasm")]
#[unsafe(no_mangle)]
pub extern "C" fn x2i_left_out(line: u32) -> ! {
    panic!("left out of this build: line {line}");
}

/// Calls `handler` with the message and the code of what ends the module: `internal` for a panic, `device-limit` for
/// want of memory. The module can't be used after it. A panic of another thread is thrown there, to JavaScript.
#[wasm_bindgen(js_name = onPanic)]
pub fn on_panic(handler: Function) {
    allocator::tell(handler.clone());
    let handler = SendWrapper::new(handler);
    std::panic::set_hook(Box::new(move |info| {
        if !handler.valid() {
            wasm_bindgen::throw_str(&info.to_string());
        }
        let (message, code) = (info.to_string().into(), "internal".into());
        // A failure of the handler can't be reported.
        let _ = handler.call2(&JsValue::UNDEFINED, &message, &code);
    }));
}

/// The CPU, and the adapter that the browser offers.
///
/// # Errors
/// Only if the result can't be converted.
#[wasm_bindgen(js_name = listDevices)]
pub async fn list_devices() -> Result<JsValue> {
    to_js(&device::list().await)
}

/// Describes a model before its download.
///
/// # Errors
/// `missing-file`, `network` or `config`.
#[wasm_bindgen(js_name = describeModel)]
pub async fn describe_model(model: JsValue) -> Result<JsValue> {
    to_js(&WebModel::describe(Location::from_js(&model)?).await?)
}

/// The models in the cache.
///
/// # Errors
/// Only if the result can't be converted.
#[wasm_bindgen(js_name = cachedModels)]
pub async fn cached_models() -> Result<JsValue> {
    to_js(&model::cached_models().await)
}

/// Removes a model from the cache.
///
/// # Errors
/// `cache-unavailable` while it is in use.
#[wasm_bindgen(js_name = deleteCachedModel)]
pub async fn delete_cached_model(name: String) -> Result<()> {
    model::delete_cached_model(&name).await
}

/// The metadata of a PNG; `undefined` if it has none.
///
/// # Errors
/// `image` for a file that is not a complete PNG, or whose metadata has another version.
#[wasm_bindgen(js_name = readMetadata)]
pub fn read_metadata(png: &[u8]) -> Result<JsValue> {
    let facts = x2i_core::png::decode("picture", std::io::Cursor::new(png))?;
    match facts.metadata {
        Some(metadata) => metadata_to_js(metadata),
        None => Ok(JsValue::UNDEFINED),
    }
}

/// The metadata as an object. The seed, its only 64-bit number, becomes a bigint if a number can't hold
/// it.
fn metadata_to_js(mut metadata: Metadata) -> Result<JsValue> {
    let seed = std::mem::take(&mut metadata.seed);
    let object = to_js(&metadata)?;
    match seed <= js_sys::Number::MAX_SAFE_INTEGER as u64 {
        true => js::set(&object, "seed", seed as f64),
        false => js::set(&object, "seed", js_sys::BigInt::from(seed)),
    }
    Ok(object)
}

/// Converts a small value; maps become objects.
fn to_js(value: &impl Serialize) -> Result<JsValue> {
    let serializer = Serializer::json_compatible().serialize_large_number_types_as_bigints(false);
    value
        .serialize(&serializer)
        .map_err(|error| Failure::new("internal", error.to_string()))
}
