//! The right side: blocks, unpacked to panels of whole numbers.

use std::ops::Range;

use rayon::prelude::*;

use super::blocks::{Weights, prefetch};
use super::rounding::{COLUMNS, Panels, ROWS};
use crate::formats::{Group, MOST_GROUPS};
use crate::vectorize::{Kernel, vectorize};

impl Weights<'_> {
    /// Unpacks rows to `[panels, groups]`.
    pub(super) fn unpack<R: Panels>(
        &self,
        rounding: &R,
        rows: Range<usize>,
        panels: &mut Vec<R::WeightGroup>,
    ) {
        let groups = self.groups();
        panels.resize(rows.len().div_ceil(COLUMNS) * groups, R::NO_WEIGHTS);
        let panels = panels.par_chunks_exact_mut(groups).enumerate();
        panels.for_each(|(index, panel)| {
            let first = rows.start + index * COLUMNS;
            let rows = first..rows.end.min(first + COLUMNS);
            if !rounding.unpack_panel(self, rows.clone(), panel) {
                self.unpack_plainly(rounding, rows, panel);
            }
        });
    }

    /// Unpacks the rows of one panel.
    pub(super) fn unpack_plainly<R: Panels>(
        &self,
        rounding: &R,
        rows: Range<usize>,
        panel: &mut [R::WeightGroup],
    ) {
        vectorize(Unpack {
            rounding,
            weights: *self,
            rows,
            panel,
        });
    }
}

/// The rows of one panel.
struct Unpack<'a, R: Panels> {
    rounding: &'a R,
    weights: Weights<'a>,
    rows: Range<usize>,
    panel: &'a mut [R::WeightGroup],
}

impl<R: Panels> Kernel for Unpack<'_, R> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let block_type = self.weights.block_type;
        let (bytes, groups) = (block_type.bytes(), block_type.groups());
        let mut unpacked = [[Group::<R::Quant>::ZERO; MOST_GROUPS]; ROWS];
        for first in (0..self.rows.len()).step_by(ROWS) {
            // Beyond the last row the last row repeats; the sums of the copies are not read.
            let row = |i: usize| {
                self.weights
                    .row(self.rows.end.min(self.rows.start + first + i + 1) - 1)
            };
            let rows: [&[u8]; ROWS] = std::array::from_fn(row);
            for (block, panel) in self.panel.chunks_exact_mut(groups).enumerate() {
                for (row, unpacked) in rows.iter().zip(&mut unpacked) {
                    block_type.unpack(&row[block * bytes..], unpacked);
                    prefetch(row.as_ptr().wrapping_add(block * bytes + ROWS * row.len()));
                }
                for (group, panel) in panel.iter_mut().enumerate() {
                    let rows = unpacked.each_ref().map(|row| &row[group]);
                    self.rounding.pack_weights(rows, first, panel);
                }
            }
        }
    }
}
