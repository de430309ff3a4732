//! The x2i program: flags, the terminal, and every command, over the engine.

pub mod bench;
pub mod chat;
pub mod convert;
pub mod doctor;
pub mod flags;
pub mod gallery;
pub mod generate;
pub mod inspect;
mod jobs;
mod painter;
pub mod terminal;
mod weights_report;
pub mod words;
