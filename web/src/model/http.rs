//! Reads files on the network by ranges, through the package's function for requests, which knows headers,
//! credentials and the caller's own `fetch`, and says why a request failed (`www/src/network.ts`).
//!
//! A server that ignores `Range` sends the whole file; bytes outside of the range are then skipped.

use std::ops::Range;

use futures_util::future::{Either, select};
use js_sys::{Function, Uint8Array};
use send_wrapper::SendWrapper;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortSignal, ReadableStreamDefaultReader, Response};

use crate::failure::{Failure, Result};
use crate::js;

/// Milliseconds without a byte after which a connection counts as broken.
const SILENCE: f64 = 30_000.0;
/// What stands in place of a file begins with, in small letters, and what it is.
const IN_PLACE: [(&str, &str, &str); 3] = [
    (
        "version https://git-lfs",
        "format",
        "is a Git LFS pointer, not the file; serve the file itself (`git lfs pull`)",
    ),
    ("<!doctype html", "missing-file", WEB_PAGE),
    ("<html", "missing-file", WEB_PAGE),
];
const WEB_PAGE: &str = "is a web page, not the file";
/// The largest array that a browser makes.
const LARGEST: u64 = u32::MAX as u64;

/// The package's function for requests.
#[derive(Debug, Clone)]
pub struct Network(SendWrapper<Function>);

impl Network {
    /// Requests by this function: `(url, { range?, fresh?, signal? }) => Promise<Response>`.
    pub fn new(fetch: Function) -> Self {
        Self(SendWrapper::new(fetch))
    }
}

/// One file on the network.
#[derive(Debug, Clone)]
pub struct RemoteFile {
    url: String,
    network: Network,
    fresh: bool,
    signal: Option<SendWrapper<AbortSignal>>,
}

impl RemoteFile {
    /// The file at `url`; `signal` stops every request.
    pub fn new(url: String, network: Network, signal: Option<SendWrapper<AbortSignal>>) -> Self {
        Self {
            url,
            network,
            fresh: false,
            signal,
        }
    }

    /// The same file, as the server has it now: past the browser's own cache.
    pub fn fresh(mut self) -> Self {
        self.fresh = true;
        self
    }

    /// Its URL for messages: a query may hold a key.
    pub fn shown(&self) -> &str {
        self.url.split(['?', '#']).next().unwrap_or_default()
    }

    /// The whole file.
    ///
    /// # Errors
    /// Those of [`body`](Self::body).
    pub async fn read_all(&self) -> Result<Vec<u8>> {
        self.body(None).await?.read_to_end().await
    }

    /// All bytes of `range`.
    ///
    /// # Errors
    /// Those of [`body`](Self::body).
    pub async fn read(&self, range: Range<u64>) -> Result<Uint8Array> {
        let wanted = range.end - range.start;
        if wanted > LARGEST {
            return Err(self.failed("a range of 4 GiB and more"));
        }
        let bytes = Uint8Array::new_with_length(wanted as u32); // at most `LARGEST`
        let mut filled = 0;
        let mut body = self.body(Some(range)).await?;
        while filled < bytes.length() {
            let Some(chunk) = body.next().await? else {
                break;
            };
            let part = chunk.length().min(bytes.length() - filled);
            bytes.set(&chunk.subarray(0, part), filled);
            filled += part;
        }
        body.cancel();
        if filled < bytes.length() {
            return Err(self.failed("the connection ended early"));
        }
        Ok(bytes)
    }

    /// Its length in bytes.
    ///
    /// # Errors
    /// Those of [`body`](Self::body).
    pub async fn length(&self) -> Result<u64> {
        let response = self.send(Some(0..1)).await?;
        let header = |name: &str| {
            let headers = js::get(&response, "headers");
            js::call(&headers, "get", &[name.into()]).ok()?.as_string()
        };
        let total = match response.status() {
            206 => header("content-range").and_then(|range| range.rsplit_once('/')?.1.parse().ok()),
            _ => header("content-length").and_then(|length| length.parse().ok()),
        };
        if let Some(body) = response.body() {
            js::forget(body.cancel());
        }
        match total {
            Some(total) => Ok(total),
            // No length: a cross-origin server that hides its headers, or a data: URL.
            None => Ok(self.read_all().await?.len() as u64),
        }
    }

