//! The parity cases in a browser: a device is opened once, then case after case runs on it.
//!
//! Files come through a function of JavaScript, so that the page decides where they are. The cases are those that
//! the harness finds among the files. Left out: printing and judging console messages, which is `parity.spec.ts`.

use std::pin::pin;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{Either, select};
use js_sys::{Function, Promise, Uint8Array};
use send_wrapper::SendWrapper;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use x2i_core::model::ModelSource;
use x2i_core::weights::{LocalBoxFuture, MemorySource, WeightSource};
use x2i_core::{Error, Result};
use x2i_parity::{Goldens, TestDevice, Work};
use x2i_web::device::{self, OpenDevice};

/// An open device with a set of golden files.
#[wasm_bindgen]
pub struct Parity {
    opened: OpenDevice,
    files: Files,
}

/// A case of the set.
#[wasm_bindgen]
pub struct Found {
    name: String,
    work: Option<Work>,
}

#[wasm_bindgen]
impl Found {
    /// Its folder.
    #[wasm_bindgen(getter)]
    pub fn name(&self) -> String {
        self.name.clone()
    }

    /// What it asks of the machine: `host`, `device` or `training`; nothing where no code knows it.
    #[wasm_bindgen(getter)]
    pub fn work(&self) -> Option<String> {
        let work = match self.work? {
            Work::Host => "host",
            Work::Device => "device",
            Work::Training => "training",
        };
        Some(work.into())
    }
}

/// What one case gave.
#[wasm_bindgen]
pub struct Verdict {
    /// True when every comparison was close enough.
    pub passed: bool,
    text: String,
}

#[wasm_bindgen]
impl Verdict {
    /// The report's lines.
    #[wasm_bindgen(getter)]
    pub fn text(&self) -> String {
        self.text.clone()
    }
}

#[wasm_bindgen]
impl Parity {
    /// Opens `device` (`cpu` or `webgpu`) for files of these `paths`; `read(path)` promises the
    /// bytes of one as a `Uint8Array`.
    ///
    /// # Errors
    /// When the device is not there.
    pub async fn open(
        device: String,
        paths: Vec<String>,
        read: Function,
    ) -> std::result::Result<Parity, JsValue> {
        let choice = device.parse()?;
        Ok(Self {
            opened: device::open(choice).await?,
            files: Files {
                paths,
                read: SendWrapper::new(read),
            },
        })
    }

    /// What the device is called.
    #[wasm_bindgen(getter)]
    pub fn device(&self) -> String {
        self.opened.info.name.clone()
    }

    /// All cases of the set, in order.
    pub fn cases(&self) -> Vec<Found> {
        let goldens = self.files.goldens();
        let cases = goldens.cases().into_iter().map(|name| Found {
            name: name.into(),
            work: goldens.work(name),
        });
        cases.collect()
    }

    /// Runs one case.
    ///
    /// # Errors
    /// When this build has no code for the case, and when the device fails: its numbers are then worth nothing.
    pub async fn run(&self, case: String) -> std::result::Result<Verdict, JsValue> {
        let goldens = self.files.goldens();
        let device = self.opened.device.clone();
        let device = match self.opened.info.kind {
            "cpu" => TestDevice::cpu("wasm cpu", device),
            _ if self.opened.info.software => TestDevice::gpu("webgpu", device).brief(),
            _ => TestDevice::gpu("webgpu", device),
        };
        let health = &self.opened.health;
        let running = pin!(goldens.run(&case, &device));
        let report = match select(running, pin!(health.failed())).await {
            Either::Left((report, _)) => report,
            Either::Right((failure, _)) => return Err(failure.into()),
        };
        // WebGPU reports a broken shader late, and computes zeros meanwhile.
        if let Some(failure) = health.failed().now_or_never() {
            return Err(failure.into());
        }
        let report = report.ok_or_else(|| JsError::new(&format!("no code here runs {case}")))?;
        Ok(Verdict {
            passed: report.passed(),
            text: report.to_string(),
        })
    }
}

/// Golden files behind a function of JavaScript.
struct Files {
    paths: Vec<String>,
    read: SendWrapper<Function>,
}

impl Files {
    fn goldens(&self) -> Goldens<'_> {
        Goldens {
            source: self,
            paths: &self.paths,
        }
    }
}

impl ModelSource for Files {
    fn name(&self) -> &str {
        "goldens"
    }

    fn open<'a>(&'a self, path: &'a str) -> LocalBoxFuture<'a, Result<Arc<dyn WeightSource>>> {
        Box::pin(async move {
            // Asking a server for what is not there would be an error in the console.
            if !self.paths.iter().any(|known| known == path) {
                return Err(Error::MissingFile { file: path.into() });
            }
            let failed = |error: JsValue| Error::Io {
                file: path.into(),
                source: std::io::Error::other(format!("{error:?}")),
            };
            let promise = self.read.call1(&JsValue::UNDEFINED, &path.into());
            let promise = Promise::resolve(&promise.map_err(failed)?);
            let bytes = JsFuture::from(promise).await.map_err(failed)?;
            let bytes = Uint8Array::new(&bytes).to_vec();
            Ok(Arc::new(MemorySource::new(path, bytes)) as Arc<dyn WeightSource>)
        })
    }
}
