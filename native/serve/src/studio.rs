//! A studio: the thread that owns a device, takes jobs from a desk and tells it what becomes of them.
//!
//! Files are encoded on a second thread, so that the device begins the next job meanwhile.

mod desk;
mod encoder;
mod engines;
mod hearing;
mod options;
mod spec;
mod work;

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use x2i_engine::stack::STACK;

pub use desk::{Desk, News, Task};
pub use options::StudioOptions;
pub use spec::{check, job_spec};

use encoder::Encoder;
use work::Studio;

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
