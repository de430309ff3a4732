//! The routes. Each is a view of a job; only [`App`] knows the queue.

mod a1111;
mod access;
mod app;
mod cancelling;
mod chat;
mod conditioning;
mod described;
mod error;
mod extras;
mod guard;
mod intake;
mod jobs;
mod keep;
mod live;
mod openai;
mod operations;
mod pages;
mod reference;
mod router;
mod sse;
mod uploads;
mod view;

pub use access::Access;
pub use app::{App, Limits};
pub use error::ApiError;
pub use intake::weight::shares as body_shares;
pub use router::router;
