//! Who hears of the network's parts: progress, cancellation and parity hang on it.

use super::bands::Bands;
use crate::error::Result;

/// Hears every part of the network as it finishes, by its checkpoint name; may stop.
pub trait OnPart: AsyncFnMut(&str, &Bands) -> Result<()> {}

impl<F: AsyncFnMut(&str, &Bands) -> Result<()>> OnPart for F {}
