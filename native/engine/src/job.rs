//! A job: one image to paint, complete and checked.
//!
//! A surface (the command line, a server, Python) words what it is asked as a [`JobSpec`]: files by
//! path, numbers where they were given. [`JobSpec::job`] reads the files, fills in the model's
//! defaults and checks everything once. What is left can go wrong on the device alone.

mod memory;
mod record;
mod seed;
mod settings;
mod spec;

pub use memory::check_memory;
pub use record::Record;
pub use seed::random_seed;
pub use settings::Settings;
pub use spec::{ControlSpec, InitSpec, Job, JobSpec, PartSpec};
