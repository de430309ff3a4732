//! The x2i program: flags, terminal output and all commands, on top of the engine.

pub mod bench;
pub mod chat;
pub mod convert;
pub mod doctor;
pub mod flags;
pub mod gallery;
pub mod generate;
pub mod inspect;
mod jobs;
#[cfg(feature = "serve")]
mod log;
pub mod models;
mod painter;
pub mod program;
#[cfg(feature = "hub")]
pub mod pull;
#[cfg(feature = "serve")]
mod serve;
#[cfg(feature = "serve")]
mod served;
mod spread;
pub mod terminal;
mod train;
mod weights_report;
pub mod words;
#[cfg(feature = "serve")]
mod worker;
