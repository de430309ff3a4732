//! How much of a model a tab holds at once.

use wasm_bindgen::JsValue;
use x2i_core::{Field, LoadOptions, Memory};

use crate::device::OpenDevice;
use crate::failure::{Failure, Result};
use crate::js;
use crate::model::Place;

/// Bytes for a model in wasm's memory of at most 4 GiB, which also holds what the parts compute.
const WASM: u64 = 3 << 30;
/// A GPU's memory in its largest buffers. Drivers allow a buffer of a quarter to a half of it.
const BUFFERS: u64 = 2;

/// What the caller allows, and what the device has place for.
pub struct Allowed {
    asked: Option<u64>,
    most: u64,
}

impl Allowed {
    /// Reads `{ maxDeviceMemory?: number }`.
    ///
    /// # Errors
    /// `request` for what is no number of bytes.
    pub fn read(options: &JsValue, device: &OpenDevice) -> Result<Self> {
        let given = js::get(options, "maxDeviceMemory");
        let asked = match given.as_f64() {
            None if given.is_undefined() => None,
            Some(bytes) if bytes >= 1.0 && bytes.fract() == 0.0 => Some(bytes as u64),
            _ => {
                return Err(Failure::request(
                    Field::MaxDeviceMemory,
                    "must be a whole number of bytes, at least 1",
                ));
            }
        };
        let most = match (device.max_buffer, asked) {
            // More of wasm's memory there is not, whatever the caller asks for.
            (None, _) => WASM,
            // The browser does not tell a GPU's memory; the caller may know it.
            (Some(_), Some(asked)) => asked,
            (Some(largest), None) => largest.saturating_mul(BUFFERS),
        };
        Ok(Self { asked, most })
    }

    /// Puts both into the options.
    pub fn limit(&self, options: &mut LoadOptions) {
        options.memory = Memory::Fit(self.most);
        options.max_device_memory = self.asked;
    }

    /// The warning for a model that is larger: where the caller asked for no limit, or where what does not fit is not
    /// read from OPFS.
    pub fn warning(&self, name: &str, place: Place) -> Option<Failure> {
        let held = match self.asked {
            Some(asked) => asked.min(self.most) >> 20,
            None => self.most >> 20,
        };
        if self.asked.is_some() && place == Place::Opfs {
            return None;
        }
        let (place, advice) = match place {
            Place::Opfs => (
                "the browser's files (OPFS)",
                "maxDeviceMemory sets how much is held",
            ),
            Place::CacheStorage => (
                "Cache Storage",
                "it is faster in a worker of a browser with OPFS",
            ),
            Place::Network => ("the network", "cache `auto` downloads it once"),
            Place::Memory => (
                "wasm's memory, which holds all of it",
                "only a cache that the browser keeps would leave it place",
            ),
        };
        let message = format!(
            "{name} is larger than the {held} MiB that are held at once: what does not fit is read from {place} in every \
             step; {advice}"
        );
        Some(Failure::new("streamed", message))
    }
}
