//! In which floats a device multiplies.

use std::fmt;
use std::str::FromStr;

use x2i_core::{Error, Kernels, Result};

use super::entry::DeviceEntry;

/// The environment variable that overrides [`Precision::Auto`], for tests and for drivers that are wrong.
const OVERRIDE: &str = "X2I_KERNELS";

/// In which floats a device multiplies matrices. Sums, norms, softmax and the sampler are f32 always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// f16 where the device has matrix units for it (tensor cores), else f32.
    #[default]
    Auto,
    /// f32.
    F32,
    /// f16, on matrix units.
    F16,
}

/// The accepted forms, for help and messages.
const FORMS: &str = "auto, f32 or f16";

impl FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "f32" => Ok(Self::F32),
            "f16" => Ok(Self::F16),
            _ => Err(format!("expected {FORMS}")),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::F16 => "f16",
        })
    }
}

impl Precision {
    /// What the environment asks for where the caller has no wish.
    ///
    /// # Errors
    /// [`Error::Device`] for a value that is none.
    pub(super) fn or_environment(self) -> Result<Self> {
        let set = std::env::var(OVERRIDE).unwrap_or_default();
        if set.is_empty() || self != Self::Auto {
            return Ok(self);
        }
        set.parse()
            .map_err(|expected| Error::device(OVERRIDE, format!("is `{set}`, {expected}")))
    }

    /// The kernels of a device for this precision.
    ///
    /// Emulated matrix units are slower than a CPU's vectors, so that `Auto` leaves them.
    ///
    /// # Errors
    /// [`Error::Device`] for f16 on a device without matrix units.
    pub(super) fn kernels(self, entry: &DeviceEntry) -> Result<Kernels> {
        let side = entry.gpu.as_ref().and_then(|gpu| gpu.matrix_side);
        let cooperative = match (self, side) {
            (Self::F32, _) => None,
            (Self::Auto, side) => side.filter(|_| !entry.software),
            (Self::F16, Some(side)) => Some(side),
            (Self::F16, None) => {
                return Err(Error::device(
                    entry.id.clone(),
                    "has no matrix units for f16 that x2i can use; it computes in f32",
                ));
            }
        };
        Ok(Kernels { cooperative })
    }
}
