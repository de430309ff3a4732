//! x2i in a browser: the runtime as WebAssembly, on WebGPU or the CPU, with weights by HTTP ranges.
//!
//! [`Session`] is all that the npm package (`www`) uses, beside a few functions about devices, the
//! cache and PNG files; `www/src/contract.ts` types what crosses. Tensors never do: only text, small
//! objects and pixels. Left out: workers, queues and pictures' file formats, which are
//! JavaScript's own and live in `www`.

mod adapters;
pub mod device;
mod events;
mod failure;
mod inputs;
mod js;
mod model;
mod request;
mod session;
mod words;

pub use failure::Failure;
pub use session::Session;

use js_sys::Function;
use send_wrapper::SendWrapper;
use serde::Serialize;
use serde_wasm_bindgen::Serializer;
use wasm_bindgen::prelude::*;

use failure::Result;
use model::{Location, WebModel};
use x2i_core::png::Metadata;

/// Runs once, when the module is started.
///
/// cubecl's compiler registers its operations in constructors (crate `inventory`). Unless something
/// refers to `__wasm_call_ctors`, the linker takes the module for a command line program and runs
/// all of them again in every call of every export: seconds per picture, and lists that grow.
/// <https://github.com/dtolnay/inventory/blob/master/README.md#webassembly-and-constructors>
#[cfg(target_family = "wasm")]
#[wasm_bindgen(start)]
pub fn start() {
    unsafe extern "C" {
        fn __wasm_call_ctors();
    }
    // SAFETY: made by the linker; called here alone, before anything else runs.
    unsafe { __wasm_call_ctors() }
}

/// Calls `handler` with the message of a panic. The module can't be used after one.
#[wasm_bindgen(js_name = onPanic)]
pub fn on_panic(handler: Function) {
    let handler = SendWrapper::new(handler);
    std::panic::set_hook(Box::new(move |info| {
        // The handler's own failure has nowhere to go.
        let _ = handler.call1(&JsValue::UNDEFINED, &info.to_string().into());
    }));
}

/// The CPU, and the adapter that the browser offers.
///
/// # Errors
/// None that is known.
#[wasm_bindgen(js_name = listDevices)]
pub async fn list_devices() -> Result<JsValue> {
    to_js(&device::list().await)
}

/// What a model would download.
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
/// None that is known.
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

/// What a PNG says about its making; `undefined` when it says nothing.
///
/// # Errors
/// `image` for a file that is no whole PNG, or whose record is of another version.
#[wasm_bindgen(js_name = readMetadata)]
pub fn read_metadata(png: &[u8]) -> Result<JsValue> {
    let facts = x2i_core::png::decode("picture", std::io::Cursor::new(png))?;
    match facts.metadata {
        Some(metadata) => metadata_to_js(metadata),
        None => Ok(JsValue::UNDEFINED),
    }
}

/// A picture's record; its seed, the one number of 64 bits, becomes a bigint where a number can't hold it.
fn metadata_to_js(mut metadata: Metadata) -> Result<JsValue> {
    let seed = std::mem::take(&mut metadata.seed);
    let object = to_js(&metadata)?;
    match seed <= js_sys::Number::MAX_SAFE_INTEGER as u64 {
        true => js::set(&object, "seed", seed as f64),
        false => js::set(&object, "seed", js_sys::BigInt::from(seed)),
    }
    Ok(object)
}

/// Small objects only; maps become objects.
fn to_js(value: &impl Serialize) -> Result<JsValue> {
    let serializer = Serializer::json_compatible().serialize_large_number_types_as_bigints(false);
    value
        .serialize(&serializer)
        .map_err(|error| Failure::new("internal", error.to_string()))
}
