//! The sampler's config (diffusers `scheduler/scheduler_config.json`).

use serde::{Deserialize, Serialize};

use super::checks::check;
use crate::error::Result;

/// FlowMatchEulerDiscreteScheduler's numbers; defaults are diffusers'.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SchedulerConfig {
    /// Steps of training; a timestep is `sigma` times this.
    pub num_train_timesteps: usize,
    /// Static shift of the sigmas, used without dynamic shifting.
    pub shift: f64,
    /// Shift by the number of image tokens (FLUX.1-dev) instead.
    pub use_dynamic_shifting: bool,
    /// `mu` at `base_image_seq_len` tokens.
    pub base_shift: f64,
    /// `mu` at `max_image_seq_len` tokens.
    pub max_shift: f64,
    /// Tokens of a 256x256 image.
    pub base_image_seq_len: usize,
    /// Tokens of a 1024x1024 image.
    pub max_image_seq_len: usize,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            num_train_timesteps: 1000,
            shift: 1.0,
            use_dynamic_shifting: false,
            base_shift: 0.5,
            max_shift: 1.15,
            base_image_seq_len: 256,
            max_image_seq_len: 4096,
        }
    }
}

impl SchedulerConfig {
    /// Checks what the sampler relies on.
    ///
    /// # Errors
    /// [`crate::Error::Config`] naming the first number that can't be.
    pub fn validate(&self, file: &str) -> Result<()> {
        check(file, self.num_train_timesteps > 0, || {
            "num_train_timesteps is 0".into()
        })?;
        check(file, self.shift.is_finite() && self.shift > 0.0, || {
            format!("shift {} must be above 0", self.shift)
        })?;
        check(
            file,
            self.base_shift.is_finite() && self.max_shift.is_finite(),
            || "base_shift and max_shift must be numbers".into(),
        )?;
        check(
            file,
            self.max_image_seq_len > self.base_image_seq_len,
            || "max_image_seq_len must be above base_image_seq_len".into(),
        )
    }
}
