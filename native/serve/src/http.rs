//! The routes. Each is a view of a job; only [`App`] knows the queue.

mod app;
mod cancelling;
mod error;
mod guard;
mod intake;
mod jobs;
mod operations;
mod reference;
mod router;
mod sse;
mod uploads;
mod view;

pub use app::{App, Limits};
pub use error::ApiError;
pub use guard::Access;
pub use router::router;
