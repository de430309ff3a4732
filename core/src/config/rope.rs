//! Rotary positions of a decoder, as transformers 4 (`rope_theta`, `rope_scaling`) and 5
//! (`rope_parameters`) write them.

use serde_json::{Map, Value};

use super::checks::check;
use super::keys::{is_off, object};
use crate::error::{Error, Result};

/// Kinds of scaling that change nothing: `mrope` is a name for `default` with sections, and `dynamic`
/// scales sequences longer than `max_position_embeddings`, where we stop.
const PLAIN: [&str; 3] = ["default", "mrope", "dynamic"];

/// Makes transformers 5's form the one of transformers 4. `prefix` stands before the keys in messages.
///
/// # Errors
/// [`Error::Config`] when both forms are there and differ, for kinds of scaling that are not computed
/// here, and for heads that turn in part.
pub(super) fn read_rope(file: &str, prefix: &str, config: &mut Map<String, Value>) -> Result<()> {
    let mut parameters = object(&config.remove("rope_parameters").unwrap_or_default());
    if let Some(theta) = parameters.remove("rope_theta") {
        let old = config.get("rope_theta").filter(|old| !old.is_null());
        check(
            file,
            old.is_none_or(|old| old.as_f64() == theta.as_f64()),
            || {
                format!(
                    "{prefix}rope_theta differs from {prefix}rope_parameters.rope_theta {theta}"
                )
            },
        )?;
        config.insert("rope_theta".into(), theta);
    }
    for key in ["full_attention", "sliding_attention"] {
        check(file, !parameters.contains_key(key), || {
            format!("{prefix}rope_parameters.{key} is not supported; all layers turn alike")
        })?;
    }
    if !parameters.is_empty() && config.get("rope_scaling").is_none_or(is_off) {
        config.insert("rope_scaling".into(), parameters.clone().into());
    }
    check_kind(file, &format!("{prefix}rope_parameters"), &parameters)?;
    let scaling = object(config.get("rope_scaling").unwrap_or(&Value::Null));
    check_kind(file, &format!("{prefix}rope_scaling"), &scaling)?;
    let part = config.get("partial_rotary_factor");
    check(file, part.is_none_or(is_whole), || {
        format!("{prefix}partial_rotary_factor is not supported; whole heads turn")
    })
}

/// Files say either `type` or `rope_type` or both, by the age of the library that wrote them.
fn check_kind(file: &str, name: &str, scaling: &Map<String, Value>) -> Result<()> {
    for key in ["type", "rope_type"] {
        let kind = scaling
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or("default");
        check(file, PLAIN.contains(&kind), || {
            format!("{name}.{key} `{kind}` is not supported; only default and dynamic are")
        })?;
    }
    let part = scaling.get("partial_rotary_factor");
    check(file, part.is_none_or(is_whole), || {
        format!("{name}.partial_rotary_factor is not supported; whole heads turn")
    })
}

fn is_whole(part: &Value) -> bool {
    part.is_null() || part.as_f64() == Some(1.0)
}

/// Refuses a decoder that does not say its base: the library's default is not the published model's.
///
/// # Errors
/// [`Error::Config`] naming the published one.
pub(super) fn needs_theta(file: &str, prefix: &str, config: &Value) -> Result<()> {
    match config.get("rope_theta").and_then(Value::as_f64) {
        Some(_) => Ok(()),
        None => Err(Error::config(
            file,
            format!("{prefix}rope_theta is missing; the published model has 1000000.0"),
        )),
    }
}
