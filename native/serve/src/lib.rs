//! The HTTP server of x2i: a bounded queue of jobs, one thread a device, and routes that are views of jobs.

pub mod conditioning;
mod folders;
pub mod http;
pub mod inputs;
pub mod job;
mod measure;
pub mod models;
pub mod nats;
pub mod options;
pub mod queue;
pub mod server;
pub mod studio;
