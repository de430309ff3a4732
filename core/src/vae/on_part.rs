//! The callback for finished parts of the autoencoder: progress, cancellation and parity use it.

use super::bands::Bands;
use crate::error::Result;

/// Hears every part of the network as it finishes, by its checkpoint name; may stop.
pub trait OnPart: AsyncFnMut(&str, &Bands) -> Result<()> {}

impl<F: AsyncFnMut(&str, &Bands) -> Result<()>> OnPart for F {}
