//! A job: one image to generate, complete and checked.
//!
//! A surface (the command line, a server, Python) translates its input into a [`JobSpec`]: files by
//! path, and the numbers that were given. [`JobSpec::job`] reads the files, fills in the model's
//! defaults and checks everything once. After that, a job can fail only on the device.

mod finished;
mod made;
mod memory;
mod outline;
mod record;
mod seed;
mod settings;
mod spec;
mod told;

pub use finished::Finished;
pub use memory::check_memory;
pub use outline::Outline;
pub use record::Record;
pub use seed::random_seed;
pub use settings::Settings;
pub use spec::{ControlSpec, InitSpec, Job, JobSpec, PartSpec};
