//! The right side: the blocks of a file, unpacked to panels of whole numbers.

use std::ops::Range;

use rayon::prelude::*;

use super::rounding::{COLUMNS, Panels, ROWS};
use crate::qmatmul::{BlockType, GROUP, Group, MOST_GROUPS};
use crate::vectorize::{Kernel, vectorize};

/// Rows of blocks in memory.
#[derive(Clone, Copy)]
pub(crate) struct Weights<'a> {
    /// `[rows, bytes of a row]`
    pub(crate) bytes: &'a [u8],
    pub(crate) block_type: BlockType,
    pub(crate) cols: usize,
}

impl<'a> Weights<'a> {
    pub(crate) fn rows(&self) -> usize {
        self.bytes.len() / self.row_bytes()
    }

    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    /// Groups along a row.
    pub(super) fn groups(&self) -> usize {
        self.cols / GROUP
    }

    /// The blocks of a row.
    #[inline(always)]
    pub(crate) fn row(&self, row: usize) -> &'a [u8] {
        &self.bytes[row * self.row_bytes()..][..self.row_bytes()]
    }

    fn row_bytes(&self) -> usize {
        self.cols / self.block_type.len() * self.block_type.bytes()
    }

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

/// Prefetches the cache line at `place`, which may be any address. The next rows lie in other pages of
/// memory, which the hardware does not prefetch: with q8_0 a tenth of the time was spent waiting for them.
#[inline(always)]
pub(super) fn prefetch(place: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint. It reads nothing, and a bad address has no effect.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(place.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
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
