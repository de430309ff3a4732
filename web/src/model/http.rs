//! Reads files on the network by ranges.
//!
//! A server that ignores `Range` sends the whole file; bytes outside of the range are then skipped.

use std::ops::Range;

use gloo_net::http::{Request, Response};
use js_sys::Uint8Array;
use send_wrapper::SendWrapper;
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortSignal, ReadableStreamDefaultReader};

use crate::failure::{Failure, Result};
use crate::js;

/// One file on the network.
#[derive(Debug, Clone)]
pub struct RemoteFile {
    url: String,
    signal: Option<SendWrapper<AbortSignal>>,
}

impl RemoteFile {
    /// The file at `url`; `signal` stops every request.
    pub fn new(url: String, signal: Option<SendWrapper<AbortSignal>>) -> Self {
        Self { url, signal }
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The whole file.
    ///
    /// # Errors
    /// `missing-file`, `network` or `aborted`.
    pub async fn read_all(&self) -> Result<Vec<u8>> {
        self.body(None).await?.read_to_end().await
    }

    /// All bytes of `range`.
    ///
    /// # Errors
    /// `missing-file`, `network` or `aborted`.
    pub async fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let wanted = usize::try_from(range.end - range.start)
            .map_err(|_| self.failed("a range of 4 GiB and more"))?;
        let mut bytes = Vec::with_capacity(wanted);
        let mut body = self.body(Some(range)).await?;
        while bytes.len() < wanted {
            let Some(chunk) = body.next().await? else {
                break;
            };
            bytes.extend_from_slice(&chunk[..chunk.len().min(wanted - bytes.len())]);
        }
        body.cancel();
        if bytes.len() < wanted {
            return Err(self.failed("the connection ended early"));
        }
        Ok(bytes)
    }

    /// Its length in bytes.
    ///
    /// # Errors
    /// `missing-file`, `network` or `aborted`.
    pub async fn length(&self) -> Result<u64> {
        let response = self.send(Some(0..1)).await?;
        let total = match response.status() {
            206 => response
                .headers()
                .get("content-range")
                .and_then(|range| range.rsplit_once('/')?.1.parse().ok()),
            _ => response
                .headers()
                .get("content-length")
                .and_then(|length| length.parse().ok()),
        };
        match total {
            Some(total) => Ok(total),
            // No length: a cross-origin server that hides its headers, or a data: URL.
            None => Ok(self.read_all().await?.len() as u64),
        }
    }

    /// A stream of the bytes of `range`, or of the whole file; it may continue after the end of the range.
    ///
    /// # Errors
    /// `missing-file`, `network` or `aborted`.
    pub async fn body(&self, range: Option<Range<u64>>) -> Result<Body> {
        let start = range.as_ref().map_or(0, |range| range.start);
        let response = self.send(range).await?;
        let skip = if response.status() == 206 { 0 } else { start };
        let reader = response
            .body()
            .ok_or_else(|| self.failed("the response has no body"))?
            .get_reader()
            .unchecked_into();
        Ok(Body {
            file: self.clone(),
            reader,
            skip,
        })
    }

    async fn send(&self, range: Option<Range<u64>>) -> Result<Response> {
        let mut request = Request::get(&self.url).abort_signal(self.signal.as_deref());
        if let Some(Range { start, end }) = range {
            request = match end {
                u64::MAX => request.header("range", &format!("bytes={start}-")),
                _ => request.header("range", &format!("bytes={start}-{}", end - 1)),
            };
        }
        let response = request
            .send()
            .await
            .map_err(|error| self.failed(&error.to_string()))?;
        match response.status() {
            200 | 206 => Ok(response),
            404 | 410 => Err(Failure::new(
                "missing-file",
                format!("{}: file not found", self.url),
            )),
            status => Err(self.failed(&format!("the server answered {status}"))),
        }
    }

    fn failed(&self, reason: &str) -> Failure {
        match &self.signal {
            Some(signal) if signal.aborted() => Failure::aborted(),
            _ => Failure::new("network", format!("{}: {reason}", self.url)),
        }
    }
}

/// The stream of a response.
pub struct Body {
    file: RemoteFile,
    reader: ReadableStreamDefaultReader,
    skip: u64,
}

impl Body {
    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// `network` when the connection breaks, `aborted`.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            let read = JsFuture::from(self.reader.read())
                .await
                .map_err(|error| self.file.failed(&crate::failure::describe(&error)))?;
            if js::get(&read, "done").is_truthy() {
                return Ok(None);
            }
            let chunk: Uint8Array = js::get(&read, "value").unchecked_into();
            let length = u64::from(chunk.length());
            if self.skip >= length {
                self.skip -= length;
                continue;
            }
            let from = self.skip as u32; // less than the chunk's u32 length
            self.skip = 0;
            return Ok(Some(chunk.subarray(from, chunk.length()).to_vec()));
        }
    }

    /// Ends the connection.
    pub fn cancel(self) {
        // The promise rejects if the connection is already broken.
        let cancelled = self.reader.cancel();
        wasm_bindgen_futures::spawn_local(async move {
            let _ = JsFuture::from(cancelled).await;
        });
    }

    async fn read_to_end(mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.next().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}
