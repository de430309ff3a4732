//! The left side: rows of f32, rounded and packed into lanes.

use std::ops::Range;

use rayon::prelude::*;

use super::unit::{LANES, Lanes, Unit};
use crate::lines::interleave;

/// Packed rows. A last group that is not full has zeros.
pub(super) struct Inputs<S> {
    /// Steps along a row.
    steps: usize,
    /// `[groups, steps]`
    lanes: Vec<Lanes<S>>,
}

impl<S: bytemuck::Pod + Send + Sync> Inputs<S> {
    /// Rounds `x [rows, cols]`.
    pub(super) fn new<U: Unit<Step = S>>(unit: U, x: &[f32], cols: usize) -> Self {
        let steps = steps::<U>(cols);
        let groups = (x.len() / cols).div_ceil(LANES);
        let mut lanes = vec![Lanes([S::zeroed(); LANES]); groups * steps];
        let groups = lanes
            .par_chunks_exact_mut(steps)
            .zip(x.par_chunks(LANES * cols));
        groups.for_each_init(Vec::new, |rounded, (lanes, x)| {
            rounded.clear();
            rounded.resize(x.len() / cols * steps, S::zeroed());
            for (x, out) in x.chunks_exact(cols).zip(rounded.chunks_exact_mut(steps)) {
                unit.round(x, out);
            }
            interleave(
                |row| &rounded[row * steps..][..steps],
                x.len() / cols,
                lanes,
            );
        });
        Self { steps, lanes }
    }

    /// Steps along a row, a multiple of the unit's depth.
    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    /// Some steps of a group.
    pub(super) fn group(&self, group: usize, steps: Range<usize>) -> &[Lanes<S>] {
        &self.lanes[group * self.steps..][steps]
    }
}

/// Steps of a row of `cols` numbers.
fn steps<U: Unit>(cols: usize) -> usize {
    cols.div_ceil(U::NUMBERS).next_multiple_of(U::DEPTH)
}
