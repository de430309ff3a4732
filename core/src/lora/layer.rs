//! All changes of one layer on the device.
//!
//! `y = r ∘ (W x) + up (down x) + other terms + b`: `r` is there for DoRA alone. Products of two factors are never
//! multiplied out.

use std::ops::Range;

use burn::tensor::{Device, Tensor, TensorData};
use x2i_shaders::{largest_buffer, linear};

use crate::weights::rows_at_once;

use super::factors::{Factors, Kron, LowRank, Right};
use super::trained::{self, TrainedPair};

/// The changes of one layer's matrix on the device, their strengths included.
#[derive(Debug, Clone, Default)]
pub(crate) struct LayerChange {
    low_rank: Option<Pair>,
    terms: Vec<Term>,
    /// What the matrix's own outputs are multiplied by, `[out]`.
    row_scale: Option<Tensor<1>>,
    /// Those that are trained, in the order of their rows.
    trained: Vec<TrainedPair>,
}

/// All low-rank changes together.
#[derive(Debug, Clone)]
struct Pair {
    down: Tensor<2>, // [rank, in]
    up: Tensor<2>,   // [out, rank]
}

/// A product that is added to some of the layer's outputs.
#[derive(Debug, Clone)]
struct Term {
    rows: Range<usize>,
    product: Product,
    /// What the product is multiplied by, `[rows]`.
    gain: Option<Tensor<1>>,
}

#[derive(Debug, Clone)]
enum Product {
    /// `[rows, in]`.
    Dense(Tensor<2>),
    Kron {
        left: Tensor<2>,       // [a, c]
        right: Vec<Tensor<2>>, // [b, d], or [rank, d] and [b, rank]
        /// The outputs that are taken.
        rows: Range<usize>,
    },
}

impl LayerChange {
    /// Adds a change that is trained.
    pub fn train(&mut self, pair: TrainedPair) {
        self.trained.push(pair);
        self.trained.sort_by_key(TrainedPair::start);
    }

    /// The change of some rows of the layer's matrix.
    pub fn rows(self, rows: Range<usize>) -> Self {
        let (terms, trained) = (self.terms.into_iter(), self.trained.into_iter());
        Self {
            trained: trained.filter_map(|pair| pair.rows_of(&rows)).collect(),
            low_rank: self.low_rank.map(|pair| Pair {
                up: pair.up.slice([rows.clone()]),
                ..pair
            }),
            terms: terms.filter_map(|term| term.rows_of(&rows)).collect(),
            row_scale: self.row_scale.map(|scale| scale.slice([rows])),
        }
    }

    /// The changed layer's outputs for `x` `[rows, in]`: `[rows, out]`. `product` is that of its matrix, to which
    /// it adds the bias that it is given.
    pub fn apply(
        &self,
        x: Tensor<2>,
        bias: Option<Tensor<1>>,
        product: impl Fn(Tensor<2>, Option<Tensor<1>>) -> Tensor<2>,
    ) -> Tensor<2> {
        if !self.trained.is_empty() {
            let frozen = |x, bias| self.apply_frozen(x, bias, &product);
            return trained::apply(&self.trained, x, bias, frozen);
        }
        self.apply_frozen(x, bias, &product)
    }

    fn apply_frozen(
        &self,
        x: Tensor<2>,
        bias: Option<Tensor<1>>,
        product: &impl Fn(Tensor<2>, Option<Tensor<1>>) -> Tensor<2>,
    ) -> Tensor<2> {
        let low_rank = self.low_rank.as_ref().map(|pair| {
            let down = linear(x.clone(), pair.down.clone(), None);
            linear(down, pair.up.clone(), None)
        });
        let mut y = match &self.row_scale {
            None => product(x.clone(), bias),
            Some(scale) => {
                let y = product(x.clone(), None) * scale.clone().unsqueeze::<2>();
                match bias {
                    Some(bias) => y + bias.unsqueeze::<2>(),
                    None => y,
                }
            }
        };
        if let Some(low_rank) = low_rank {
            y = y + low_rank;
        }
        for term in &self.terms {
            let all = 0..y.dims()[0];
            let place = [all, term.rows.clone()];
            let sum = y.clone().slice(place.clone()) + term.forward(x.clone());
            y = match term.rows.len() == y.dims()[1] {
                true => sum,
                false => y.slice_assign(place, sum),
            };
        }
        y
    }
}

