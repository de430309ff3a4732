//! FlowMatchEuler: the noise levels of a picture and the step between two of them.
//!
//! Source: diffusers' `FlowMatchEulerDiscreteScheduler` as `FluxPipeline` calls it. Levels are
//! computed in f64 and then rounded to f32, as numpy and torch do there.

use burn::tensor::Tensor;

use crate::config::SchedulerConfig;

/// The sampler of one model.
#[derive(Debug, Clone)]
pub struct FlowMatchEuler {
    config: SchedulerConfig,
}

/// Noise levels of one picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// From 1 (noise) to 0 (picture), one more than steps.
    pub sigmas: Vec<f32>,
    /// `sigma * num_train_timesteps`, one a step.
    pub timesteps: Vec<f32>,
}

impl FlowMatchEuler {
    /// The sampler of a validated config.
    pub fn new(config: SchedulerConfig) -> Self {
        Self { config }
    }

    /// Levels for `steps` steps of a picture of `image_tokens` packed latents: `(h/16) * (w/16)`.
    pub fn schedule(&self, steps: usize, image_tokens: usize) -> Schedule {
        self.shifted(
            linspace(1.0, 1.0 / steps as f64, steps),
            self.mu(image_tokens),
        )
    }

    /// The scheduler's own grid, over the shifted ends of training: `set_timesteps(steps)` without
    /// sigmas. Not what `FluxPipeline` uses; training looks levels up here.
    pub fn own_schedule(&self, steps: usize, mu: f64) -> Schedule {
        let table = self.train_sigmas();
        let (Some(&highest), Some(&lowest)) = (table.first(), table.last()) else {
            return Schedule {
                sigmas: vec![0.0],
                timesteps: vec![],
            };
        };
        self.shifted(linspace(f64::from(highest), f64::from(lowest), steps), mu)
    }

    /// The levels of training, from the noisiest: `num_train_timesteps` of them.
    pub fn train_sigmas(&self) -> Vec<f32> {
        let count = self.config.num_train_timesteps;
        let levels = (1..=count).rev().map(|step| step as f32 / count as f32);
        if self.config.use_dynamic_shifting {
            levels.collect()
        } else {
            levels
                .map(|sigma| self.static_shift(f64::from(sigma)) as f32)
                .collect()
        }
    }

    /// The dynamic shift's `mu`: linear in the number of image tokens.
    pub fn mu(&self, image_tokens: usize) -> f64 {
        let SchedulerConfig {
            base_shift,
            max_shift,
            base_image_seq_len,
            max_image_seq_len,
            ..
        } = self.config;
        let slope =
            (max_shift - base_shift) / (max_image_seq_len as f64 - base_image_seq_len as f64);
        image_tokens as f64 * slope + (base_shift - slope * base_image_seq_len as f64)
    }

    /// One Euler step from level `sigma` to `next_sigma` (0..1) along `velocity`; both tensors have one
    /// shape, whichever.
    pub fn step<const D: usize>(
        latents: Tensor<D>,
        velocity: Tensor<D>,
        sigma: f32,
        next_sigma: f32,
    ) -> Tensor<D> {
        latents + velocity * (next_sigma - sigma)
    }

    /// Mixes a clean picture's latents with noise: `(1 - sigma) * latents + sigma * noise`. Both
    /// tensors have one shape, whichever; `sigma` is 0..1.
    pub fn add_noise<const D: usize>(
        latents: Tensor<D>,
        noise: Tensor<D>,
        sigma: f32,
    ) -> Tensor<D> {
        latents * (1.0 - sigma) + noise * sigma
    }

    fn shifted(&self, grid: Vec<f64>, mu: f64) -> Schedule {
        let shift = |sigma: f64| {
            if self.config.use_dynamic_shifting {
                mu.exp() / (mu.exp() + (1.0 / sigma - 1.0))
            } else {
                self.static_shift(sigma)
            }
        };
        let mut sigmas: Vec<f32> = grid.into_iter().map(|sigma| shift(sigma) as f32).collect();
        let timesteps = sigmas
            .iter()
            .map(|sigma| sigma * self.config.num_train_timesteps as f32)
            .collect();
        sigmas.push(0.0);
        Schedule { sigmas, timesteps }
    }

    fn static_shift(&self, sigma: f64) -> f64 {
        self.config.shift * sigma / (1.0 + (self.config.shift - 1.0) * sigma)
    }
}

/// `numpy.linspace(start, stop, count)`.
fn linspace(start: f64, stop: f64, count: usize) -> Vec<f64> {
    let step = if count > 1 {
        (stop - start) / (count - 1) as f64
    } else {
        0.0
    };
    (0..count)
        .map(|index| {
            if index > 0 && index == count - 1 {
                stop
            } else {
                start + index as f64 * step
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_schnell_steps_are_quarters() {
        let sampler = FlowMatchEuler::new(SchedulerConfig::default());
        assert_eq!(sampler.schedule(4, 256).sigmas, [1.0, 0.75, 0.5, 0.25, 0.0]);
    }

    #[test]
    fn levels_fall_from_one_to_zero_at_any_count() {
        let dynamic = SchedulerConfig {
            use_dynamic_shifting: true,
            ..SchedulerConfig::default()
        };
        for steps in [1, 2, 3, 28, 1000] {
            let sigmas = FlowMatchEuler::new(dynamic.clone())
                .schedule(steps, 4096)
                .sigmas;
            assert_eq!(
                (sigmas[0], sigmas[steps], sigmas.len()),
                (1.0, 0.0, steps + 1)
            );
            assert!(
                sigmas.windows(2).all(|pair| pair[0] > pair[1]),
                "{steps} steps: {sigmas:?}"
            );
        }
    }
}
