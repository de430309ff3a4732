//! Products of many input rows on the CPU, whose weights are read where they lie.
//!
//! The lanes of a vector are 16 input rows, packed once for a product. Each number of a weight row, or each pair of
//! them, is multiplied with all lanes: it is broadcast as it is loaded, so that weights need no packing and no copy.
//! The sums of a tile are turned around once, when they are complete. A weight that a [`Unit`] can't multiply as it is
//! (f16, or bf16 in f32) is widened a block at a time, 96 rows of one [`CHUNK`], into the second-level cache.
//!
//! A sum runs along a row in one order, whatever the number of threads. Left out: few rows, which are bound by
//! reading the weight; and processors without AVX2, which use the GEMM of burn-flex.

pub mod bfloat;
pub mod float;
pub mod halves;
mod inputs;
pub mod pair;
pub mod tiles;
mod unit;
mod weights;

#[cfg(test)]
mod tests;

use rayon::prelude::*;

use crate::lines::interleave;
use inputs::Inputs;
pub use unit::{LANES, Lanes, Unit};
pub use weights::{Floats, Pairs, Rows, WeightRows, Widened};

/// Weight rows of a task: a multiple of every unit's rows. Of one chunk they are 200 kB, which stay in the
/// second-level cache for all inputs of the task.
const BLOCK: usize = 96;

/// Steps along a row that a tile adds at a time: 64 kB of inputs, which all tiles of a block read one after the other.
pub const CHUNK: usize = 512;

/// Most input rows of a task, whose sums are 200 kB.
const MOST_ROWS: usize = 512;

/// Tasks of a thread, at least, where the product is large enough: the last ones end at about the same time.
const TASKS: usize = 4;

/// `x [m, cols]` times `weight [rows, cols]` transposed, plus `bias [rows]`: `[m, rows]`. Nothing is empty.
pub fn product<U: Unit>(
    unit: U,
    x: &[f32],
    weight: &(impl WeightRows<U::Step> + ?Sized),
    [rows, cols]: [usize; 2],
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let m = x.len() / cols;
    let inputs = Inputs::new(unit, x, cols);
    let mut out = vec![0.0; m * rows];
    let tasks = tasks(&mut out, rows, task_rows(m, rows));
    tasks
        .into_par_iter()
        .for_each_init(Scratch::default, |scratch, task| {
            let columns = task.first_column..task.first_column + task.out[0].len();
            add_products(unit, &inputs, weight, &task, scratch);
            write(&scratch.sums, task.out, bias.map(|bias| &bias[columns]));
        });
    out
}

/// Input rows of a task: fewer where few weight rows would leave threads idle.
fn task_rows(m: usize, rows: usize) -> usize {
    let parts = (TASKS * rayon::current_num_threads()).div_ceil(rows.div_ceil(BLOCK));
    m.div_ceil(parts).next_multiple_of(2 * LANES).min(MOST_ROWS)
}

/// A part of the output.
struct Task<'a> {
    first_row: usize,
    first_column: usize,
    /// The columns of each row.
    out: Vec<&'a mut [f32]>,
}

/// Cuts `out [m, rows]` into [`BLOCK`]s of columns and parts of `task_rows` rows, block after block.
fn tasks(out: &mut [f32], rows: usize, task_rows: usize) -> Vec<Task<'_>> {
    let parts = (out.len() / rows).div_ceil(task_rows);
    let mut tasks: Vec<_> = (0..rows.div_ceil(BLOCK) * parts)
        .map(|task| Task {
            first_row: task % parts * task_rows,
            first_column: task / parts * BLOCK,
            out: Vec::with_capacity(task_rows),
        })
        .collect();
    for (row, out) in out.chunks_exact_mut(rows).enumerate() {
        for (block, out) in out.chunks_mut(BLOCK).enumerate() {
            tasks[block * parts + row / task_rows].out.push(out);
        }
    }
    tasks
}

/// The buffers of a thread.
struct Scratch<S> {
    /// `[groups, BLOCK]`
    sums: Vec<Lanes<f32>>,
    /// Weights that could not be read where they lie.
    weights: Vec<S>,
}

impl<S> Default for Scratch<S> {
    fn default() -> Self {
        Self {
            sums: Vec::new(),
            weights: Vec::new(),
        }
    }
}

/// Makes the sums of a task.
fn add_products<U: Unit>(
    unit: U,
    inputs: &Inputs<U::Step>,
    weight: &(impl WeightRows<U::Step> + ?Sized),
    task: &Task<'_>,
    scratch: &mut Scratch<U::Step>,
) {
    let ready = unit.begin();
    let rows = task.first_column..task.first_column + task.out[0].len();
    let first = task.first_row / LANES;
    let groups = first..first + task.out.len().div_ceil(LANES);
    scratch.sums.clear();
    scratch
        .sums
        .resize(groups.len() * BLOCK, Lanes([0.0; LANES]));
    for start in (0..inputs.steps()).step_by(CHUNK) {
        let steps = start..inputs.steps().min(start + CHUNK);
        let block = Rows::read::<U>(weight, rows.clone(), steps.clone(), &mut scratch.weights);
        let mut sums = scratch.sums.chunks_mut(2 * BLOCK);
        for group in groups.clone().step_by(2) {
            let sums = sums.next().expect("sums of every group");
            let first = inputs.group(group, steps.clone());
            match group + 1 < groups.end {
                true => {
                    let second = inputs.group(group + 1, steps.clone());
                    add_groups::<U>(&ready, block, &[first, second], sums);
                }
                false => add_groups::<U>(&ready, block, &[first], sums),
            }
        }
    }
}

/// Adds the products of weight rows with one group of inputs or two to `sums [groups, rows]`, where more than `rows`
/// may lie between the groups.
pub fn add_groups<U: Unit>(
    ready: &U::Ready,
    weights: Rows<'_, U::Step>,
    inputs: &[&[Lanes<U::Step>]],
    sums: &mut [Lanes<f32>],
) {
    let Rows {
        weights,
        stride,
        rows,
    } = weights;
    let tiles = (0..rows).step_by(U::ROWS).map(|row| row..row + U::ROWS);
    match *inputs {
        [first, second] => {
            let (sums, more) = sums.split_at_mut(sums.len() / 2);
            tiles.for_each(|tile| {
                let weights = &weights[tile.start * stride..];
                let sums = [&mut sums[tile.clone()], &mut more[tile]];
                U::add(ready, weights, stride, [first, second], sums);
            });
        }
        [first] => tiles.for_each(|tile| {
            let weights = &weights[tile.start * stride..];
            U::add(ready, weights, stride, [first], [&mut sums[tile]]);
        }),
        _ => unreachable!("a tile has one group of inputs or two"),
    }
}

/// Writes sums, a row of lanes for each column, to the columns of each row.
fn write(sums: &[Lanes<f32>], mut out: Vec<&mut [f32]>, bias: Option<&[f32]>) {
    for (sums, out) in sums.chunks_exact(BLOCK).zip(out.chunks_mut(LANES)) {
        let width = out[0].len();
        let lanes = out.len();
        interleave(|column| &sums[column].0[..lanes], width, out);
        for out in out {
            for (out, bias) in out.iter_mut().zip(bias.unwrap_or_default()) {
                *out += bias;
            }
        }
    }
}
