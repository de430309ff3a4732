//! Sampling the next token from logits: greedy, or drawn in the order of transformers' processors.
//!
//! The order is repetition penalty, then, when drawing, temperature, top-k and top-p. Draws come
//! from our own seeded generator: one seed gives one answer on every device, but not PyTorch's.

use crate::config::GenerationConfig;
use crate::error::{Error, Result};

/// Chooses tokens and remembers which were there before.
#[derive(Debug)]
pub struct Sampler {
    config: GenerationConfig,
    /// True for every token id of the prompt (padding included) and the answer so far.
    seen: Vec<bool>,
    draws: SplitMix64,
}

impl Sampler {
    /// A sampler that starts after `prompt`.
    pub fn new(config: GenerationConfig, prompt: &[u32], seed: u64) -> Self {
        let mut sampler = Self {
            config,
            seen: vec![],
            draws: SplitMix64(seed),
        };
        for &token in prompt {
            sampler.remember(token);
        }
        sampler
    }

    /// The next token, which counts as seen from then on.
    ///
    /// # Errors
    /// [`Error::Device`] when the logits hold NaN: the weights or the device are broken.
    pub fn next(&mut self, mut logits: Vec<f32>) -> Result<u32> {
        if logits.is_empty() || logits.iter().any(|logit| logit.is_nan()) {
            return Err(Error::device(
                "readback",
                "the LLM's logits are NaN: the weights or the device are broken",
            ));
        }
        self.penalize(&mut logits);
        let token = if self.config.do_sample {
            self.draw(logits)
        } else {
            likeliest(&logits)
        } as u32;
        self.remember(token);
        Ok(token)
    }

    fn remember(&mut self, token: u32) {
        let index = token as usize;
        if index >= self.seen.len() {
            self.seen.resize(index + 1, false);
        }
        self.seen[index] = true;
    }

    fn penalize(&self, logits: &mut [f32]) {
        let penalty = self.config.repetition_penalty as f32;
        if penalty == 1.0 {
            return;
        }
        for (logit, _) in logits.iter_mut().zip(&self.seen).filter(|(_, seen)| **seen) {
            *logit = if *logit < 0.0 {
                *logit * penalty
            } else {
                *logit / penalty
            };
        }
    }

    fn draw(&mut self, logits: Vec<f32>) -> usize {
        // Never 0: a temperature too small for f32 draws as the smallest one does, greedily.
        let temperature = (self.config.temperature as f32).max(f32::MIN_POSITIVE);
        let mut ranked: Vec<(usize, f32)> = logits.into_iter().enumerate().collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        if self.config.top_k > 0 && self.config.top_k < ranked.len() {
            let least = ranked[self.config.top_k - 1].1;
            ranked.retain(|&(_, logit)| logit >= least);
        }
        let largest = ranked[0].1;
        let weight = |logit: f32| f64::from((logit - largest) / temperature).exp();
        let mut weights: Vec<f64> = ranked.iter().map(|&(_, logit)| weight(logit)).collect();
        if self.config.top_p < 1.0 {
            weights.truncate(nucleus(&weights, self.config.top_p));
        }
        let mut left = self.draws.uniform() * weights.iter().sum::<f64>();
        let drawn = weights.iter().position(|weight| {
            left -= weight;
            left < 0.0
        });
        ranked[drawn.unwrap_or(0)].0
    }
}

/// How many of the descending `weights` reach the share `top_p`; at least one.
fn nucleus(weights: &[f64], top_p: f64) -> usize {
    let enough = weights.iter().sum::<f64>() * top_p;
    let mut reached = 0.0;
    let count = weights.iter().take_while(|&&weight| {
        let wanted = reached < enough;
        reached += weight;
        wanted
    });
    count.count().max(1)
}

/// The first of the largest logits.
pub(super) fn likeliest(logits: &[f32]) -> usize {
    let mut best = 0;
    for (index, &logit) in logits.iter().enumerate() {
        if logit > logits[best] {
            best = index;
        }
    }
    best
}

