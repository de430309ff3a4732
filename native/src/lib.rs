//! The x2i command line: what it does, as a library so that tests can reach devices and sources.

mod adapters;
pub mod bench;
pub mod cli;
pub mod convert;
pub mod device;
pub mod doctor;
pub mod generate;
mod hashes;
pub mod host;
pub mod inspect;
mod job;
mod output;
pub mod picture;
mod progress;
pub mod source;
mod table;
mod weights_report;

/// The exit code after Ctrl-C: 128 and SIGINT's number, as shells have it.
pub const EXIT_CANCELLED: u8 = 130;
