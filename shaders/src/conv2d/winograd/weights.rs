//! The first step, once for all pictures: the transform of the weights.

use rayon::prelude::*;

use super::sizes::{POINTS, ROWS};
use crate::conv2d::transform::{IN, weights};
use x2i_cpu::vectorize::{Kernel, vectorize};

/// Transforms `weight [output, input, 3, 3]` to the points: `[output / ROWS, POINTS, input][ROWS]`.
pub(crate) fn pack(weight: &[f32], input: usize, output: usize) -> Vec<[f32; ROWS]> {
    let mut packed = vec![[0.0; ROWS]; output.div_ceil(ROWS) * POINTS * input];
    packed
        .par_chunks_exact_mut(POINTS * input)
        .zip(weight.par_chunks(ROWS * input * 9))
        .for_each(|(packed, weight)| {
            vectorize(Weights {
                weight,
                input,
                packed,
            })
        });
    packed
}

struct Weights<'a> {
    /// The weights of at most [`ROWS`] output channels.
    weight: &'a [f32],
    input: usize,
    packed: &'a mut [[f32; ROWS]],
}

impl Kernel for Weights<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for (row, weight) in self.weight.chunks_exact(self.input * 9).enumerate() {
            let (filters, _) = weight.as_chunks::<9>();
            for (channel, filter) in filters.iter().enumerate() {
                let (taps, _) = filter.as_chunks::<3>();
                let rows: [[f32; IN]; 3] = std::array::from_fn(|y| weights(taps[y]));
                for column in 0..IN {
                    let points = weights(rows.map(|row| row[column]));
                    for (y, point) in points.into_iter().enumerate() {
                        self.packed[(y * IN + column) * self.input + channel][row] = point;
                    }
                }
            }
        }
    }
}
