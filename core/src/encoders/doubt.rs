//! How sure an answer is: with which probability each of its tokens was chosen, and what else could have stood where it
//! was least sure, or where it said that the model does not know.
//!
//! Probabilities are the model's own, a softmax of its logits: before a repetition penalty or a temperature.

/// The other tokens that are kept.
const RIVALS: usize = 3;

/// A token of an answer that is doubted: the least certain one.
#[derive(Debug, Clone, PartialEq)]
pub struct Doubt {
    /// Its place in the answer.
    pub(super) index: usize,
    /// Its probability, 0 to 1.
    pub(super) certainty: f32,
    /// The likeliest other tokens at that place and their probabilities, the likeliest first.
    pub(super) rivals: Vec<(u32, f32)>,
}

impl Doubt {
    /// Before the first token there is none.
    pub(super) fn none() -> Self {
        Self {
            index: 0,
            certainty: 1.0,
            rivals: vec![],
        }
    }

    /// Of an answer's first token, which is no longer allowed: the probabilities of its rivals are those without it.
    pub(super) fn of_first(token: u32, mut logits: Vec<f32>) -> Self {
        logits[token as usize] = f32::NEG_INFINITY;
        let mut doubt = Self::none();
        doubt.see(0, token, &logits);
        doubt
    }

    /// Sees which token was chosen at a place, and from which `logits` (without NaN).
    pub(super) fn see(&mut self, index: usize, token: u32, logits: &[f32]) {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = logits.iter().map(|logit| (logit - largest).exp()).sum();
        let probability = |token: u32| (logits[token as usize] - largest).exp() / sum;
        let certainty = probability(token);
        if certainty < self.certainty {
            *self = Self {
                index,
                certainty,
                rivals: rivals(token, logits)
                    .into_iter()
                    .map(|rival| (rival, probability(rival)))
                    .collect(),
            };
        }
    }
}

/// The tokens with the largest logits beside the chosen one, the largest first.
fn rivals(chosen: u32, logits: &[f32]) -> Vec<u32> {
    let mut best: Vec<u32> = Vec::with_capacity(RIVALS + 1);
    for (token, logit) in (0..).zip(logits) {
        let place = best.partition_point(|&other| logits[other as usize] >= *logit);
        if token != chosen && place < RIVALS {
            best.insert(place, token);
            best.truncate(RIVALS);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logits of these probabilities.
    fn logits(probabilities: &[f32]) -> Vec<f32> {
        probabilities
            .iter()
            .map(|&share| share.ln() + 3.0)
            .collect()
    }

    #[test]
    fn the_least_certain_token_and_its_rivals_are_kept() {
        let mut doubt = Doubt::none();
        doubt.see(0, 1, &logits(&[0.1, 0.9]));
        doubt.see(1, 2, &logits(&[0.2, 0.1, 0.4, 0.25, 0.05]));
        doubt.see(2, 0, &logits(&[0.7, 0.3]));
        assert_eq!(doubt.index, 1);
        assert!((doubt.certainty - 0.4).abs() < 1e-6);
        let tokens: Vec<u32> = doubt.rivals.iter().map(|&(token, _)| token).collect();
        assert_eq!(tokens, [3, 0, 1]);
        for (&(_, ours), expected) in doubt.rivals.iter().zip([0.25, 0.2, 0.1]) {
            assert!((ours - expected).abs() < 1e-6, "{ours} is not {expected}");
        }
    }

    #[test]
    fn a_token_that_was_drawn_may_have_a_likelier_rival() {
        let mut doubt = Doubt::none();
        doubt.see(0, 1, &logits(&[0.75, 0.25]));
        assert!((doubt.certainty - 0.25).abs() < 1e-6);
        assert!((doubt.rivals[0].1 - 0.75).abs() < 1e-6);
    }

    #[test]
    fn rivals_of_a_token_that_is_not_allowed_share_what_is_left() {
        let mut values = logits(&[0.03, 1.0, 0.01, 0.04]);
        values[1] += 60.0;
        let doubt = Doubt::of_first(1, values);
        assert_eq!((doubt.index, doubt.certainty), (0, 0.0));
        let tokens: Vec<u32> = doubt.rivals.iter().map(|&(token, _)| token).collect();
        assert_eq!(tokens, [3, 0, 2]);
        for (&(_, ours), expected) in doubt.rivals.iter().zip([0.5, 0.375, 0.125]) {
            assert!((ours - expected).abs() < 1e-6, "{ours} is not {expected}");
        }
    }

    #[test]
    fn large_logits_overflow_nothing() {
        let mut doubt = Doubt::none();
        doubt.see(0, 0, &[900.0, 900.0, f32::NEG_INFINITY]);
        assert_eq!(doubt.certainty, 0.5);
        assert_eq!(doubt.rivals, [(1, 0.5), (2, 0.0)]);
    }
}
