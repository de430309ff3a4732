//! A file that is held in the tab's memory, outside of wasm's, which ends at 4 GiB.

use std::borrow::Cow;
use std::ops::Range;

use js_sys::{Array, Function, Reflect, Uint8Array};
use send_wrapper::SendWrapper;
use wasm_bindgen::JsCast;
use x2i_core::weights::{LocalBoxFuture, WeightSource};
use x2i_core::{Error, Result};

use crate::js;

/// The largest file that is held, in bytes.
const LIMIT: u64 = 1 << 30;

/// A place for so many bytes; `None` where there is none.
pub fn place(bytes: u64) -> Option<Uint8Array> {
    if bytes > LIMIT {
        return None;
    }
    let class = js::global(&["Uint8Array"]).dyn_into::<Function>().ok()?;
    let made = Reflect::construct(&class, &Array::of1(&(bytes as f64).into()));
    made.ok()?.dyn_into().ok()
}

/// The bytes of one file.
pub struct HeldFile {
    name: String,
    bytes: SendWrapper<Uint8Array>,
}

impl HeldFile {
    /// A file called `name` in messages.
    pub fn new(name: &str, bytes: Uint8Array) -> Self {
        Self {
            name: name.to_owned(),
            bytes: SendWrapper::new(bytes),
        }
    }
}

impl WeightSource for HeldFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        u64::from(self.bytes.length())
    }

    fn read(&self, range: Range<u64>) -> LocalBoxFuture<'_, Result<Cow<'_, [u8]>>> {
        let (length, Range { start, end }) = (self.len(), range);
        let read = match start <= end && end <= length {
            // Both are at most the length.
            true => Ok(self
                .bytes
                .subarray(start as u32, end as u32)
                .to_vec()
                .into()),
            false => {
                let reason = format!("bytes {start}..{end} lie outside of the file's {length}");
                Err(Error::format(&self.name, reason))
            }
        };
        Box::pin(std::future::ready(read))
    }
}
