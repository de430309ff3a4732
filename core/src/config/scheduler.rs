//! The sampler's config (diffusers `scheduler/scheduler_config.json`).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::checks::{check, from_value};
use super::keys::{Key, check_class, check_keys};
use crate::error::Result;

/// The largest exponent of a shift.
const MAX_SHIFT: f64 = 50.0;

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

/// The keys of `scheduler_config.json`. FLUX's transformer takes `sigma` x 1000 as its timestep.
const KEYS: &[(&str, Key)] = &[
    ("_class_name", Key::Read),
    ("_diffusers_version", Key::Idle),
    ("_name_or_path", Key::Idle),
    ("num_train_timesteps", Key::Number(1000.0)),
    ("shift", Key::Read),
    ("use_dynamic_shifting", Key::Read),
    ("base_shift", Key::Read),
    ("max_shift", Key::Read),
    ("base_image_seq_len", Key::Read),
    ("max_image_seq_len", Key::Read),
    ("invert_sigmas", Key::Off),
    ("shift_terminal", Key::Off),
    ("use_karras_sigmas", Key::Off),
    ("use_exponential_sigmas", Key::Off),
    ("use_beta_sigmas", Key::Off),
    // It counts with dynamic shifting alone.
    ("time_shift_type", Key::Read),
    ("stochastic_sampling", Key::Off),
];

impl SchedulerConfig {
    /// Reads a published `scheduler_config.json`; keys that are not known go to `warnings`.
    ///
    /// # Errors
    /// [`crate::Error::Config`] naming what is not computed here.
    pub(crate) fn read(file: &str, json: Value, warnings: &mut Vec<String>) -> Result<Self> {
        const CLASS: &str = "FlowMatchEulerDiscreteScheduler";
        check_class(file, &json, CLASS, "FLUX's scheduler")?;
        check_keys(file, "", &json, &[KEYS], warnings)?;
        let kind = json.get("time_shift_type").filter(|kind| !kind.is_null());
        let config: Self = from_value(file, json.clone())?;
        check(
            file,
            !config.use_dynamic_shifting || kind.is_none_or(|kind| kind == "exponential"),
            || {
                format!(
                    "time_shift_type {} is not supported; only exponential is",
                    kind.unwrap_or(&Value::Null)
                )
            },
        )?;
        config.validate(file)?;
        Ok(config)
    }

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
            // The shift is an exponential of them; published ones are 0.5 and 1.15.
            self.base_shift.abs() <= MAX_SHIFT && self.max_shift.abs() <= MAX_SHIFT,
            || format!("base_shift and max_shift must lie between -{MAX_SHIFT} and {MAX_SHIFT}"),
        )?;
        check(
            file,
            self.max_image_seq_len > self.base_image_seq_len,
            || "max_image_seq_len must be above base_image_seq_len".into(),
        )
    }
}
