//! The left side: rows of f32, rounded to whole numbers and packed.

use std::array::from_fn;

use rayon::prelude::*;

use super::rounding::{CHUNK, ROWS, Rounding};
use crate::formats::GROUP;
use crate::vectorize::{Kernel, fold, vectorize};

/// Packed rows. A last tile that is not full repeats its last row; the sums of the copies are not read.
pub(super) struct Inputs<R: Rounding> {
    /// Groups along a row.
    groups: usize,
    /// `[row tiles, groups]`
    numbers: Vec<R::InputGroup>,
    /// `[row tiles, chunks]`: an input is its number times the scale.
    scales: Vec<[f32; ROWS]>,
}

impl<R: Rounding> Inputs<R> {
    /// Rounds `x [rows, cols]`, where `cols` is a multiple of 32.
    pub(super) fn new(rounding: &R, x: &[f32], cols: usize) -> Self {
        let (rows, groups) = (x.len() / cols, cols / GROUP);
        let (tiles, chunks) = (rows.div_ceil(ROWS), groups.div_ceil(CHUNK));
        let mut numbers = vec![R::NO_INPUTS; tiles * groups];
        let mut scales = vec![[0.0; ROWS]; tiles * chunks];
        (x.par_chunks(ROWS * cols))
            .zip(numbers.par_chunks_exact_mut(groups))
            .zip(scales.par_chunks_exact_mut(chunks))
            .for_each(|((x, numbers), scales)| {
                vectorize(Pack {
                    rounding,
                    x,
                    cols,
                    numbers,
                    scales,
                });
            });
        Self {
            groups,
            numbers,
            scales,
        }
    }

    /// The numbers and the scales of one chunk of four rows.
    pub(super) fn tile(&self, tile: usize, chunk: usize) -> (&[R::InputGroup], &[f32; ROWS]) {
        let groups = chunk * CHUNK..self.groups.min((chunk + 1) * CHUNK);
        let chunks = self.groups.div_ceil(CHUNK);
        (
            &self.numbers[tile * self.groups..][groups],
            &self.scales[tile * chunks + chunk],
        )
    }
}

/// Up to four rows of one tile.
struct Pack<'a, R: Rounding> {
    rounding: &'a R,
    /// `[rows, cols]`
    x: &'a [f32],
    cols: usize,
    numbers: &'a mut [R::InputGroup],
    scales: &'a mut [[f32; ROWS]],
}

impl<R: Rounding> Kernel for Pack<'_, R> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let last = self.x.len() / self.cols - 1;
        let chunks = self.numbers.chunks_mut(CHUNK).zip(self.scales);
        for (chunk, (numbers, scales)) in chunks.enumerate() {
            let (first, length) = (chunk * CHUNK * GROUP, numbers.len() * GROUP);
            let rows = from_fn(|row| &self.x[row.min(last) * self.cols + first..][..length]);
            *scales = self.rounding.pack_inputs(rows, numbers);
        }
    }
}

/// The scale by which the largest magnitude of `x` becomes `largest`, and its inverse, which is 0 for zeros.
///
/// The scale is NaN where a number is not finite, so that the rounding does not hide it.
#[inline(always)]
pub(super) fn scale(x: &[f32], largest: f32) -> (f32, f32) {
    let magnitude = fold(x, 0.0, |max, x| if x.abs() > max { x.abs() } else { max });
    let poison = fold(x, 0.0, |sum, x| sum + x * 0.0);
    let scale = magnitude / largest;
    let inverse = if scale < f32::MIN_POSITIVE {
        0.0
    } else {
        scale.recip()
    };
    (scale + poison, inverse)
}
