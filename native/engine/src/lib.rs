//! Paint from Rust: the engine behind every native surface of x2i.
//!
//! An engine is a model on a device. It knows no flag, prints nothing, and tells its progress
//! through a callback. The command line is one caller of it.
//!
//! # Paint an image
//!
//! ```no_run
#![doc = include_str!("../examples/paint.rs")]
//! ```
//!
//! The steps are always these:
//!
//! 1. [`Model::open`] reads a model's config, by the embedded model's name or a folder's path. No
//!    weight is read yet.
//! 2. A [`JobSpec`] says what to paint: parts in order, [`Settings`], an initial image, a control
//!    image. Whatever is left out is the model's default.
//! 3. [`JobSpec::job`] reads the files, fills in the defaults, and checks everything once. A [`Job`]
//!    can fail on the device alone.
//! 4. [`device::acquire`] opens a device: [`DeviceChoice::Auto`] takes a hardware GPU where there is
//!    one, else the CPU.
//! 5. [`Engine::open`] reads the weights to the device. One engine paints any number of jobs.
//! 6. [`Engine::paint`] paints, and returns the [image and its record](Painted).
//!
//! # Parts, images, videos and sounds
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
//! A part that the caller already holds in memory is a [`PartSpec::made`].
//!
//! # Progress, cancelling, threads
//!
//! The callback hears a [`Progress`] between blocks of the model and between tensors while they are
//! loaded; `ControlFlow::Break` cancels there, and the call returns [`Error::Cancelled`]. A [`Model`]
//! and a [`Job`] are `Send`, so that a queue hands them to the thread that owns the device:
//!
//! ```no_run
#![doc = include_str!("../examples/several.rs")]
//! ```
//!
//! # Adapters
//!
//! [`Model::with_adapters`] opens LoRAs and LightControl's weights; they are part of the model when
//! the engine opens it. `examples/lora.rs` paints with a LoRA.
//!
//! # Conditioning alone
//!
//! [`Engine::encode`] stops where the transformer would begin. It returns `txt` and `vec`, which take
//! the place of T5's and CLIP's outputs in any FLUX sampler (`examples/encode.rs`).
//!
//! # Models from elsewhere
//!
//! [`Model::from_source`] takes any [`x2i_core::model::ModelSource`]: named files that give byte
//! ranges. `examples/source.rs` reads one from memory.
//!
//! # Repeat an image
//!
//! Every PNG holds the record of its making. [`Record::read`] gives it back as a [`JobSpec`] and an
//! [`AdapterSpec`], whose files must have the recorded SHA-256.
//!
//! # Errors
//!
//! Every failure is an [`Error`] of x2i-core: a variant per fact. Errors name a [`Field`], not a flag
//! or a property; each surface has one table from field to its own word.

mod adapters;
pub mod allocator;
pub mod device;
mod engine;
pub mod files;
pub mod host;
pub mod job;
pub mod media;
pub mod models;
mod options;
pub mod output;

pub use adapters::{AdapterSpec, Adapters, LoraSpec};
pub use device::{DeviceChoice, OpenDevice};
pub use engine::{Array, Conditioned, Engine, OnProgress, Painted, ignore_progress};
pub use files::NamedFile;
pub use job::{ControlSpec, InitSpec, Job, JobSpec, PartSpec, Record, Settings};
pub use media::Kind;
pub use models::Model;
pub use options::{EngineOptions, MemoryPolicy};
pub use output::Output;
pub use x2i_core::{Error, Field, Progress, Result};

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
