//! The left side: rows of f32, rounded to whole numbers and packed.

use rayon::prelude::*;

use super::CHUNK;
use super::tile::{InputGroup, ROWS};
use crate::qmatmul::GROUP;
use crate::vectorize::{Kernel, fold, vectorize};

/// Adding 1.5 · 2^23 rounds to a whole number, which the low bits then hold.
const ROUND: f32 = 12_582_912.0;

/// Packed rows. What lies beyond the last row of a tile is zero.
pub(crate) struct Inputs {
    rows: usize,
    /// Groups along a row.
    groups: usize,
    /// `[row tiles, groups]`
    numbers: Vec<InputGroup>,
    /// `[row tiles, chunks]`: what a number 1 stands for.
    scales: Vec<[f32; ROWS]>,
}

impl Inputs {
    /// Rounds `x [rows, cols]` so that 32 products with weights up to `largest_quant` fit an i32.
    ///
    /// `cols` is a multiple of 32. A chunk of a row that holds an infinity or NaN counts as NaN.
    pub(crate) fn new(x: &[f32], cols: usize, largest_quant: i16) -> Self {
        let (rows, groups) = (x.len() / cols, cols / GROUP);
        let (tiles, chunks) = (rows.div_ceil(ROWS), groups.div_ceil(CHUNK));
        let mut numbers = vec![InputGroup::ZERO; tiles * groups];
        let mut scales = vec![[0.0; ROWS]; tiles * chunks];
        let largest = i32::MAX / (GROUP as i32 * i32::from(largest_quant));
        let largest = largest.min(i32::from(i16::MAX)) as f32;
        (x.par_chunks(ROWS * cols))
            .zip(numbers.par_chunks_exact_mut(groups))
            .zip(scales.par_chunks_exact_mut(chunks))
            .for_each(|((x, numbers), scales)| {
                vectorize(Pack {
                    x,
                    cols,
                    largest,
                    numbers,
                    scales,
                });
            });
        Self {
            rows,
            groups,
            numbers,
            scales,
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// One chunk of four rows: their numbers, and what 1 stands for.
    pub(super) fn tile(&self, tile: usize, chunk: usize) -> (&[InputGroup], &[f32; ROWS]) {
        let groups = chunk * CHUNK..self.groups.min((chunk + 1) * CHUNK);
        let chunks = self.groups.div_ceil(CHUNK);
        (
            &self.numbers[tile * self.groups..][groups],
            &self.scales[tile * chunks + chunk],
        )
    }
}

/// Up to four rows of one tile.
struct Pack<'a> {
    /// `[rows, cols]`
    x: &'a [f32],
    cols: usize,
    /// The largest whole number.
    largest: f32,
    numbers: &'a mut [InputGroup],
    scales: &'a mut [[f32; ROWS]],
}

impl Kernel for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let rows = self.x.len() / self.cols;
        // Beyond the last row it is packed again; nobody reads those sums.
        let rows: [&[f32]; ROWS] =
            std::array::from_fn(|row| &self.x[row.min(rows - 1) * self.cols..][..self.cols]);
        let chunks = self.numbers.chunks_mut(CHUNK).zip(self.scales);
        for (chunk, (numbers, scales)) in chunks.enumerate() {
            let first = chunk * CHUNK * GROUP;
            let rows = rows.map(|x| &x[first..][..numbers.len() * GROUP]);
            let mut inverses = [0.0; ROWS];
            for ((x, scale), inverse) in rows.iter().zip(scales).zip(&mut inverses) {
                let magnitude = fold(x, 0.0, |max, x| if x.abs() > max { x.abs() } else { max });
                // 0, or NaN where a number is not finite.
                let poison = fold(x, 0.0, |sum, x| sum + x * 0.0);
                let step = magnitude / self.largest;
                *scale = step + poison;
                *inverse = if step < f32::MIN_POSITIVE {
                    0.0
                } else {
                    step.recip()
                };
            }
            for (group, out) in numbers.iter_mut().enumerate() {
                let mut rounded = [[0; GROUP]; ROWS];
                for ((rounded, x), inverse) in rounded.iter_mut().zip(rows).zip(inverses) {
                    let x = &x.as_chunks::<GROUP>().0[group];
                    for (rounded, x) in rounded.iter_mut().zip(x) {
                        *rounded = (x * inverse + ROUND).to_bits() as i16;
                    }
                }
                out.set(&rounded);
            }
        }
    }
}
