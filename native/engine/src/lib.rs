//! Generate images from Rust: the engine behind every native surface of x2i.
//!
//! An engine is a model on a device. It knows no flags, prints nothing, and reports progress through
//! a callback. The command line is one of its callers.
//!
//! # Generate an image
//!
//! ```no_run
#![doc = include_str!("../examples/paint.rs")]
//! ```
//!
//! The steps are always the same:
//!
//! 1. [`Model::open`] reads a model's config. It takes the embedded model's name or a folder's path.
//!    It reads no weights.
//! 2. A [`JobSpec`] describes the image: the parts of the prompt in order, [`Settings`], an initial
//!    image, a control image. The model has defaults for all settings.
//! 3. [`JobSpec::job`] reads the files, fills in the defaults, and checks everything once. After that,
//!    a [`Job`] can fail only on the device.
//! 4. [`device::acquire`] opens a device: [`DeviceChoice::Auto`] takes a hardware GPU if there is one,
//!    else the CPU.
//! 5. [`Engine::open`] loads the weights onto the device. One engine runs any number of jobs.
//! 6. [`Engine::paint`] generates the image, and returns [it and its metadata](Painted).
//!
//! # Parts: text, images, videos and audio
//!
//! The multimodal LLM reads the parts of a prompt in their order:
//!
//! ```no_run
//! # use x2i_engine::{JobSpec, Kind, Model, NamedFile, PartSpec, Result};
//! # fn main() -> Result<()> {
//! let file = |kind, path: &str| PartSpec::File { kind, file: NamedFile::new(path), fps: None };
//! let spec = JobSpec {
//!     parts: vec![
//!         file(Kind::Image, "cat.jpg"),
//!         PartSpec::Text("the same cat while this plays".into()),
//!         file(Kind::Audio, "rain.mp3"),
//!     ],
//!     ..JobSpec::default()
//! };
//! let job = spec.job(&Model::open("models/minicpm-o")?)?;
//! # Ok(())
//! # }
//! ```
//!
//! [`PartSpec::made`] takes a part from memory.
//!
//! # Progress, cancelling, threads
//!
//! The callback gets a [`Progress`] between blocks of the model and, during loading, between tensors.
//! `ControlFlow::Break` cancels there, and the call returns [`Error::Cancelled`]. A [`Model`] and a
//! [`Job`] are `Send`, so that a queue can hand them to the thread that owns the device:
//!
//! ```no_run
#![doc = include_str!("../examples/several.rs")]
//! ```
//!
//! # Several devices
//!
//! [`device::acquire_all`] opens a list of devices. [`Sharing::of`] says whether each of them holds the
//! whole model, so that every one can have an engine of its own and paint other pictures, or whether
//! [`Engine::open_on`] shall split the transformer's blocks between them. [`layout_on`] tells which block
//! would lie where.
//!
//! # Adapters
//!
//! [`Model::with_adapters`] opens LoRAs and LightControl's weights; the engine loads them with the
//! model. `examples/lora.rs` uses a LoRA.
//!
//! # Conditioning only
//!
//! [`Engine::encode`] stops before the transformer. It returns `txt` and `vec`, which replace the
//! outputs of T5 and CLIP in any FLUX sampler (`examples/encode.rs`).
//!
//! # Models from other sources
//!
//! [`Model::from_source`] takes any [`x2i_core::model::ModelSource`]: named files that are read by
//! byte ranges. `examples/source.rs` reads a model from memory.
//!
//! # Replay an image
//!
//! Every PNG holds metadata. [`Record::read`] reads it; [`Record::job`] and [`Record::adapters`]
//! describe the same image again. The files must have the recorded SHA-256.
//!
//! # Errors
//!
//! Every failure is an [`Error`] of x2i-core, with one variant per fact. Errors name a [`Field`], not
//! a flag or a property; each surface has one table from fields to its own words.

mod adapters;
pub mod allocator;
pub mod device;
mod engine;
pub mod files;
pub mod format;
pub mod host;
pub mod job;
pub mod media;
pub mod models;
mod options;
pub mod output;
mod sharing;
pub mod stack;

pub use adapters::{AdapterSpec, Adapters, HINT_KEY, LoraSpec, trained_hint};
pub use device::{DeviceChoice, DeviceList, OpenDevice};
pub use engine::{Array, Conditioned, Engine, OnProgress, Painted, ignore_progress};
pub use files::NamedFile;
pub use format::Format;
pub use job::{ControlSpec, InitSpec, Job, JobSpec, PartSpec, Record, Settings};
pub use media::Kind;
pub use models::Model;
pub use options::{EngineOptions, MemoryPolicy};
pub use output::Output;
pub use sharing::{Sharing, layout_on};
pub use x2i_core::{Error, Field, Layout, Progress, Result};

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_send<T: Send>() {}

    #[test]
    fn what_a_server_hands_to_a_devices_thread_is_send() {
        assert_send::<Model>();
        assert_send::<Job>();
        assert_send::<JobSpec>();
        assert_send::<EngineOptions>();
        assert_send::<OpenDevice>();
        assert_send::<Record>();
    }
}