impl Term {
    /// The part of it that changes these rows, counted from their first one.
    fn rows_of(self, wanted: &Range<usize>) -> Option<Self> {
        let (start, end) = (
            self.rows.start.max(wanted.start),
            self.rows.end.min(wanted.end),
        );
        if start >= end {
            return None;
        }
        let inner = start - self.rows.start..end - self.rows.start;
        Some(Self {
            rows: start - wanted.start..end - wanted.start,
            gain: self.gain.map(|gain| gain.slice([inner.clone()])),
            product: match self.product {
                Product::Dense(matrix) => Product::Dense(matrix.slice([inner])),
                Product::Kron { left, right, rows } => Product::Kron {
                    left,
                    right,
                    rows: rows.start + inner.start..rows.start + inner.end,
                },
            },
        })
    }

    /// `[n, in]` -> `[n, rows]`.
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let y = match &self.product {
            Product::Dense(matrix) => linear(x, matrix.clone(), None),
            Product::Kron { left, right, rows } => kron(x, left, right, rows.clone()),
        };
        match &self.gain {
            Some(gain) => y * gain.clone().unsqueeze::<2>(),
            None => y,
        }
    }
}

/// Some `rows` of the product of `x` `[n, c d]` with the Kronecker product of `[a, c]` and `[b, d]`: the columns
/// of `x` are a matrix `[c, d]`, and each factor takes one of its axes.
fn kron(x: Tensor<2>, left: &Tensor<2>, right: &[Tensor<2>], rows: Range<usize>) -> Tensor<2> {
    let (n, [_, c]) = (x.dims()[0], left.dims());
    let d = x.dims()[1] / c;
    let b = right.last().map_or(d, |right| right.dims()[0]);
    // Rows of the left factor that the wanted ones come from.
    let (first, last) = (rows.start / b, rows.end.div_ceil(b));
    let a = last - first;
    let left = left.clone().narrow(0, first, a); // [a, c]
    let by_right = |x: Tensor<3>| {
        let [n, m, d] = x.dims();
        let x = x.reshape([n * m, d]);
        let y = right
            .iter()
            .fold(x, |x, right| linear(x, right.clone(), None));
        y.reshape([n, m, b])
    }; // [n, m, d] -> [n, m, b]
    let by_left = |x: Tensor<3>| {
        let [n, _, m] = x.dims();
        let x = x.swap_dims(1, 2).reshape([n * m, c]);
        let y = linear(x, left.clone(), None);
        y.reshape([n, m, a]).swap_dims(1, 2)
    }; // [n, c, m] -> [n, a, m]
    let x = x.reshape([n, c, d]);
    // The order of the smaller sums in between.
    let y = match c * b <= a * d {
        true => by_left(by_right(x)),
        false => by_right(by_left(x)),
    }; // [n, a, b]
    let y = y.reshape([n, a * b]);
    match rows.start == first * b && rows.len() == a * b {
        true => y,
        false => y.slice([0..n, rows.start - first * b..rows.end - first * b]),
    }
}

/// How much of a change counts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Gain<'a> {
    All(f32),
    /// For each row.
    Rows(&'a [f32]),
}

impl Gain<'_> {
    fn apply(self, values: &mut [f32], rows: usize) {
        let columns = (values.len() / rows.max(1)).max(1);
        for (row, values) in values.chunks_exact_mut(columns).enumerate() {
            let gain = match self {
                Self::All(gain) => gain,
                Self::Rows(gains) => gains[row],
            };
            for value in values {
                *value *= gain;
            }
        }
    }
}

/// The changes of one layer while they are read.
pub(super) struct Sum<'a> {
    pub device: &'a Device,
    /// `[out, in]` of the layer's matrix.
    pub shape: [usize; 2],
    pairs: Vec<(Range<usize>, LowRank)>,
    terms: Vec<Term>,
    row_scale: Option<Vec<f32>>,
}

