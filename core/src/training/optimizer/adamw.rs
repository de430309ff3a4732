//! AdamW: "Decoupled Weight Decay Regularization" (arXiv 1711.05101), with the formulas of PyTorch's `AdamW`.

use super::state::{Moments, State};

/// Its numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// The learning rate.
    pub rate: f64,
    /// How much of the moments stays.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled, on every parameter.
    pub weight_decay: f64,
}

impl Default for AdamW {
    /// PyTorch's.
    fn default() -> Self {
        Self {
            rate: 1e-3,
            betas: [0.9, 0.999],
            eps: 1e-8,
            weight_decay: 1e-2,
        }
    }
}

/// The numbers of one update.
#[derive(Clone, Copy)]
struct Step {
    keep: f32,
    betas: [f32; 2],
    news: [f32; 2],
    size: f32,
    root: f32,
    eps: f32,
}

impl AdamW {
    /// One update, the `number`th, counted from 1.
    pub(super) fn update(
        &self,
        values: &mut [f32],
        gradient: &[f32],
        state: &mut State,
        number: u64,
        factor: f64,
    ) {
        let rate = self.rate * factor;
        let power = i32::try_from(number).unwrap_or(i32::MAX);
        let [first, second] = self.betas.map(|beta| 1.0 - beta.powi(power));
        let step = Step {
            keep: (1.0 - rate * self.weight_decay) as f32,
            betas: self.betas.map(|beta| beta as f32),
            news: self.betas.map(|beta| (1.0 - beta) as f32),
            size: (rate / first) as f32,
            root: second.sqrt() as f32,
            eps: self.eps as f32,
        };
        match state {
            State::Moments(Moments { first, second }) => step.make(values, gradient, first, second),
            State::Bytes(bytes) => bytes.each_block(|range, first, second| {
                step.make(&mut values[range.clone()], &gradient[range], first, second);
            }),
            State::Velocity(_) => unreachable!("Muon has its own"),
        }
    }
}

impl Step {
    fn make(self, values: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32]) {
        let moments = first.iter_mut().zip(second);
        for ((value, &gradient), (first, second)) in values.iter_mut().zip(gradient).zip(moments) {
            *value *= self.keep;
            // As torch's `lerp`.
            *first += self.news[0] * (gradient - *first);
            *second = *second * self.betas[1] + self.news[1] * gradient * gradient;
            let root = second.sqrt() / self.root + self.eps;
            *value -= self.size * (*first / root);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first update moves each number by the rate against its gradient, whatever the gradient's size.
    #[test]
    fn the_first_update_is_the_sign_of_the_gradient() {
        let rule = AdamW {
            rate: 0.5,
            weight_decay: 0.1,
            ..AdamW::default()
        };
        let mut values = [1.0, 1.0];
        let mut state = State::floats(2);
        rule.update(&mut values, &[1e-3, -40.0], &mut state, 1, 1.0);
        for (value, expected) in values.iter().zip([0.45, 1.45]) {
            assert!((value - expected).abs() < 1e-4, "{values:?}");
        }
    }

    #[test]
    fn a_rate_of_zero_moves_nothing_and_fills_the_moments() {
        let mut values = [1.0];
        let mut state = State::floats(1);
        AdamW::default().update(&mut values, &[2.0], &mut state, 1, 0.0);
        assert_eq!(values, [1.0]);
        let State::Moments(moments) = state else {
            panic!("a small tensor has f32 moments");
        };
        assert!((moments.first[0] - 0.2).abs() < 1e-6 && (moments.second[0] - 4e-3).abs() < 1e-8);
    }
}
