//! In which floats a device multiplies.

use std::fmt;
use std::str::FromStr;

use x2i_core::{Error, Kernels, Result};

use super::entry::DeviceEntry;

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

impl FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "f32" => Ok(Self::F32),
            "f16" => Ok(Self::F16),
            _ => Err(format!("expected one of {}", Self::FORMS)),
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
    /// The accepted forms, for help and messages.
    pub(super) const FORMS: &str = "auto, f32, f16";

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
        Ok(Kernels {
            cooperative,
            ..Kernels::default()
        })
    }
}
