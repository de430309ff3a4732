//! How much a body weighs in memory: its values weigh a hundred times what they take as text.

use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::error::ApiError;

/// The most values of a body, lists and objects among them.
const MOST: usize = 200_000;
/// Bodies up to so many bytes are always read: all connections have room for one.
const SMALL: usize = 256 << 10;
/// Bytes of a permit.
const UNIT: usize = 64 << 10;
/// How many of the largest bodies may be read at once.
const AT_ONCE: usize = 4;

/// The share of all bodies, of which each may have so many bytes.
pub fn shares(largest: usize) -> Arc<Semaphore> {
    let all = largest.div_ceil(UNIT).saturating_mul(AT_ONCE);
    Arc::new(Semaphore::new(all.min(Semaphore::MAX_PERMITS)))
}

/// Waits until a body of so many bytes may be read.
///
/// # Errors
/// Never while the server serves.
pub(super) async fn share(
    shares: &Arc<Semaphore>,
    bytes: usize,
    largest: usize,
) -> Result<OwnedSemaphorePermit, ApiError> {
    let units = u32::try_from(units(bytes.min(largest))).unwrap_or(u32::MAX);
    let permit = shares.clone().acquire_many_owned(units).await;
    permit.map_err(|_| ApiError::not_found("room for bodies"))
}

fn units(bytes: usize) -> usize {
    match bytes <= SMALL {
        true => 0,
        false => bytes.div_ceil(UNIT),
    }
}

/// Refuses JSON of too many values before any of them is made.
///
/// # Errors
/// For more than [`MOST`].
pub(super) fn check(json: &[u8]) -> Result<(), ApiError> {
    match values(json) > MOST {
        true => {
            let message = format!("the body has more than {MOST} values; send files as files");
            Err(ApiError::new(
                http::StatusCode::BAD_REQUEST,
                "body_too_complex",
                message,
            ))
        }
        false => Ok(()),
    }
}

/// The longest text that is small, in bytes.
const SMALL_TEXT: usize = 16 << 10;

/// What of these fields is small.
pub(super) fn small(fields: &Map<String, Value>) -> Map<String, Value> {
    let small = fields.iter().filter(|(_, value)| match value {
        Value::String(text) => text.len() <= SMALL_TEXT,
        Value::Array(_) | Value::Object(_) => false,
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    });
    small
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// About how many values JSON has: separators outside of strings.
fn values(json: &[u8]) -> usize {
    let (mut values, mut in_string, mut escaped) = (0, false, false);
    for &byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b',' | b':' | b'[' | b'{' if !in_string => values += 1,
            _ => {}
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_in_strings_are_no_values() {
        assert_eq!(values(br#"{"a": "x,[{:\",", "b": [1, 2]}"#), 6);
        assert!(check("[0,".repeat(MOST).as_bytes()).is_err());
        assert!(check(format!("[\"{}\"]", ",".repeat(MOST * 2)).as_bytes()).is_ok());
    }
}
