//! Attention on a processor that multiplies bf16: products of bf16, sums and softmax in f32.
//!
//! Queries are lanes (see [`x2i_cpu::lanes`]). The scores of 32 queries stand in columns, one row of lanes for each key,
//! so that the softmax runs down the columns, and its weights are, as they are rounded, the inputs of the second
//! product: nothing is turned around but values, once, and the output. Weights are divided by the sum of the rounded
//! ones. Left out: masks, which language models have; they compute in f32.

use std::ops::Range;

use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::tasks::{Task, tasks};
use crate::cpu::tensor;
use x2i_cpu::lanes::pair::{Pair, rounded_pair};
use x2i_cpu::lanes::{CHUNK, LANES, Lanes, Rows, Unit, add_groups};
use x2i_cpu::lines::interleave;
use x2i_cpu::vectorize::{Kernel, exp, vectorize};

/// Queries of a task: two groups.
const QUERIES: usize = 2 * LANES;

/// Attention of f32 tensors whose elements along `head_dim` are contiguous.
pub(super) fn attention<U: Unit<Step = Pair>>(
    unit: U,
    [q, k, v]: [&FlexTensor; 3],
    scale: f32,
) -> FlexTensor {
    let shape = q.layout().shape().clone();
    let (heads, q_tokens, head_dim) = (shape[1], shape[2], shape[3]);
    let kv_heads = k.layout().shape()[1];
    let sides: Vec<Sides> = (0..shape[0] * kv_heads)
        .into_par_iter()
        .map(|head| Sides::new(unit, [k, v].map(|tensor| Head::new(tensor, head))))
        .collect();
    let mut out = vec![0.0; shape.num_elements()];
    let tasks = tasks(&mut out, [heads, q_tokens, head_dim], QUERIES);
    tasks
        .into_par_iter()
        .for_each_init(Scratch::default, |scratch, task| {
            let Task {
                batch,
                head,
                first,
                out,
            } = task;
            let queries = Head::new(q, batch * heads + head);
            let sides = &sides[batch * kv_heads + head / (heads / kv_heads)];
            scratch.read(unit, &queries, first..first + out.len(), sides);
            let ready = unit.begin();
            scratch.score::<U>(&ready, sides);
            scratch.weigh(scale, sides);
            scratch.mix::<U>(&ready, sides);
            scratch.write(out);
        });
    let out = tensor(out, [shape[0], q_tokens, heads, head_dim]);
    out.transpose(1, 2) // [batch, heads, q_tokens, head_dim]
}

/// The rows of one head of a tensor `[batch, heads, tokens, head_dim]`.
struct Head<'a> {
    numbers: &'a [f32],
    start: usize,
    stride: isize,
    tokens: usize,
    head_dim: usize,
}

impl<'a> Head<'a> {
    /// Head `index`, counted over all batches.
    fn new(tensor: &'a FlexTensor, index: usize) -> Self {
        let (shape, strides) = (tensor.layout().shape(), tensor.layout().strides());
        let (batch, head) = (index / shape[1], index % shape[1]);
        let offset = batch as isize * strides[0] + head as isize * strides[1];
        Self {
            numbers: tensor.storage(),
            start: tensor.layout().start_offset().strict_add_signed(offset),
            stride: strides[2],
            tokens: shape[2],
            head_dim: shape[3],
        }
    }

    fn row(&self, token: usize) -> &[f32] {
        let start = self.start.strict_add_signed(token as isize * self.stride);
        &self.numbers[start..][..self.head_dim]
    }
}

/// Keys and values of a head as the two products read them, filled up with zeros to whole tiles.
struct Sides {
    /// `[keys, steps of head_dim]`
    keys: Vec<Pair>,
    /// Values transposed: `[head_dim, steps of keys]`
    values: Vec<Pair>,
    tokens: usize,
    /// Pairs along a key.
    key_steps: usize,
    /// Pairs along a channel of the values.
    value_steps: usize,
}

