//! How the learning rate changes: a factor for each update, counted from 0.
//!
//! Source: diffusers' `get_scheduler`, whose formulas also hold beyond the last update, and a trapezoid. One update is
//! one step of the schedule, however many micro-batches it has.

use std::f64::consts::PI;

/// The form of a schedule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// Always 1.
    Constant,
    /// 1 after the warm-up.
    ConstantWithWarmup,
    /// Falls to 0.
    Linear,
    /// Half a cosine, to 0.
    Cosine,
    /// So many times half a cosine.
    CosineWithRestarts {
        /// How many.
        cycles: f64,
    },
    /// A power of what is left.
    Polynomial {
        /// The exponent; 1 is a line.
        power: f64,
        /// The rate at the end over the rate.
        end: f64,
    },
    /// 1, then a line over the last part of the updates. Its warm-up begins above 0.
    Trapezoid {
        /// The share of the updates over which it falls.
        decay: f64,
        /// Where it ends.
        floor: f64,
    },
}

/// A learning rate's factor by update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Its form.
    pub shape: Shape,
    /// Updates of the warm-up.
    pub warmup: u64,
    /// Updates of the run.
    pub total: u64,
}

impl Schedule {
    /// What the learning rate is multiplied by in an update.
    pub fn factor(&self, update: u64) -> f64 {
        let (step, warmup, total) = (update as f64, self.warmup as f64, self.total as f64);
        let rising = update < self.warmup;
        let warm = step / warmup.max(1.0);
        let length = (total - warmup).max(1.0);
        let progress = (step - warmup) / length;
        match self.shape {
            Shape::Constant => 1.0,
            Shape::Trapezoid { decay, floor } => {
                let left = ((1.0 - step / total.max(1.0)) / decay).clamp(0.0, 1.0);
                ((step + 1.0) / warmup.max(1.0)).min(1.0) * (floor + (1.0 - floor) * left)
            }
            _ if rising => warm,
            Shape::ConstantWithWarmup => 1.0,
            Shape::Linear => ((total - step) / length).max(0.0),
            Shape::Cosine => (0.5 * (1.0 + (PI * progress).cos())).max(0.0),
            Shape::CosineWithRestarts { .. } if progress >= 1.0 => 0.0,
            Shape::CosineWithRestarts { cycles } => {
                (0.5 * (1.0 + (PI * ((cycles * progress) % 1.0)).cos())).max(0.0)
            }
            Shape::Polynomial { end, .. } if step > total => end,
            Shape::Polynomial { power, end } => {
                (1.0 - end) * (1.0 - (step - warmup) / (total - warmup)).powf(power) + end
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trapezoid_rises_stays_and_falls_to_its_floor() {
        let schedule = Schedule {
            shape: Shape::Trapezoid {
                decay: 0.5,
                floor: 0.1,
            },
            warmup: 4,
            total: 20,
        };
        let factors = [0, 3, 10, 15, 20].map(|update| schedule.factor(update));
        for (found, expected) in factors.iter().zip([0.25, 1.0, 1.0, 0.55, 0.1]) {
            assert!((found - expected).abs() < 1e-12, "{factors:?}");
        }
    }
}
