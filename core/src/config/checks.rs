//! Reading a config, and the checks that several configs share.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::culprit::culprit;
use super::json::plain_json;
use crate::error::{Error, Result};

/// Parses one JSON config; `file` names it in errors.
///
/// # Errors
/// [`Error::Config`] naming the key that is missing or can't be.
pub(crate) fn parse<T: DeserializeOwned>(file: &str, json: &[u8]) -> Result<T> {
    let value: Value = serde_json::from_slice(&plain_json(json))
        .map_err(|error| Error::config(file, error.to_string()))?;
    from_value(file, value)
}

/// [`parse`] for JSON that is parsed already.
///
/// # Errors
/// As [`parse`].
pub(crate) fn from_value<T: DeserializeOwned>(file: &str, json: Value) -> Result<T> {
    if !json.is_object() {
        return Err(Error::config(file, "is no JSON object"));
    }
    serde_json::from_value(json.clone()).map_err(|error| {
        let reason = error.to_string();
        let key = culprit::<T>(&json, &reason);
        let key = key.map_or_else(String::new, |key| format!("{key}: "));
        Error::config(file, key + &reason)
    })
}

/// Fails with `reason` unless `holds`.
///
/// # Errors
/// [`Error::Config`] with the reason.
pub(super) fn check(file: &str, holds: bool, reason: impl FnOnce() -> String) -> Result<()> {
    if holds {
        Ok(())
    } else {
        Err(Error::config(file, reason()))
    }
}

/// Fails at the first size that is 0. `prefix` stands before the keys, such as `vision_config.`.
///
/// # Errors
/// [`Error::Config`] naming the key.
pub(super) fn check_sizes(file: &str, prefix: &str, sizes: &[(&str, usize)]) -> Result<()> {
    sizes
        .iter()
        .try_for_each(|(key, size)| check(file, *size > 0, || format!("{prefix}{key} is 0")))
}

/// Fails for an epsilon under `key` that a square root can't have.
///
/// # Errors
/// [`Error::Config`] naming the key.
pub(super) fn check_eps(file: &str, key: &str, eps: f64) -> Result<()> {
    check(file, (0.0..=1.0).contains(&eps), || {
        format!("{key} {eps} must be a number between 0 and 1")
    })
}

/// Fails unless the width under `key` can be split into this many heads.
///
/// # Errors
/// [`Error::Config`] naming the key.
pub(super) fn check_heads(file: &str, key: &str, width: usize, heads: usize) -> Result<()> {
    check(file, width.is_multiple_of(heads), || {
        format!("{key} {width} can't be split into {heads} heads")
    })
}