impl Sides {
    fn new<U: Unit<Step = Pair>>(unit: U, [k, v]: [Head<'_>; 2]) -> Self {
        let (tokens, head_dim) = (k.tokens, k.head_dim);
        let [key_steps, value_steps] =
            [head_dim, tokens].map(|numbers| numbers.div_ceil(2).next_multiple_of(U::DEPTH));
        let mut keys = vec![0; tokens.next_multiple_of(U::ROWS) * key_steps];
        for (token, out) in keys.chunks_exact_mut(key_steps).take(tokens).enumerate() {
            unit.round(k.row(token), out);
        }
        let mut pairs = vec![0; tokens.div_ceil(2) * head_dim];
        vectorize(Join {
            v: &v,
            out: &mut pairs,
        });
        let mut values = vec![0; head_dim.next_multiple_of(U::ROWS) * value_steps];
        let channels = values.chunks_exact_mut(value_steps).take(head_dim);
        let mut channels: Vec<&mut [Pair]> = channels.collect();
        let line = |pair: usize| &pairs[pair * head_dim..][..head_dim];
        interleave(line, tokens.div_ceil(2), &mut channels);
        Self {
            keys,
            values,
            tokens,
            key_steps,
            value_steps,
        }
    }
}

/// Rounds values to pairs of neighbouring tokens: `[pairs of tokens, head_dim]`.
struct Join<'a> {
    v: &'a Head<'a>,
    out: &'a mut [Pair],
}

impl Kernel for Join<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for (pair, out) in self.out.chunks_exact_mut(self.v.head_dim).enumerate() {
            let low = self.v.row(2 * pair);
            match 2 * pair + 1 < self.v.tokens {
                true => {
                    let high = self.v.row(2 * pair + 1);
                    for (out, (&low, &high)) in out.iter_mut().zip(low.iter().zip(high)) {
                        *out = rounded_pair(low, high);
                    }
                }
                false => {
                    for (out, &low) in out.iter_mut().zip(low) {
                        *out = rounded_pair(low, 0.0);
                    }
                }
            }
        }
    }
}

/// The buffers of a thread, for one group of queries or two.
#[derive(Default)]
struct Scratch {
    groups: usize,
    rounded: Vec<Pair>,
    /// `[groups, steps of head_dim]`
    queries: Vec<Lanes<Pair>>,
    /// `[groups, keys]`
    scores: Vec<Lanes<f32>>,
    /// `[groups, steps of keys]`
    weights: Vec<Lanes<Pair>>,
    /// The sum of the weights of each query.
    sums: [[f32; LANES]; 2],
    /// `[groups, head_dim]`
    mixed: Vec<Lanes<f32>>,
}

impl Scratch {
    /// Packs some queries.
    fn read<U: Unit<Step = Pair>>(
        &mut self,
        unit: U,
        queries: &Head<'_>,
        tokens: Range<usize>,
        sides: &Sides,
    ) {
        let steps = sides.key_steps;
        self.groups = tokens.len().div_ceil(LANES);
        self.queries.clear();
        self.queries.resize(self.groups * steps, Lanes([0; LANES]));
        self.rounded.resize(LANES * steps, 0);
        for (group, lanes) in self.queries.chunks_exact_mut(steps).enumerate() {
            let first = tokens.start + group * LANES;
            let count = LANES.min(tokens.end - first);
            for (row, out) in self.rounded.chunks_exact_mut(steps).take(count).enumerate() {
                unit.round(queries.row(first + row), out);
            }
            interleave(|row| &self.rounded[row * steps..][..steps], count, lanes);
        }
    }

    /// Makes the scores of all keys.
    fn score<U: Unit<Step = Pair>>(&mut self, ready: &U::Ready, sides: &Sides) {
        let rows = sides.keys.len() / sides.key_steps;
        zero(&mut self.scores, self.groups * rows);
        let inputs: Vec<_> = self.queries.chunks_exact(sides.key_steps).collect();
        let keys = Rows {
            weights: &sides.keys,
            stride: sides.key_steps,
            rows,
        };
        add_groups::<U>(ready, keys, &inputs, &mut self.scores);
    }

