//! Flow matching: a transformer learns the velocity `noise - latents` of latents mixed with noise.
//!
//! Source: diffusers' `training_utils` (densities, weights) and its FLUX trainers; sd-scripts' `flux_shift`. Noise levels
//! come from a table of 1000, which is not shifted: diffusers gives its scheduler no `mu` in training.

use std::f32::consts::PI;

use burn::tensor::{Tensor, TensorData};

/// Noise levels of the table.
pub const TABLE: usize = 1000;

/// Which noise levels are drawn how often. Formulas are on a normal or a uniform number, so that a caller's own
/// generator decides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Density {
    /// All alike: the uniform number itself.
    Uniform,
    /// The sigmoid of `mean + std · normal`.
    LogitNormal {
        /// Of the normal number.
        mean: f32,
        /// Of the normal number.
        std: f32,
    },
    /// `1 - u - scale · (cos²(π u / 2) - 1 + u)` of the uniform number.
    Mode {
        /// 1.29 in diffusers.
        scale: f32,
    },
    /// The sigmoid of the normal number, shifted: `shift t / (1 + (shift - 1) t)`.
    Shifted {
        /// 3 shifts towards noise.
        shift: f32,
    },
}

impl Density {
    /// The place of a noise level between none (0) and all (1), of a normal and a uniform number in 0..1.
    pub fn at(self, normal: f32, uniform: f32) -> f32 {
        match self {
            Self::Uniform => uniform,
            Self::LogitNormal { mean, std } => sigmoid(mean + std * normal),
            Self::Mode { scale } => {
                let cosine = (PI * uniform / 2.0).cos();
                1.0 - uniform - scale * (cosine * cosine - 1.0 + uniform)
            }
            Self::Shifted { shift } => {
                let t = sigmoid(normal);
                shift * t / (1.0 + (shift - 1.0) * t)
            }
        }
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// sd-scripts' `flux_shift`: FLUX's own shift for this many packed tokens, of the sigmoid of a normal number.
pub fn flux_shift(normal: f32, tokens: usize) -> f32 {
    const FEW: (f32, f32) = (256.0, 0.5);
    const MANY: (f32, f32) = (4096.0, 1.15);
    let slope = (MANY.1 - FEW.1) / (MANY.0 - FEW.0);
    let mu = (FEW.1 + slope * (tokens as f32 - FEW.0)).exp();
    let t = sigmoid(normal);
    mu / (mu + (1.0 / t - 1.0))
}

/// The noise level of the table at a place of a [`Density`], 1/1000 to 1: place 0 is all noise.
pub fn table_sigma(place: f32) -> f32 {
    let index = ((place * TABLE as f32) as usize).min(TABLE - 1);
    (TABLE - index) as f32 / TABLE as f32
}

/// How much an item counts by its noise level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Weighting {
    /// All alike.
    #[default]
    None,
    /// `sigma^-2`.
    SigmaSqrt,
    /// `2 / (π (1 - 2 sigma + 2 sigma²))`.
    Cosmap,
}

impl Weighting {
    /// The weight of a noise level.
    pub fn weight(self, sigma: f32) -> f32 {
        match self {
            Self::None => 1.0,
            Self::SigmaSqrt => 1.0 / (sigma * sigma),
            Self::Cosmap => 2.0 / (PI * (1.0 - 2.0 * sigma + 2.0 * sigma * sigma)),
        }
    }
}

/// The mean over items of the weighted mean square of `velocity - (noise - latents)`: a number. All are packed,
/// `[batch, tokens, channels]`; `sigma` has one level for each item.
///
/// # Panics
/// When the shapes differ.
pub fn flow_matching_loss(
    velocity: Tensor<3>,
    latents: Tensor<3>,
    noise: Tensor<3>,
    sigma: &[f32],
    weighting: Weighting,
) -> Tensor<1> {
    assert_eq!(
        velocity.dims(),
        latents.dims(),
        "a velocity for every latent"
    );
    let [batch, ..] = velocity.dims();
    assert_eq!(sigma.len(), batch, "a noise level for every item");
    let squares = (velocity - (noise - latents)).square();
    match weighting {
        Weighting::None => squares.mean(),
        _ => {
            let weights: Vec<f32> = sigma.iter().map(|&sigma| weighting.weight(sigma)).collect();
            let device = squares.device().inner();
            let weights = Tensor::from_data(TensorData::new(weights, [batch, 1, 1]), &device);
            (squares * weights).mean()
        }
    }
}
