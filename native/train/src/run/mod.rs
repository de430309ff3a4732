//! A run of training: its settings, its folder, and the loop that makes updates.
//!
//! What is trained is a [`Subject`]; the loop knows samples by their numbers, parameters and gradients by their names. A run
//! is a folder ([`RunFolder`]): the settings as used, a line for each update, checkpoints that are there whole or not at
//! all, samples, TensorBoard's events and a page. The same command goes on where the folder's last checkpoint is.

mod checkpoint;
mod checks;
mod control_keys;
mod events;
mod folder;
mod journal;
mod page;
mod reading;
pub mod settings;
mod subject;
mod trainer;
mod words;
mod world;

pub use checkpoint::{Checkpoint, Position};
pub use folder::RunFolder;
pub use journal::Line;
pub use settings::{Settings, What};
pub use subject::{Micro, Shown, Subject};
pub use trainer::{Control, Event, Trainer};
#[cfg(feature = "mpi")]
pub use world::Processes;
pub use world::{Alone, World};
