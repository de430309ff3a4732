//! Paint from Rust: the engine behind every native surface of x2i.
pub mod adapters;
pub mod allocator;
pub mod device;
pub mod engine;
pub mod files;
pub mod host;
pub mod job;
pub mod media;
pub mod models;
pub mod options;
pub mod output;

pub use adapters::{AdapterSpec, LoraSpec};
pub use device::{DeviceChoice, OpenDevice};
pub use engine::{Conditioned, Engine, OnProgress, Painted, ignore_progress};
pub use files::NamedFile;
pub use job::{ControlSpec, InitSpec, Job, JobSpec, PartSpec, Record, Settings};
pub use media::Kind;
pub use models::Model;
pub use options::{EngineOptions, MemoryPolicy};
pub use output::Output;
pub use x2i_core::{Error, Field, Progress, Result};