impl<'a> Sum<'a> {
    pub fn new(shape: [usize; 2], device: &'a Device) -> Self {
        Self {
            device,
            shape,
            pairs: vec![],
            terms: vec![],
            row_scale: None,
        }
    }

    /// Adds a change of some rows.
    pub fn add(&mut self, factors: Factors, rows: Range<usize>, gain: Gain<'_>) {
        match factors {
            Factors::LowRank(mut pair) => {
                gain.apply(&mut pair.up, rows.len());
                self.pairs.push((rows, pair));
            }
            Factors::Kron(kron) => self.add_kron(kron, rows, gain),
            Factors::Dense(mut values) => {
                gain.apply(&mut values, rows.len());
                let input = self.shape[1];
                for part in parts(rows.clone(), input, self.device) {
                    let from = part.start - rows.start..part.end - rows.start;
                    let values = &values[from.start * input..from.end * input];
                    self.add_dense(part, matrix(values.to_vec(), input, self.device));
                }
            }
        }
    }

    /// Adds a dense change of some rows.
    pub fn add_dense(&mut self, rows: Range<usize>, matrix: Tensor<2>) {
        self.terms.push(Term {
            rows,
            product: Product::Dense(matrix),
            gain: None,
        });
    }

    /// Adds to what the matrix's own outputs are multiplied by, which is one.
    pub fn add_row_scale(&mut self, rows: Range<usize>, more: impl Iterator<Item = f32>) {
        let out = self.shape[0];
        let scale = self.row_scale.get_or_insert_with(|| vec![1.0; out]);
        for (scale, more) in scale[rows].iter_mut().zip(more) {
            *scale += more;
        }
    }

    fn add_kron(&mut self, kron: Kron, rows: Range<usize>, gain: Gain<'_>) {
        let ([_, c], [_, d]) = (kron.left_shape, kron.right_shape);
        let mut left = kron.left;
        let gain = match gain {
            Gain::All(gain) => {
                left.iter_mut().for_each(|value| *value *= gain);
                None
            }
            Gain::Rows(gains) => Some(Tensor::from_data(gains, self.device)),
        };
        let right = match kron.right {
            Right::Whole(right) => vec![matrix(right, d, self.device)],
            Right::Product(LowRank { rank, up, down }) => {
                vec![matrix(down, d, self.device), matrix(up, rank, self.device)]
            }
        };
        let product = Product::Kron {
            left: matrix(left, c, self.device),
            right,
            rows: 0..rows.len(),
        };
        self.terms.push(Term {
            rows,
            product,
            gain,
        });
    }

    /// All of them on the device.
    pub fn finish(self) -> LayerChange {
        let ([out, input], device) = (self.shape, self.device);
        let rank: usize = self.pairs.iter().map(|(_, pair)| pair.rank).sum();
        let mut down = Vec::with_capacity(rank * input);
        let mut up = vec![0.0; out * rank];
        let mut column = 0;
        for (rows, pair) in self.pairs {
            down.extend(pair.down);
            for (row, values) in rows.zip(pair.up.chunks_exact(pair.rank)) {
                up[row * rank + column..][..pair.rank].copy_from_slice(values);
            }
            column += pair.rank;
        }
        LayerChange {
            low_rank: (rank > 0).then(|| Pair {
                down: matrix(down, input, device),
                up: matrix(up, rank, device),
            }),
            terms: self.terms,
            row_scale: self
                .row_scale
                .map(|scale| Tensor::from_data(scale.as_slice(), device)),
            trained: vec![],
        }
    }
}

/// A matrix of so many columns on the device.
pub(super) fn matrix(values: Vec<f32>, columns: usize, device: &Device) -> Tensor<2> {
    let rows = values.len() / columns.max(1);
    Tensor::from_data(TensorData::new(values, [rows, columns]), device)
}

/// Rows in parts that the device can bind.
pub(super) fn parts(
    rows: Range<usize>,
    columns: usize,
    device: &Device,
) -> impl Iterator<Item = Range<usize>> + use<> {
    let at_once = rows_at_once(largest_buffer(device), rows.len(), columns);
    let end = rows.end;
    rows.step_by(at_once)
        .map(move |start| start..(start + at_once).min(end))
}
