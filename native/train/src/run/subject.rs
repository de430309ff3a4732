//! What is trained, as the loop sees it.

use std::collections::BTreeMap;

use x2i_core::training::{Gradients, Parameters};
use x2i_core::{Image, Result};

/// What a micro-batch gave.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Micro {
    /// The loss, a mean over its samples.
    pub loss: f64,
    /// Parts of it, by name.
    pub parts: BTreeMap<String, f64>,
    /// Terms that were no finite numbers and count as nothing.
    pub left_out: usize,
    /// What the user should know, a sentence each.
    pub notes: Vec<String>,
}

/// A picture that shows what the parameters do.
#[derive(Debug, Clone)]
pub struct Shown {
    /// What it was made of.
    pub prompt: String,
    /// The picture.
    pub image: Image,
}

/// AlignNet, LightControl or a LoRA with its data.
pub trait Subject {
    /// The parameters before the first update.
    ///
    /// # Errors
    /// What reading them gives.
    fn start(&mut self) -> Result<Parameters>;

    /// Samples that one process takes in an epoch.
    fn epoch_len(&self) -> usize;

    /// Runs the samples of these numbers, counted over all epochs, and gives the mean loss; their mean gradients are
    /// added to `gradients`.
    ///
    /// # Errors
    /// What a sample, the device or the disk gives.
    fn micro_batch(
        &mut self,
        parameters: &Parameters,
        samples: std::ops::Range<u64>,
        gradients: &mut Gradients,
    ) -> Result<Micro>;

    /// The mean loss over samples that are not trained on, at noise that never changes; `None` without such samples.
    ///
    /// # Errors
    /// As [`micro_batch`](Self::micro_batch).
    fn validate(&mut self, parameters: &Parameters) -> Result<Option<f64>>;

    /// Pictures of the run's sample prompts.
    ///
    /// # Errors
    /// The device's.
    fn show(&mut self, parameters: &Parameters) -> Result<Vec<Shown>>;

    /// The bytes of a file that inference reads, and its name.
    ///
    /// # Errors
    /// What does not fit the format.
    fn file(&self, parameters: &Parameters) -> Result<Vec<(String, Vec<u8>)>>;
}
