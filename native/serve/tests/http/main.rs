//! The server over HTTP, with the embedded model on the CPU.

mod common;
mod faults;
mod jobs;
mod models;
mod server;
