//! The order of samples: a new one for every epoch, dealt to ranks, known from a seed and one number.

use x2i_core::{Error, Result};

use super::random::SplitMix64;

/// The step between the states of two epochs.
const EPOCH: u64 = 0xD134_2543_DE82_EF95;

/// The order in which one rank of a run takes samples. Sample `k` is a function of the seed, the number
/// of ranks, the rank and `k`: a run goes on from `k` alone.
#[derive(Debug, Clone)]
pub struct Order {
    samples: usize,
    seed: u64,
    world: usize,
    rank: usize,
    /// The epoch whose permutation is held.
    held: Option<(u64, Vec<usize>)>,
}

impl Order {
    /// The order of so many samples for one of `world` ranks.
    ///
    /// # Errors
    /// [`Error::Config`] when there is not a sample for every rank, or no such rank.
    pub fn new(samples: usize, seed: u64, world: usize, rank: usize) -> Result<Self> {
        if world == 0 || rank >= world {
            let reason = format!("rank {rank} is none of {world}");
            return Err(Error::config("data set", reason));
        }
        if samples < world {
            let reason = format!("has {samples} usable samples for {world} ranks; each needs one");
            return Err(Error::config("data set", reason));
        }
        Ok(Self {
            samples,
            seed,
            world,
            rank,
            held: None,
        })
    }

    /// Samples that this rank takes in an epoch. What does not divide among the ranks is left out of it.
    pub fn epoch_len(&self) -> usize {
        self.samples / self.world
    }

    /// The index of sample `k`, counted over all epochs.
    pub fn at(&mut self, k: u64) -> usize {
        let length = self.epoch_len() as u64;
        let (epoch, place) = (k / length, (k % length) as usize);
        if self.held.as_ref().is_none_or(|(held, _)| *held != epoch) {
            self.held = Some((epoch, permutation(self.samples, self.seed, epoch)));
        }
        let permutation = self.held.as_ref().map_or(&[][..], |(_, order)| order);
        permutation[self.rank + place * self.world]
    }
}

/// The permutation of an epoch (Fisher and Yates).
pub(super) fn permutation(samples: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut random = SplitMix64::new(seed.wrapping_add(epoch.wrapping_mul(EPOCH)));
    let mut order: Vec<usize> = (0..samples).collect();
    for last in (1..samples).rev() {
        let other = random.below(last as u64 + 1) as usize;
        order.swap(last, other);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_share_an_epoch_without_overlap_and_go_on_from_one_number() {
        let take = |rank: usize, from: u64| {
            let mut order = Order::new(11, 7, 3, rank).unwrap();
            (from..9).map(|k| order.at(k)).collect::<Vec<_>>()
        };
        let mut first: Vec<usize> = (0..3)
            .flat_map(|rank| take(rank, 0)[..3].to_vec())
            .collect();
        first.sort_unstable();
        first.dedup();
        assert_eq!(first.len(), 9);
        assert_eq!(take(1, 0)[5..], take(1, 5));
        // Going back is as good as going on.
        let mut order = Order::new(11, 7, 3, 1).unwrap();
        order.at(8);
        assert_eq!(order.at(0), take(1, 0)[0]);
    }

    #[test]
    fn fewer_samples_than_ranks_are_refused() {
        let error = Order::new(3, 0, 4, 0).unwrap_err().to_string();
        assert_eq!(
            error,
            "data set: has 3 usable samples for 4 ranks; each needs one"
        );
        assert!(Order::new(3, 0, 2, 2).is_err());
        assert!(Order::new(3, 0, 0, 0).is_err());
    }
}
