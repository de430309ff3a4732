//! The time of each phase.

use serde::Serialize;
use x2i_core::Phase;

/// Seconds of each phase.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Seconds {
    /// Loading the weights onto the device.
    pub load: f64,
    /// The LLM.
    pub encode: f64,
    /// The transformer.
    pub denoise: f64,
    /// The VAE.
    pub decode: f64,
}

impl Seconds {
    /// All phases together.
    pub fn total(&self) -> f64 {
        self.load + self.encode + self.denoise + self.decode
    }

    pub(super) fn of(&mut self, phase: Phase) -> &mut f64 {
        match phase {
            Phase::Load => &mut self.load,
            Phase::Encode => &mut self.encode,
            Phase::Denoise => &mut self.denoise,
            Phase::Decode => &mut self.decode,
        }
    }
}