    /// A stream of the bytes of `range`, or of the whole file; it may continue after the end of the range.
    ///
    /// # Errors
    /// `missing-file`, `network`, `config` for an address that the browser may not read, `format` for a
    /// Git LFS pointer, or `aborted`.
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
            begins: start == 0,
        })
    }

    async fn send(&self, range: Option<Range<u64>>) -> Result<Response> {
        let range = range.map(|Range { start, end }| format!("bytes={start}-{}", end - 1));
        let signal = self.signal.as_deref().map(JsValue::from);
        let options = js::object([
            ("range", range.map_or(JsValue::UNDEFINED, JsValue::from)),
            ("fresh", self.fresh.into()),
            ("signal", signal.unwrap_or_default()),
        ]);
        let asked = self
            .network
            .0
            .call2(&JsValue::UNDEFINED, &self.url.as_str().into(), &options);
        let answered = async { JsFuture::from(js_sys::Promise::resolve(&asked?)).await };
        match self.timely(answered).await? {
            Ok(response) => Ok(response.unchecked_into()),
            Err(error) => Err(self.or_aborted(Failure::of_fetch(self.shown(), &error))),
        }
    }

    /// Fails when the server says nothing for long.
    async fn timely<T>(&self, answer: impl Future<Output = T>) -> Result<T> {
        let silence = std::pin::pin!(js::pause(SILENCE));
        match select(std::pin::pin!(answer), silence).await {
            Either::Left((answer, _)) => Ok(answer),
            Either::Right(_) => {
                let seconds = SILENCE / 1000.0;
                Err(self.failed(&format!("nothing came for {seconds} seconds")))
            }
        }
    }

    fn failed(&self, reason: &str) -> Failure {
        self.or_aborted(Failure::new(
            "network",
            format!("{}: {reason}", self.shown()),
        ))
    }

    fn or_aborted(&self, failure: Failure) -> Failure {
        match &self.signal {
            Some(signal) if signal.aborted() => Failure::aborted(),
            _ => failure,
        }
    }
}

/// The stream of a response.
pub struct Body {
    file: RemoteFile,
    reader: ReadableStreamDefaultReader,
    skip: u64,
    /// Whether the next bytes are the file's first.
    begins: bool,
}

impl Body {
    /// The next bytes, outside of wasm memory; `None` at the end.
    ///
    /// # Errors
    /// `network` when the connection breaks or stalls, `format` for a Git LFS pointer, `aborted`.
    pub async fn next(&mut self) -> Result<Option<Uint8Array>> {
        loop {
            let read = self.file.timely(JsFuture::from(self.reader.read())).await;
            let read = read.inspect_err(|_| js::forget(self.reader.cancel()))?;
            let read = read.map_err(|error| self.file.failed(&crate::failure::describe(&error)))?;
            if js::get(&read, "done").is_truthy() {
                return Ok(None);
            }
            let chunk: Uint8Array = js::get(&read, "value").unchecked_into();
            if std::mem::take(&mut self.begins) {
                self.look_at(&chunk)?;
            }
            let length = u64::from(chunk.length());
            if self.skip >= length {
                self.skip -= length;
                continue;
            }
            let from = self.skip as u32; // less than the chunk's u32 length
            self.skip = 0;
            return Ok(Some(chunk.subarray(from, chunk.length())));
        }
    }

    /// Refuses a file that stands in place of the one that is wanted.
    fn look_at(&self, chunk: &Uint8Array) -> Result<()> {
        let begin = chunk.subarray(0, 32).to_vec().to_ascii_lowercase();
        let found = IN_PLACE
            .iter()
            .find(|(text, ..)| begin.starts_with(text.as_bytes()));
        let Some((_, code, reason)) = found else {
            return Ok(());
        };
        js::forget(self.reader.cancel());
        Err(Failure::new(
            code,
            format!("{} {reason}", self.file.shown()),
        ))
    }

    /// Ends the connection.
    pub fn cancel(self) {
        js::forget(self.reader.cancel());
    }

    async fn read_to_end(mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.next().await? {
            bytes.extend(chunk.to_vec());
        }
        Ok(bytes)
    }
}
