//! A file of the page, read by ranges, so that a LoRA is never completely in wasm memory.

use std::borrow::Cow;
use std::ops::Range;

use js_sys::Uint8Array;
use send_wrapper::SendWrapper;
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;
use web_sys::Blob;
use x2i_core::weights::{LocalBoxFuture, WeightSource};
use x2i_core::{Error, Result};

use crate::failure::describe;

/// A `Blob`, or a `File` from the user's disk.
pub struct BlobFile {
    name: String,
    blob: SendWrapper<Blob>,
}

impl BlobFile {
    /// A file called `name` in messages.
    pub fn new(name: impl Into<String>, blob: Blob) -> Self {
        Self {
            name: name.into(),
            blob: SendWrapper::new(blob),
        }
    }

    async fn read_range(&self, Range { start, end }: Range<u64>) -> Result<Vec<u8>, JsValue> {
        let part = self.blob.slice_with_f64_and_f64(start as f64, end as f64)?;
        let buffer = JsFuture::from(part.array_buffer()).await?;
        Ok(Uint8Array::new(&buffer).to_vec())
    }
}

impl WeightSource for BlobFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.blob.size() as u64
    }

    fn read(&self, range: Range<u64>) -> LocalBoxFuture<'_, Result<Cow<'_, [u8]>>> {
        Box::pin(async move {
            let (length, Range { start, end }) = (self.len(), range.clone());
            if start > end || end > length {
                let reason = format!("bytes {start}..{end} lie outside of the file's {length}");
                return Err(Error::format(&self.name, reason));
            }
            let read = self.read_range(range).await;
            read.map(Cow::Owned).map_err(|error| Error::Io {
                file: self.name.clone(),
                source: std::io::Error::other(describe(&error)),
            })
        })
    }
}
