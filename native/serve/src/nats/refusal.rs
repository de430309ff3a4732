//! A queue that can't be reached, or refuses.

use crate::job::{Code, Failure};

/// The sentence of an error of NATS.
pub(super) fn unavailable(what: &str, error: impl std::fmt::Display) -> Failure {
    let message = format!("the queue (NATS): {what}: {error}");
    Failure::new(Code::Unavailable, message)
}
