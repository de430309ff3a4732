//! A packed f32 matrix product for the browser, whose vectors have four lanes and no fused multiply-add.
//!
//! There it is a third faster than the GEMM of burn-flex. Native targets use that one; they run this file
//! only in its tests.
//!
//! After Goto and van de Geijn, "Anatomy of high-performance matrix multiplication" (2008): both sides are
//! packed into panels, which the inner loop ([`tile`]) reads front to back. Left lines are shared among threads, where
//! the page has some; each sum has the same order with any number of them.

use std::ops::Range;

use burn::tensor::{Bytes, DType, Shape};
use burn_flex::{FlexTensor, Layout};
use rayon::prelude::*;
use x2i_cpu::lines::interleave;
use x2i_cpu::tile::{self, LEFT, RIGHT};

/// Inner elements of a panel. A panel of the right side has 16 kB and stays in the first-level cache.
const DEPTH: usize = 512;

/// Left lines packed at a time. They have 1 MB and stay in the second-level cache.
const LINES: usize = 512;

/// One side of a product. Its lines run along the inner dimension: rows on the left, columns on the right.
pub(crate) trait Lines: Sync {
    /// The number of lines.
    fn count(&self) -> usize;

    /// Packs the elements `inner` of `W` lines from `first` on, interleaved: `panel [inner, W]`.
    ///
    /// The caller fills `panel` with zeros where there are fewer lines; those zeros stay.
    fn pack<const W: usize>(&self, first: usize, inner: Range<usize>, panel: &mut [[f32; W]]);
}

/// Lines in memory.
pub(crate) struct Strided<'a> {
    pub(crate) values: &'a [f32],
    /// The index of the first element of the first line.
    pub(crate) start: usize,
    pub(crate) count: usize,
    /// Elements from a line to the next.
    pub(crate) line_stride: isize,
    /// Elements from an element of a line to the next.
    pub(crate) inner_stride: isize,
}

impl<'a> Strided<'a> {
    /// The lines along `inner_axis` of a matrix of f32.
    pub(crate) fn new(matrix: &'a FlexTensor, inner_axis: usize) -> Self {
        let layout = matrix.layout();
        Self {
            values: matrix.storage(),
            start: layout.start_offset(),
            count: layout.shape()[1 - inner_axis],
            line_stride: layout.strides()[1 - inner_axis],
            inner_stride: layout.strides()[inner_axis],
        }
    }

    /// The index of element `inner` of `line`.
    fn place(&self, line: usize, inner: usize) -> usize {
        let offset = line as isize * self.line_stride + inner as isize * self.inner_stride;
        self.start.strict_add_signed(offset)
    }
}

impl Lines for Strided<'_> {
    fn count(&self) -> usize {
        self.count
    }

    fn pack<const W: usize>(&self, first: usize, inner: Range<usize>, panel: &mut [[f32; W]]) {
        let width = W.min(self.count - first);
        if self.inner_stride == 1 {
            let line = |lane| &self.values[self.place(first + lane, inner.start)..][..inner.len()];
            interleave(line, width, panel);
        } else if self.line_stride == 1 {
            for (inner, out) in inner.zip(panel) {
                out[..width].copy_from_slice(&self.values[self.place(first, inner)..][..width]);
            }
        } else {
            for (inner, out) in inner.zip(panel) {
                for (lane, out) in out[..width].iter_mut().enumerate() {
                    *out = self.values[self.place(first + lane, inner)];
                }
            }
        }
    }
}

/// `left · rightᵀ + bias`: `[left lines, right lines]`. A sum has `inner` terms.
pub(crate) fn product(
    left: &impl Lines,
    right: &impl Lines,
    inner: usize,
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let (rows, columns) = (left.count(), right.count());
    let mut out = match bias {
        Some(bias) => bias.repeat(rows),
        None => vec![0.0; rows * columns],
    };
    if out.is_empty() {
        return out;
    }
    let share = rows
        .div_ceil(rayon::current_num_threads())
        .next_multiple_of(LEFT);
    out.par_chunks_mut(share * columns)
        .enumerate()
        .for_each(|(task, out)| add_products(left, task * share, right, inner, out));
    out
}