    /// Makes weights of the scores.
    fn weigh(&mut self, scale: f32, sides: &Sides) {
        zero(&mut self.weights, self.groups * sides.value_steps);
        let rows = self.scores.len() / self.groups;
        let groups = self.scores.chunks_exact_mut(rows).zip(&mut self.sums);
        let weights = self.weights.chunks_exact_mut(sides.value_steps);
        for ((scores, sums), weights) in groups.zip(weights) {
            let scores = &mut scores[..sides.tokens];
            *sums = vectorize(Softmax {
                scores,
                weights,
                scale,
            });
        }
    }

    /// Mixes the values.
    fn mix<U: Unit<Step = Pair>>(&mut self, ready: &U::Ready, sides: &Sides) {
        let rows = sides.values.len() / sides.value_steps;
        zero(&mut self.mixed, self.groups * rows);
        for start in (0..sides.value_steps).step_by(CHUNK) {
            let steps = start..sides.value_steps.min(start + CHUNK);
            let groups = self.weights.chunks_exact(sides.value_steps);
            let inputs: Vec<_> = groups.map(|group| &group[steps.clone()]).collect();
            let values = Rows {
                weights: &sides.values[start..],
                stride: sides.value_steps,
                rows,
            };
            add_groups::<U>(ready, values, &inputs, &mut self.mixed);
        }
    }

    /// Writes the mixed values of each query, divided by the sum of their weights.
    fn write(&mut self, mut out: Vec<&mut [f32]>) {
        let rows = self.mixed.len() / self.groups;
        let groups = self.mixed.chunks_exact_mut(rows).zip(&self.sums);
        for ((mixed, sums), out) in groups.zip(out.chunks_mut(LANES)) {
            vectorize(Divide { mixed, sums });
            let (head_dim, lanes) = (out[0].len(), out.len());
            interleave(|channel| &mixed[channel].0[..lanes], head_dim, out);
        }
    }
}

fn zero<T: bytemuck::Zeroable + Copy>(lanes: &mut Vec<Lanes<T>>, count: usize) {
    lanes.clear();
    lanes.resize(count, Lanes([T::zeroed(); LANES]));
}

/// Writes `exp(score · scale - max)` of each lane in pairs, and gives the sums.
struct Softmax<'a> {
    /// `[keys]`
    scores: &'a mut [Lanes<f32>],
    /// `[steps of keys]`, zeros.
    weights: &'a mut [Lanes<Pair>],
    scale: f32,
}

impl Kernel for Softmax<'_> {
    type Output = [f32; LANES];

    #[inline(always)]
    fn call(self) -> [f32; LANES] {
        let mut max = [f32::MIN; LANES];
        for scores in self.scores.iter_mut() {
            for (score, max) in scores.0.iter_mut().zip(&mut max) {
                *score *= self.scale;
                *max = if *score > *max { *score } else { *max };
            }
        }
        for scores in self.scores.iter_mut() {
            for (score, max) in scores.0.iter_mut().zip(&max) {
                *score = exp(*score - max);
            }
        }
        let mut sums = [0.0; LANES];
        let (pairs, last) = self.scores.as_chunks::<2>();
        let last = last.first().map(|last| [*last, Lanes([0.0; LANES])]);
        for (scores, out) in pairs.iter().chain(&last).zip(self.weights) {
            let lanes = scores[0].0.iter().zip(&scores[1].0).zip(&mut out.0);
            for (((&low, &high), out), sum) in lanes.zip(&mut sums) {
                *out = rounded_pair(low, high);
                let [low, high] = [*out << 16, *out & 0xffff_0000].map(f32::from_bits);
                *sum += low + high;
            }
        }
        sums
    }
}

/// Divides each lane by its sum.
struct Divide<'a> {
    mixed: &'a mut [Lanes<f32>],
    sums: &'a [f32; LANES],
}

impl Kernel for Divide<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let inverses = self.sums.map(f32::recip);
        for mixed in self.mixed {
            for (mixed, inverse) in mixed.0.iter_mut().zip(&inverses) {
                *mixed *= inverse;
            }
        }
    }
}

#[cfg(test)]
mod tests;
