//! Forked processes: threads that compute stay behind in the parent, so that a child would wait for ever.

use std::sync::OnceLock;

use pyo3::prelude::*;

use crate::errors::failed;

/// The process that opened the first model.
static OPENED_BY: OnceLock<u32> = OnceLock::new();

/// Says that this process computes.
///
/// # Errors
/// `x2i.Error` where it is the fork of one that does.
pub(crate) fn check(py: Python<'_>) -> PyResult<()> {
    let here = std::process::id();
    match *OPENED_BY.get_or_init(|| here) == here {
        true => Ok(()),
        false => Err(failed(
            py,
            "this process was forked from one that has opened a model, and its threads are not here; \
             start it with multiprocessing's start method \"spawn\" or \"forkserver\"",
        )),
    }
}
