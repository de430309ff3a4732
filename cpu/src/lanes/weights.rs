//! The right side: weight rows where they lie, or a block of them in a buffer.

use std::ops::Range;

use bytemuck::Pod;
use half::bf16;

use super::unit::Unit;
use crate::widen::Half;

/// The rows of a weight, in steps.
pub trait WeightRows<S>: Sync {
    /// All rows one after the other, where they lie in whole steps.
    fn in_place(&self) -> Option<Placed<'_, S>>;

    /// Writes steps of a row from `first` on, zeros behind its end.
    fn copy(&self, row: usize, first: usize, out: &mut [S]);
}

/// Rows that lie in memory as they are multiplied.
#[derive(Debug, Clone, Copy)]
pub struct Placed<'a, S> {
    /// `[rows, row_steps]`
    steps: &'a [S],
    row_steps: usize,
}

/// Some steps of some weight rows.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a, S> {
    /// From the first of the steps of the first row on.
    pub weights: &'a [S],
    /// Steps from a row to the next.
    pub stride: usize,
    /// A multiple of the unit's rows.
    pub rows: usize,
}

impl<'a, S: Pod> Rows<'a, S> {
    /// The block in place, or in `buffer` where it is not whole tiles.
    pub(super) fn read<U: Unit<Step = S>>(
        weight: &'a (impl WeightRows<S> + ?Sized),
        rows: Range<usize>,
        steps: Range<usize>,
        buffer: &'a mut Vec<S>,
    ) -> Self {
        if let Some(placed) = weight.in_place()
            && rows.len().is_multiple_of(U::ROWS)
            && steps.end <= placed.row_steps
        {
            return Self {
                weights: &placed.steps[rows.start * placed.row_steps + steps.start..],
                stride: placed.row_steps,
                rows: rows.len(),
            };
        }
        let stride = steps.len();
        let padded = rows.len().next_multiple_of(U::ROWS);
        buffer.resize(padded * stride, S::zeroed());
        for (row, out) in buffer.chunks_exact_mut(stride).enumerate() {
            match row < rows.len() {
                true => weight.copy(rows.start + row, steps.start, out),
                false => out.fill(S::zeroed()),
            }
        }
        Self {
            weights: buffer,
            stride,
            rows: padded,
        }
    }
}

/// bf16 in pairs, the first in the low bits.
#[derive(Debug, Clone, Copy)]
pub struct Pairs<'a> {
    /// `[rows, cols]`
    pub weight: &'a [bf16],
    /// Numbers of a row.
    pub cols: usize,
}

impl WeightRows<u32> for Pairs<'_> {
    fn in_place(&self) -> Option<Placed<'_, u32>> {
        let even = self.cols.is_multiple_of(2);
        let steps = even.then(|| bytemuck::try_cast_slice(self.weight).ok());
        steps.flatten().map(|steps| Placed {
            steps,
            row_steps: self.cols / 2,
        })
    }

    fn copy(&self, row: usize, first: usize, out: &mut [u32]) {
        let row = &self.weight[row * self.cols..][..self.cols];
        let row = row.get(2 * first..).unwrap_or_default();
        let out: &mut [bf16] = bytemuck::cast_slice_mut(out);
        let filled = row.len().min(out.len());
        out[..filled].copy_from_slice(&row[..filled]);
        out[filled..].fill(bf16::ZERO);
    }
}

/// f32 as they are.
#[derive(Debug, Clone, Copy)]
pub struct Floats<'a> {
    /// `[rows, cols]`
    pub weight: &'a [f32],
    /// Numbers of a row.
    pub cols: usize,
}

impl WeightRows<f32> for Floats<'_> {
    fn in_place(&self) -> Option<Placed<'_, f32>> {
        Some(Placed {
            steps: self.weight,
            row_steps: self.cols,
        })
    }

    fn copy(&self, row: usize, first: usize, out: &mut [f32]) {
        out.copy_from_slice(&self.weight[row * self.cols + first..][..out.len()]);
    }
}

/// Weights of 16 bits that become f32.
#[derive(Debug, Clone, Copy)]
pub struct Widened<'a, H> {
    /// `[rows, cols]`
    pub weight: &'a [H],
    /// Numbers of a row.
    pub cols: usize,
}

impl<H: Half> WeightRows<f32> for Widened<'_, H> {
    fn in_place(&self) -> Option<Placed<'_, f32>> {
        None
    }

    fn copy(&self, row: usize, first: usize, out: &mut [f32]) {
        H::widen(&self.weight[row * self.cols + first..][..out.len()], out);
    }
}
