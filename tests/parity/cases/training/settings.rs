//! The numbers of a training run, as `train_config.json` has them.

use serde::Deserialize;
use x2i_core::training::optimizer::{AdamW, Rule};
use x2i_core::training::schedule::{Schedule, Shape};

use crate::case::Fallible;

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Settings {
    pub lr: f64,
    betas: [f64; 2],
    weight_decay: f64,
    eps: f64,
    lr_scheduler: String,
    lr_warmup_steps: u64,
    max_train_steps: u64,
    pub accumulation: usize,
    pub updates: u64,
    pub resume_after: Option<u64>,
    pub max_grad_norm: f64,
}

impl Settings {
    pub fn rule(&self) -> Rule {
        Rule::AdamW(AdamW {
            rate: self.lr,
            betas: self.betas,
            eps: self.eps,
            weight_decay: self.weight_decay,
        })
    }

    pub fn schedule(&self) -> Fallible<Schedule> {
        Ok(Schedule {
            shape: shape(&self.lr_scheduler, 1.0)?,
            warmup: self.lr_warmup_steps,
            total: self.max_train_steps,
        })
    }
}

/// A form by diffusers' name.
pub(super) fn shape(name: &str, cycles: f64) -> Fallible<Shape> {
    Ok(match name {
        "constant" => Shape::Constant,
        "constant_with_warmup" => Shape::ConstantWithWarmup,
        "linear" => Shape::Linear,
        "cosine" => Shape::Cosine,
        "cosine_with_restarts" => Shape::CosineWithRestarts { cycles },
        "polynomial" => Shape::Polynomial {
            power: 1.0,
            end: 1e-7,
        },
        other => return Err(format!("schedule {other} is not known").into()),
    })
}
