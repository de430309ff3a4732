//! LoRA and its kin: changes of the transformer's matrices, biases and norms.
//!
//! Source: LoRA (arXiv 2106.09685): `y = W x + strength · alpha / rank · B (A x)`; a file without an alpha and
//! without a config means the rank. DoRA, LoHa, LoKr and plain differences are computed as PEFT and LyCORIS
//! train them ([`kinds`]). A change is never merged into its matrix, which may be quantized, lent by a file,
//! or streamed; it is read whenever its layer is. All low-rank changes of a layer are joined to one pair of
//! products. Not here: the names in the files ([`crate::weights`] has those of all weights), and training.

mod adapters;
mod config;
mod dora;
mod factors;
mod fit;
mod kinds;
mod layer;
mod message;
mod open;
mod trained;

pub(crate) use adapters::Adapters;
pub use config::LoraConfig;
pub(crate) use dora::Base;
pub(crate) use layer::LayerChange;
pub(crate) use trained::TrainedPair;

use std::fmt;

use crate::error::{Error, Result};
use crate::weights::WeightFile;
use kinds::{Besides, Change, VectorChange};

/// One LoRA file, opened: its names are understood, its numbers stay in the file.
pub struct Lora {
    file: WeightFile,
    /// How much the changes count.
    strength: f32,
    changes: Vec<Change>,
    vectors: Vec<VectorChange>,
    /// Keys that match nothing.
    strangers: Vec<String>,
    /// The numbers of keys that change something else.
    beside: Besides,
    /// Problems that no transformer mends.
    problems: Vec<String>,
    /// Warnings about the file alone.
    notes: Vec<String>,
}

impl Lora {
    /// The file's name.
    pub fn name(&self) -> &str {
        self.file.name()
    }

    /// Looks at all numbers of the file, so that a damaged one is known before a model is loaded.
    ///
    /// # Errors
    /// [`Error::Format`] for the first tensor that holds one which is not finite; [`Error::Io`].
    pub async fn check_values(&self) -> Result<()> {
        match self.file.first_not_finite().await? {
            None => Ok(()),
            Some(key) => {
                let key = message::short(key);
                let reason = format!("tensor `{key}` holds a number that is not finite");
                Err(Error::format(self.name(), reason))
            }
        }
    }
}

impl fmt::Debug for Lora {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lora")
            .field("name", &self.name())
            .field("changes", &self.changes.len())
            .field("vectors", &self.vectors.len())
            .finish_non_exhaustive()
    }
}
