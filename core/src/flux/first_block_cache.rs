//! First-block caching: where the first block does nearly what it did in an earlier step, the step takes
//! what all later blocks added then.
//!
//! Source: diffusers' `FirstBlockCacheConfig` (`hooks/first_block_cache.py`), after ParaAttention. A step
//! is compared with the last one that ran all blocks, not with the step before it. Left out: the text
//! stream, which diffusers keeps too, since the last layer does not read it; and models without double
//! blocks, whose steps all run. A control differs: its additions are part of what the later blocks added,
//! and are not added again as in diffusers.

use burn::tensor::Tensor;

use crate::error::Result;

/// What one picture keeps from step to step; another picture needs another one.
#[derive(Debug)]
pub struct FirstBlockCache {
    threshold: f64,
    kept: Option<Kept>,
    running: Option<Running>,
    skipped: usize,
}

/// The last step that ran all blocks; each tensor is `[batch, image tokens, hidden]`.
#[derive(Debug)]
struct Kept {
    /// What the first block added to the image stream.
    first: Tensor<3>,
    /// What the later blocks added to it.
    rest: Tensor<3>,
}

/// A step whose later blocks run; each tensor is `[batch, image tokens, hidden]`.
#[derive(Debug)]
struct Running {
    /// What the first block added to the image stream.
    first: Tensor<3>,
    /// The image stream after it.
    img: Tensor<3>,
}

impl FirstBlockCache {
    /// Later blocks are skipped where what the first block adds has changed, in the mean of absolute
    /// values, by at most `threshold` of itself (0.05 is diffusers' default).
    pub fn new(threshold: f64) -> Self {
        Self {
            threshold,
            kept: None,
            running: None,
            skipped: 0,
        }
    }

    /// The steps so far in which the first block alone ran.
    pub fn skipped_steps(&self) -> usize {
        self.skipped
    }

    /// The most bytes that it holds for a picture of so many tokens, beside what blocks hold.
    pub(crate) fn byte_len(hidden: usize, image_tokens: usize) -> u64 {
        // Two kept tensors, and the first block's input or output.
        3 * hidden as u64 * image_tokens as u64 * size_of::<f32>() as u64
    }

    /// After the first block, which made `after` of `before`: the image stream as it is after the last
    /// block, if all but the first are skipped. All are `[batch, image tokens, hidden]`. Waits for the
    /// device.
    pub(super) async fn skip(
        &mut self,
        before: Tensor<3>,
        after: &Tensor<3>,
    ) -> Result<Option<Tensor<3>>> {
        let first = after.clone() - before;
        if let Some(kept) = &self.kept {
            let change =
                mean_abs(first.clone() - kept.first.clone()) / mean_abs(kept.first.clone());
            // Like diffusers, an undefined change is none: 0 / 0 where the block adds nothing.
            let has_changed = number(change).await? > self.threshold;
            if !has_changed {
                self.skipped += 1;
                return Ok(Some(after.clone() + kept.rest.clone()));
            }
        }
        self.kept = None; // its memory is for the blocks that run now
        let img = after.clone();
        self.running = Some(Running { first, img });
        Ok(None)
    }

    /// Keeps a step that ran all blocks; `img` is the image stream after the last.
    pub(super) fn keep(&mut self, img: Tensor<3>) {
        let running = self.running.take();
        self.kept = running.map(|step| Kept {
            first: step.first,
            rest: img - step.img,
        });
    }
}

/// The mean of absolute values, `[1]`. Row by row: a plain sum of millions of f32 would lose the small ones.
fn mean_abs(x: Tensor<3>) -> Tensor<1> {
    let rows = x.abs().mean_dim(2); // [batch, image tokens, 1]
    rows.mean_dim(1).mean()
}

async fn number(x: Tensor<1>) -> Result<f64> {
    let data = x.into_data_async().await?;
    Ok(data.iter::<f64>().next().unwrap_or(f64::NAN))
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    /// One token of two channels.
    fn tokens(values: [f32; 2]) -> Tensor<3> {
        Tensor::<1>::from_floats(values, &Device::flex()).reshape([1, 1, 2])
    }

    /// A step in which the first block adds `first` to zeros and the later ones would add `rest`: whether
    /// they are skipped, and the image stream after it.
    fn step(cache: &mut FirstBlockCache, first: [f32; 2], rest: [f32; 2]) -> (bool, Vec<f32>) {
        let after = tokens(first);
        let skipped = pollster::block_on(cache.skip(tokens([0.0; 2]), &after));
        let (skips, img) = match skipped.expect("a decision") {
            Some(img) => (true, img),
            None => {
                let img = after + tokens(rest);
                cache.keep(img.clone());
                (false, img)
            }
        };
        (skips, img.into_data().try_to_vec().expect("f32 data"))
    }

    #[test]
    fn a_step_is_compared_with_the_last_that_ran_all_blocks() {
        let mut cache = FirstBlockCache::new(0.25);
        let mut step = |first, rest| step(&mut cache, first, rest);
        assert_eq!(step([4.0, 4.0], [1.0, 2.0]), (false, vec![5.0, 6.0]));
        // 1 of 8 differs, then 3 of 8: the second is far from the first step, and near its own neighbour.
        assert_eq!(step([4.0, 5.0], [9.0, 9.0]), (true, vec![5.0, 7.0]));
        assert_eq!(step([4.0, 7.0], [3.0, 3.0]), (false, vec![7.0, 10.0]));
        assert_eq!(step([4.0, 7.5], [9.0, 9.0]), (true, vec![7.0, 10.5]));
        assert_eq!(cache.skipped_steps(), 2);
    }

    #[test]
    fn a_change_of_the_threshold_itself_skips() {
        let mut cache = FirstBlockCache::new(0.25);
        step(&mut cache, [4.0, 4.0], [0.0; 2]);
        assert!(step(&mut cache, [4.0, 6.0], [0.0; 2]).0);
        assert!(!step(&mut cache, [4.0, 6.001], [0.0; 2]).0);
    }

    #[test]
    fn at_a_threshold_of_zero_only_equal_steps_skip() {
        let mut cache = FirstBlockCache::new(0.0);
        step(&mut cache, [1.0, 2.0], [0.0; 2]);
        assert!(step(&mut cache, [1.0, 2.0], [0.0; 2]).0);
        assert!(!step(&mut cache, [1.0, 2.000_001], [0.0; 2]).0);
    }

    #[test]
    fn a_block_that_adds_nothing_twice_has_not_changed() {
        let mut cache = FirstBlockCache::new(0.1);
        step(&mut cache, [0.0; 2], [1.0, 1.0]);
        assert_eq!(
            step(&mut cache, [0.0; 2], [9.0, 9.0]),
            (true, vec![1.0, 1.0])
        );
        assert!(
            !step(&mut cache, [0.0, 1e-20], [0.0; 2]).0,
            "any change of 0 is infinite"
        );
    }

    #[test]
    fn the_mean_of_millions_of_small_numbers_is_right_to_four_digits() {
        let many = Tensor::<3>::full([1, 4096, 3072], -0.1, &Device::flex());
        let mean = pollster::block_on(number(mean_abs(many))).expect("a number");
        assert!((mean - 0.1).abs() < 1e-5, "{mean}");
    }
}