/// Steele, Lea and Flood's SplitMix64.
#[derive(Debug)]
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 inclusive to 1 exclusive.
    fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drawing() -> GenerationConfig {
        GenerationConfig {
            do_sample: true,
            ..GenerationConfig::default()
        }
    }

    #[test]
    fn greedy_takes_the_first_of_equal_logits() {
        let mut sampler = Sampler::new(GenerationConfig::default(), &[], 0);
        assert_eq!(sampler.next(vec![1.0, 3.0, 3.0]).unwrap(), 1);
    }

    #[test]
    fn a_repeated_token_is_penalized_once_whatever_its_sign() {
        let config = GenerationConfig {
            repetition_penalty: 2.0,
            ..GenerationConfig::default()
        };
        let mut sampler = Sampler::new(config, &[1, 1], 0);
        assert_eq!(sampler.next(vec![1.6, 3.0, 0.0]).unwrap(), 0); // 3.0 became 1.5
        assert_eq!(sampler.next(vec![-1.0, -1.0, -1.5]).unwrap(), 2); // both became -2.0
    }

    #[test]
    fn the_published_near_greedy_settings_are_greedy() {
        for (temperature, top_k, top_p) in [
            (1e-6, 50, 0.001),
            (1.0, 1, 1.0),
            (0.0, 0, 1.0),
            (1e-60, 0, 0.9),
        ] {
            let config = GenerationConfig {
                temperature,
                top_k,
                top_p,
                ..drawing()
            };
            let mut sampler = Sampler::new(config, &[], 7);
            for _ in 0..20 {
                assert_eq!(sampler.next(vec![0.1, 0.3, 0.2]).unwrap(), 1);
            }
        }
    }

    #[test]
    fn draws_follow_the_probabilities_and_the_seed() {
        let count = |seed| {
            let mut sampler = Sampler::new(drawing(), &[], seed);
            (0..4000)
                .filter(|_| sampler.next(vec![0.0, 3f32.ln()]).unwrap() == 1)
                .count()
        };
        assert!((2900..3100).contains(&count(1)), "{}", count(1)); // 3000 +- 3.6 standard deviations
        assert_eq!(count(2), count(2));
        assert_ne!(count(1), count(2));
    }

    /// transformers 4.49's processors one after another, as its own code has them.
    fn transformers(config: &GenerationConfig, seen: &[u32], logits: &[f32]) -> Vec<f64> {
        let mut scores: Vec<f64> = logits.iter().map(|&logit| f64::from(logit)).collect();
        for &token in seen {
            let score = &mut scores[token as usize];
            *score *= match *score < 0.0 {
                true => config.repetition_penalty,
                false => 1.0 / config.repetition_penalty,
            };
        }
        scores
            .iter_mut()
            .for_each(|score| *score /= config.temperature);
        let mut descending = scores.clone();
        descending.sort_by(|a, b| b.total_cmp(a));
        let least = descending[config.top_k.min(scores.len()) - 1];
        let softmax = |scores: &[f64]| -> Vec<f64> {
            let sum: f64 = scores.iter().map(|score| score.exp()).sum();
            scores.iter().map(|score| score.exp() / sum).collect()
        };
        let cut = |score: f64, keep: bool| if keep { score } else { f64::NEG_INFINITY };
        let scores: Vec<f64> = scores
            .iter()
            .map(|&score| cut(score, score >= least))
            .collect();
        let shares = softmax(&scores);
        // Of the least likely those go whose sum stays within 1 - top_p.
        let below = |share: f64| shares.iter().filter(|&&other| other <= share).sum::<f64>();
        let kept = scores.iter().zip(&shares);
        let kept = kept.map(|(&score, &share)| cut(score, below(share) > 1.0 - config.top_p));
        softmax(&kept.collect::<Vec<_>>())
    }

    #[test]
    fn draws_are_distributed_as_transformers_processors_have_it() {
        const DRAWS: usize = 4000;
        let logits = [2.0, 1.9, -0.3, 1.1, 0.4, -2.0, 1.5];
        let settings = [
            (1.05, 0.7, 4, 0.8),
            (1.5, 1.3, 50, 0.95),
            (1.05, 1.0, 7, 0.5),
        ];
        for (repetition_penalty, temperature, top_k, top_p) in settings {
            let config = GenerationConfig {
                repetition_penalty,
                temperature,
                top_k,
                top_p,
                ..drawing()
            };
            let expected = transformers(&config, &[0, 2], &logits);
            let mut counts = [0usize; 7];
            for seed in 0..DRAWS as u64 {
                let mut sampler = Sampler::new(config.clone(), &[0, 2], seed);
                counts[sampler.next(logits.to_vec()).unwrap() as usize] += 1;
            }
            for (token, (count, share)) in counts.into_iter().zip(expected).enumerate() {
                let deviation = (share * (1.0 - share) / DRAWS as f64).sqrt();
                let off = (count as f64 / DRAWS as f64 - share).abs();
                assert!(
                    off <= 4.0 * deviation,
                    "{config:?}: {token}: {count}, {share}"
                );
            }
        }
    }

    #[test]
    fn nan_logits_are_an_error() {
        assert!(
            Sampler::new(drawing(), &[], 0)
                .next(vec![0.0, f32::NAN])
                .is_err()
        );
        assert!(Sampler::new(drawing(), &[], 0).next(vec![]).is_err());
    }

    /// Vigna's published reference output for seed 1234567.
    #[test]
    fn splitmix64_matches_its_reference() {
        let mut draws = SplitMix64(1_234_567);
        assert_eq!(draws.next(), 6_457_827_717_110_365_317);
        assert_eq!(draws.next(), 3_203_168_211_198_807_973);
    }

    proptest! {
        #[test]
        fn a_draw_is_one_of_the_top_k(
            logits in proptest::collection::vec(-9f32..9.0, 1..40), top_k in 1usize..50, top_p in 0.0f64..1.0, seed: u64,
        ) {
            let config = GenerationConfig { top_k, top_p, ..drawing() };
            let token = Sampler::new(config, &[], seed).next(logits.clone()).unwrap() as usize;
            let better = logits.iter().filter(|&&logit| logit > logits[token]).count();
            prop_assert!(better < top_k);
        }
    }
}
