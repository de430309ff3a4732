//! An exponential moving average of the parameters: what is saved and shown in their place.

use crate::training::Parameters;

/// The average of some parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Average {
    decay: f32,
    parameters: Parameters,
}

impl Average {
    /// The parameters as they are; each update keeps `decay` of the average.
    pub fn new(parameters: &Parameters, decay: f32) -> Self {
        Self {
            decay,
            parameters: parameters.clone(),
        }
    }

    /// Goes towards the parameters as they are now, after `updates` updates. Early ones count for more: at most `(1 +
    /// updates) / (10 + updates)` is kept.
    pub fn update(&mut self, parameters: &Parameters, updates: u64) {
        let early = (1.0 + updates as f32) / (10.0 + updates as f32);
        let new = 1.0 - self.decay.min(early);
        for (name, average) in self.parameters.iter_mut() {
            let Some(now) = parameters.get(name) else {
                continue;
            };
            for (average, now) in average.values.iter_mut().zip(&now.values) {
                *average += new * (now - *average);
            }
        }
    }

    /// The average.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_average_goes_a_part_of_the_way() {
        let mut parameters = Parameters::default();
        parameters.insert("a", vec![1], vec![0.0]);
        let mut average = Average::new(&parameters, 0.5);
        parameters.insert("a", vec![1], vec![1.0]);
        average.update(&parameters, 1_000);
        assert_eq!(
            average.parameters().get("a").map(|a| a.values[0]),
            Some(0.5)
        );
        average.update(&parameters, 1);
        // 2 / 11 of the average stays.
        let found = average.parameters().get("a").map_or(0.0, |a| a.values[0]);
        assert!((found - (1.0 - 0.5 * 2.0 / 11.0)).abs() < 1e-6, "{found}");
    }
}
