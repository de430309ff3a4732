//! Events from a running call to JavaScript: plain objects, with pixels as typed arrays.

use std::cell::{Cell, RefCell};

use js_sys::{Function, Object, Uint8ClampedArray};
use wasm_bindgen::JsValue;
use x2i_core::{Image, Phase, Progress};

use crate::failure::Failure;
use crate::js;

/// Milliseconds that the thread may be busy before it handles messages.
const TURN: f64 = 8.0;
/// The least milliseconds between two events of a download.
const DOWNLOAD_INTERVAL: f64 = 50.0;

/// The caller's listener.
pub struct Events {
    listener: Function,
    last_turn: Cell<f64>,
    last_download: Cell<f64>,
    last_file: RefCell<String>,
    full: Cell<bool>,
}

impl Events {
    /// Events for this function.
    pub fn new(listener: Function) -> Self {
        Self {
            listener,
            last_turn: Cell::new(js::now()),
            last_download: Cell::new(0.0),
            last_file: RefCell::default(),
            full: Cell::default(),
        }
    }

    /// Bytes of a download over all files. The first event of a file and the last event are always sent, so
    /// that a connection that stalls at once is not reported under the name of the file before it.
    pub fn download(&self, file: &str, done: u64, total: u64, cached: bool) {
        let now = js::now();
        let begins = *self.last_file.borrow() != file;
        if !begins && done < total && now - self.last_download.get() < DOWNLOAD_INTERVAL {
            return;
        }
        self.last_download.set(now);
        if begins {
            file.clone_into(&mut self.last_file.borrow_mut());
        }
        let event = counted("download", done as f64, total as f64);
        js::set(&event, "file", file);
        js::set(&event, "cached", cached);
        self.send(&event);
    }

    /// A problem that did not stop the work. A full disk is told once, not for each file.
    pub fn warning(&self, warning: &Failure) {
        if warning.code == "quota" && self.full.replace(true) {
            return;
        }
        let event = Object::new();
        js::set(&event, "kind", "warning");
        js::set(&event, "code", warning.code);
        js::set(&event, "message", warning.message.as_str());
        self.send(&event);
    }

    /// Progress of a phase. Lets the event loop run when the thread was busy for long.
    pub async fn progress(&self, progress: &Progress) {
        let kind = match progress.phase {
            Phase::Load => "load",
            Phase::Encode => "encode",
            Phase::Denoise => "denoise",
            Phase::Decode => "decode",
        };
        let event = counted(kind, progress.done as f64, progress.total as f64);
        if let Some(steps) = progress.steps {
            // The event at the end of a step names that step, any other event the running one.
            let ended = progress.done * steps.total as u64 == steps.done as u64 * progress.total;
            let step = steps.done + usize::from(!ended || steps.done == 0);
            js::set(&event, "step", step as f64);
            js::set(&event, "steps", steps.total as f64);
        }
        if let Some(preview) = &progress.preview {
            js::set(&event, "preview", pixels(preview));
        }
        if let Some(answer) = &progress.answer {
            js::set(&event, "answer", answer.as_str());
        }
        self.send(&event);
        if js::now() - self.last_turn.get() > TURN {
            js::next_turn().await;
            self.last_turn.set(js::now());
        }
    }

    fn send(&self, event: &JsValue) {
        // A listener that throws must not stop the work.
        let _ = self.listener.call1(&JsValue::UNDEFINED, event);
    }
}

fn counted(kind: &str, done: f64, total: f64) -> Object {
    let event = Object::new();
    js::set(&event, "kind", kind);
    js::set(&event, "done", done);
    js::set(&event, "total", total);
    event
}

/// `{ width, height, pixels }`, pixels as RGBA.
pub fn pixels(image: &Image) -> Object {
    let mut rgba = Vec::with_capacity(image.width() * image.height() * 4);
    for pixel in image.pixels().chunks_exact(3) {
        rgba.extend_from_slice(pixel);
        rgba.push(u8::MAX);
    }
    let object = Object::new();
    js::set(&object, "width", image.width() as f64);
    js::set(&object, "height", image.height() as f64);
    js::set(&object, "pixels", Uint8ClampedArray::from(rgba.as_slice()));
    object
}