/// Adds the products of left lines from `first` on to `out [some left lines, right lines]`.
fn add_products(
    left: &impl Lines,
    first: usize,
    right: &impl Lines,
    inner: usize,
    out: &mut [f32],
) {
    let columns = right.count();
    let rows = out.len() / columns;
    let depth = DEPTH.min(inner);
    let mut left_panels = vec![[0.0; LEFT]; LINES.min(rows).div_ceil(LEFT) * depth];
    let mut right_panel = vec![[0.0; RIGHT]; depth];
    for inner_start in (0..inner).step_by(DEPTH) {
        let inner = inner_start..inner.min(inner_start + DEPTH);
        let right_panel = &mut right_panel[..inner.len()];
        for block in (0..rows).step_by(LINES) {
            let tiles = (block..rows.min(block + LINES)).step_by(LEFT);
            for (row, panel) in tiles.clone().zip(left_panels.chunks_exact_mut(inner.len())) {
                fill(left, first + row, inner.clone(), panel);
            }
            for column in (0..columns).step_by(RIGHT) {
                fill(right, column, inner.clone(), right_panel);
                for (row, panel) in tiles.clone().zip(left_panels.chunks_exact(inner.len())) {
                    let sums = tile::sums(panel, right_panel);
                    let width = RIGHT.min(columns - column);
                    let out = out[row * columns..].chunks_mut(columns);
                    for (out, sums) in out.zip(&sums) {
                        for (out, sum) in out[column..][..width].iter_mut().zip(sums) {
                            *out += sum;
                        }
                    }
                }
            }
        }
    }
}

fn fill<const W: usize>(
    side: &impl Lines,
    first: usize,
    inner: Range<usize>,
    panel: &mut [[f32; W]],
) {
    if first + W > side.count() {
        panel.fill([0.0; W]);
    }
    side.pack(first, inner, panel);
}

/// `left [rows, inner]` times `right [inner, columns]`, views of f32, by the faster GEMM of this target.
pub(crate) fn matmul(left: FlexTensor, right: FlexTensor) -> FlexTensor {
    if !cfg!(target_family = "wasm") {
        return burn_flex::ops::matmul::matmul(left, right);
    }
    let [rows, inner] = [left.layout().shape()[0], left.layout().shape()[1]];
    let columns = right.layout().shape()[1];
    let out = product(
        &Strided::new(&left, 1),
        &Strided::new(&right, 0),
        inner,
        None,
    );
    let layout = Layout::contiguous(Shape::new([rows, columns]));
    FlexTensor::new(Bytes::from_elems(out), layout, DType::F32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;

    /// f32 sums over up to 1100 terms in another order.
    const TOLERANCE: f32 = 3e-6;

    fn values(count: usize, seed: usize) -> Vec<f32> {
        let value = |i: usize| ((i * 7919 + seed * 104_729) % 1999) as f32 / 999.5 - 1.0;
        (0..count).map(value).collect()
    }

    #[track_caller]
    fn assert_close(found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        let largest = expected.iter().fold(0.0, |max: f32, x| max.max(x.abs()));
        for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert!(
                (found - expected).abs() <= TOLERANCE * largest,
                "element {i} is {found}, the reference has {expected}"
            );
        }
    }

    #[test]
    fn it_matches_the_reference_on_odd_sizes_and_beyond_one_panel() {
        for [rows, inner, columns] in [
            [1, 1, 1],
            [4, 8, 8],
            [3, 5, 7],
            [5, 513, 9],
            [LINES + 3, 6, 17],
            [2, 2 * DEPTH + 70, 3],
        ] {
            let (x, weight) = (values(rows * inner, 1), values(columns * inner, 2));
            let bias = values(columns, 3);
            let lines = |values, count| Strided {
                values,
                start: 0,
                count,
                line_stride: inner as isize,
                inner_stride: 1,
            };
            let (left, right) = (lines(&x, rows), lines(&weight, columns));
            let found = product(&left, &right, inner, Some(&bias));
            let expected = reference::linear(&x, &weight, Some(&bias), inner);
            assert_close(&found, &expected);
            let found = product(&left, &right, inner, None);
            assert_close(&found, &reference::linear(&x, &weight, None, inner));
        }
    }

    #[test]
    fn strides_of_any_sign_are_followed() {
        // The same 6 x 10 lines: in rows, in columns, every second element, and backwards.
        let (count, inner) = (6, 10);
        let plain = values(count * inner, 1);
        let element = |line: usize, i: usize| plain[line * inner + i];
        let mut columns = vec![0.0; count * inner];
        let mut spread = vec![9.0; 2 * count * inner];
        for line in 0..count {
            for i in 0..inner {
                columns[i * count + line] = element(line, i);
                spread[2 * (line * inner + i)] = element(line, i);
            }
        }
        let backwards: Vec<f32> = plain.iter().rev().copied().collect();
        let other = values(3 * inner, 2);
        let right = Strided {
            values: &other,
            start: 0,
            count: 3,
            line_stride: inner as isize,
            inner_stride: 1,
        };
        let expected = reference::linear(&plain, &other, None, inner);
        let (i, c) = (inner as isize, count as isize);
        for (values, start, line_stride, inner_stride) in [
            (&plain, 0, i, 1),
            (&columns, 0, 1, c),
            (&spread, 0, 2 * i, 2),
            (&backwards, count * inner - 1, -i, -1),
        ] {
            let left = Strided {
                values,
                start,
                count,
                line_stride,
                inner_stride,
            };
            assert_close(&product(&left, &right, inner, None), &expected);
        }
    }
}
