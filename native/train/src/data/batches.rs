//! Batches of one size each, from an epoch's order: samples wait for others of their bucket.

use x2i_core::{Error, Result};

use super::dataset::Dataset;
use super::order::permutation;

/// A sample at one of the resolutions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// The sample's index.
    pub sample: usize,
    /// The resolution's place in the run's list.
    pub resolution: usize,
}

/// The views of a run and the bucket of each.
#[derive(Debug, Clone)]
pub struct Batches {
    views: Vec<View>,
    buckets: Vec<usize>,
    batch: usize,
    seed: u64,
    world: usize,
    rank: usize,
    held: Option<(u64, Vec<Vec<usize>>)>,
}

impl View {
    /// Every sample as often as its source says, at every resolution.
    pub fn all(set: &Dataset, resolutions: usize) -> Vec<Self> {
        let samples = (0..set.len()).flat_map(|sample| {
            let times = set.repeats(sample);
            std::iter::repeat_n(sample, times)
        });
        let views = samples
            .flat_map(|sample| (0..resolutions).map(move |resolution| Self { sample, resolution }));
        views.collect()
    }
}

impl Batches {
    /// Batches of `batch` views for one of `world` ranks; `bucket` is the same number for views of one
    /// size.
    ///
    /// # Errors
    /// [`Error::Config`] when an epoch would have no batch for every rank, or there is no such rank.
    pub fn new(
        views: Vec<View>,
        bucket: impl Fn(&View) -> usize,
        batch: usize,
        seed: u64,
        [world, rank]: [usize; 2],
    ) -> Result<Self> {
        if rank >= world {
            let reason = format!("rank {rank} is none of {world}");
            return Err(Error::config("data set", reason));
        }
        let mut batches = Self {
            buckets: views.iter().map(bucket).collect(),
            views,
            batch: batch.max(1),
            seed,
            world,
            rank,
            held: None,
        };
        let first = batches.of_epoch(0).len();
        match first >= world {
            true => Ok(batches),
            false => {
                let reason = format!("gives {first} batches for {world} ranks; each needs one");
                Err(Error::config("data set", reason))
            }
        }
    }

    /// Batches that this rank takes in an epoch.
    pub fn epoch_len(&mut self) -> usize {
        self.of_epoch(0).len() / self.world
    }

    /// Batch `k` of this rank, counted over all epochs. Those at an epoch's end may be smaller: no view is
    /// left out but where batches do not divide among the ranks.
    pub fn at(&mut self, k: u64) -> Vec<View> {
        let length = self.epoch_len() as u64;
        let (epoch, place) = (k / length, (k % length) as usize);
        let at = self.rank + place * self.world;
        let batch = self.of_epoch(epoch)[at].clone();
        batch.into_iter().map(|view| self.views[view]).collect()
    }

    /// The batches of an epoch: as many in each, since every bucket has as many views in each.
    fn of_epoch(&mut self, epoch: u64) -> &[Vec<usize>] {
        if self.held.as_ref().is_none_or(|(held, _)| *held != epoch) {
            let order = permutation(self.views.len(), self.seed, epoch);
            self.held = Some((epoch, gather(&order, &self.buckets, self.batch)));
        }
        self.held.as_ref().map_or(&[], |(_, batches)| batches)
    }
}

/// Views in batches of one bucket each. A batch stands where it became full; what is left over comes last.
fn gather(order: &[usize], buckets: &[usize], batch: usize) -> Vec<Vec<usize>> {
    let mut waiting: std::collections::BTreeMap<usize, Vec<usize>> = Default::default();
    let mut batches = vec![];
    for &view in order {
        let queue = waiting.entry(buckets[view]).or_default();
        queue.push(view);
        if queue.len() == batch {
            batches.push(std::mem::take(queue));
        }
    }
    batches.extend(waiting.into_values().filter(|queue| !queue.is_empty()));
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn views(count: usize) -> Vec<View> {
        (0..count)
            .map(|sample| View {
                sample,
                resolution: 0,
            })
            .collect()
    }

    fn batches(rank: usize, world: usize) -> Batches {
        Batches::new(views(23), |view| view.sample % 3, 4, 5, [world, rank]).unwrap()
    }

    #[test]
    fn every_view_is_taken_once_in_batches_of_one_bucket() {
        for epoch in 0..3 {
            let mut all = batches(0, 1);
            let length = all.epoch_len() as u64;
            let mut taken = vec![];
            for k in epoch * length..(epoch + 1) * length {
                let batch = all.at(k);
                assert!(batch.len() <= 4);
                assert!(
                    batch
                        .iter()
                        .all(|view| view.sample % 3 == batch[0].sample % 3)
                );
                taken.extend(batch.into_iter().map(|view| view.sample));
            }
            taken.sort_unstable();
            assert_eq!(taken, (0..23).collect::<Vec<_>>());
        }
    }

    #[test]
    fn ranks_take_other_batches_and_go_on_from_one_number() {
        let (mut first, mut second, mut whole) = (batches(0, 2), batches(1, 2), batches(0, 1));
        for k in 0..first.epoch_len() as u64 {
            assert_eq!(first.at(k), whole.at(2 * k));
            assert_eq!(second.at(k), whole.at(2 * k + 1));
        }
        let late = first.at(9);
        assert_eq!(batches(0, 2).at(9), late);
    }

    #[test]
    fn fewer_batches_than_ranks_are_refused() {
        let error = Batches::new(views(4), |_| 0, 4, 0, [2, 0]).unwrap_err();
        let said = "data set: gives 1 batches for 2 ranks; each needs one";
        assert_eq!(error.to_string(), said);
        assert!(Batches::new(views(4), |_| 0, 4, 0, [1, 1]).is_err());
    }
}
