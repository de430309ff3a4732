//! Which steps reuse the work of earlier ones.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Field, Result};

/// Whether steps may reuse what most transformer blocks added in an earlier step.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Cache {
    /// Every step runs all blocks.
    #[default]
    Off,
    /// First-block caching ([`crate::flux::FirstBlockCache`]) with this threshold, at least 0: the larger,
    /// the more steps run their first block alone, and the further the picture is from one without.
    FirstBlock(f64),
}

impl Cache {
    /// The threshold, where there is one.
    pub fn threshold(self) -> Option<f64> {
        match self {
            Self::Off => None,
            Self::FirstBlock(threshold) => Some(threshold),
        }
    }

    /// # Errors
    /// [`Error::Request`] for a threshold that is negative or no number.
    pub(super) fn validate(self) -> Result<()> {
        match self {
            Self::FirstBlock(threshold) if !threshold.is_finite() || threshold < 0.0 => {
                let reason = format!("{threshold} must be a number of at least 0, or off");
                Err(Error::request(Field::Cache, reason))
            }
            Self::Off | Self::FirstBlock(_) => Ok(()),
        }
    }
}

/// As a record has it.
impl From<Option<f64>> for Cache {
    fn from(threshold: Option<f64>) -> Self {
        threshold.map_or(Self::Off, Self::FirstBlock)
    }
}

impl fmt::Display for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.pad("off"),
            Self::FirstBlock(threshold) => threshold.fmt(f),
        }
    }
}

/// The reverse of its display; a request checks the number.
impl FromStr for Cache {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            number => number.parse().map(Self::FirstBlock).map_err(|_| {
                format!("`{text}` is neither off nor a threshold; 0.05 to 0.2 are usual")
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_is_off_or_a_number() {
        for (text, cache) in [
            ("off", Cache::Off),
            ("0", Cache::FirstBlock(0.0)),
            ("0.08", Cache::FirstBlock(0.08)),
        ] {
            assert_eq!(text.parse(), Ok(cache));
            assert_eq!(cache.to_string(), text);
            assert_eq!(Cache::from(cache.threshold()), cache);
            assert!(cache.validate().is_ok());
        }
        for text in ["", "on", "OFF", "5%", "0,1"] {
            let error = text.parse::<Cache>().unwrap_err();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }

    #[test]
    fn a_threshold_below_0_or_no_number_is_refused_by_field() {
        for threshold in [-0.1, f64::NAN, f64::INFINITY] {
            let error = Cache::FirstBlock(threshold).validate().unwrap_err();
            let expected = format!("cache: {threshold} must be a number of at least 0, or off");
            assert_eq!(error.to_string(), expected);
        }
    }
}
