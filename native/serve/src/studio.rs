//! A studio: the thread that owns a device, takes jobs from a desk and tells it what becomes of them.
//!
//! Files are encoded on a second thread, so that the device begins the next job meanwhile.

mod desk;
mod encoder;
mod engines;
mod hearing;
mod spec;
mod work;

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use x2i_engine::stack::STACK;
use x2i_engine::{DeviceList, EngineOptions};

pub use desk::{Desk, News, Task};
pub use spec::{check, job_spec};

use crate::models::Models;
use encoder::Encoder;
use work::Studio;

/// What a studio is made of.
#[derive(Clone)]
pub struct StudioOptions {
    /// Its name among those of the desk.
    pub name: String,
    /// The device, or several that split a model between them.
    pub devices: DeviceList,
    /// In which floats they multiply.
    pub precision: x2i_engine::device::Precision,
    /// How models are loaded. `max_device_memory` also bounds the models that stay loaded at once.
    pub engine: EngineOptions,
    /// The models.
    pub models: Arc<Models>,
    /// A model that is loaded before the first job.
    pub preload: Option<String>,
}

/// Starts a studio's thread. It ends when the desk has no more tasks, or when its device is lost.
///
/// # Errors
/// When the system starts no thread.
pub fn start(options: StudioOptions, desk: Arc<dyn Desk>) -> io::Result<JoinHandle<()>> {
    let name = format!("x2i-{}", options.name);
    thread::Builder::new()
        .name(name)
        .stack_size(STACK)
        .spawn(move || {
            let encoder = match Encoder::start(desk.clone()) {
                Ok(encoder) => encoder,
                Err(error) => return tracing::error!(%error, "the system starts no thread"),
            };
            Studio::new(options, desk, encoder).run();
        })
}
