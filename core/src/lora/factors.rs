//! A change's numbers on the host, in the order of our rows.
//!
//! All are f32; sums inside small products are f64. Left out: the strength, and DoRA (`dora`).

use std::ops::Range;

use crate::error::{Error, Result};
use crate::weights::names::lora::Rows;

use super::Lora;
use super::kinds::{Change, Factor, Form, Kind, Product};
use super::message::short;

/// A change of rows of a matrix, alpha / rank included.
pub(super) enum Factors {
    /// `up down`.
    LowRank(LowRank),
    /// The Kronecker product of two matrices.
    Kron(Kron),
    /// `[rows, columns]`.
    Dense(Vec<f32>),
}

/// A pair of matrices.
pub(super) struct LowRank {
    pub rank: usize,
    /// `[rows, rank]`.
    pub up: Vec<f32>,
    /// `[rank, columns]`.
    pub down: Vec<f32>,
}

/// A left factor `[a, c]` and a right one `[b, d]` of `[a b, c d]`.
pub(super) struct Kron {
    pub left_shape: [usize; 2],
    pub left: Vec<f32>,
    pub right_shape: [usize; 2],
    pub right: Right,
}

/// The right factor.
pub(super) enum Right {
    /// `[b, d]`.
    Whole(Vec<f32>),
    /// `[b, rank]` times `[rank, d]`.
    Product(LowRank),
}

impl Lora {
    /// Reads a change of a matrix of this shape.
    pub(super) async fn factors(&self, change: &Change, shape: [usize; 2]) -> Result<Factors> {
        let rows = change.place.rows;
        let mut factors = match (&change.kind, change.form(shape)) {
            (Kind::Pair(pair), _) => Factors::LowRank(self.product(pair).await?),
            (Kind::Hadamard(first, second), Form::LowRank(_)) => {
                let (first, second) = (self.product(first).await?, self.product(second).await?);
                Factors::LowRank(hadamard(&first, &second, change.kind.shape()))
            }
            (Kind::Hadamard(first, second), _) => {
                let (first, second) = (self.product(first).await?, self.product(second).await?);
                let columns = change.kind.shape()[1];
                let mut all = multiply(&first, columns);
                for (value, other) in all.iter_mut().zip(multiply(&second, columns)) {
                    *value *= other;
                }
                Factors::Dense(all)
            }
            (Kind::Whole(whole), _) => Factors::Dense(self.read(&whole.key).await?),
            (Kind::Kron { left, right }, form) => {
                let kron = self.kron(left, right).await?;
                match form {
                    Form::Kron => Factors::Kron(kron),
                    _ => Factors::Dense(kron.rows(0..change.kind.shape()[0])),
                }
            }
        };
        factors.scale(change.scale);
        Ok(factors.in_our_order(rows, shape))
    }

    async fn kron(&self, left: &Factor, right: &Factor) -> Result<Kron> {
        let left_values = match left {
            Factor::Whole(whole) => self.read(&whole.key).await?,
            Factor::Product(product) => multiply(&self.product(product).await?, product.shape[1]),
        };
        Ok(Kron {
            left_shape: left.shape(),
            left: left_values,
            right_shape: right.shape(),
            right: match right {
                Factor::Whole(whole) => Right::Whole(self.read(&whole.key).await?),
                Factor::Product(product) => Right::Product(self.product(product).await?),
            },
        })
    }

    /// Reads a product, its core multiplied into its left half.
    async fn product(&self, product: &Product) -> Result<LowRank> {
        let ([rows, _], rank) = (product.shape, product.rank);
        let down = self.read(&product.right).await?;
        let left = self.read(&product.left).await?;
        let inner = left.len() / rows.max(1);
        let left = match product.is_left_transposed {
            true => transpose(&left, inner),
            false => left,
        };
        let up = match &product.core {
            None => left,
            Some(core) => {
                let core = LowRank {
                    rank: inner,
                    up: left,
                    down: self.read(core).await?,
                };
                multiply(&core, rank)
            }
        };
        Ok(LowRank { rank, up, down })
    }

    /// Reads a tensor, whose pages are given back.
    ///
    /// # Errors
    /// For a number that is not finite: it would make every pixel black.
    pub(super) async fn read(&self, key: &str) -> Result<Vec<f32>> {
        let values = self.file.read(key).await?.to_f32();
        self.file.release(key);
        match values.iter().all(|value| value.is_finite()) {
            true => Ok(values),
            false => Err(Error::format(
                self.name(),
                format!("tensor `{}` holds a number that is not finite", short(key)),
            )),
        }
    }
}

impl Factors {
    fn scale(&mut self, scale: f32) {
        let values = match self {
            Self::LowRank(pair) => &mut pair.up,
            Self::Kron(kron) => &mut kron.left,
            Self::Dense(values) => values,
        };
        for value in values {
            *value *= scale;
        }
    }

    /// The rows of a file in the order of ours.
    fn in_our_order(self, rows: Rows, shape: [usize; 2]) -> Self {
        if rows != Rows::HalvesSwapped {
            return self;
        }
        let reorder = |values: Vec<f32>| {
            let columns = values.len() / shape[0].max(1);
            let mut ours = vec![0.0; values.len()];
            for (row, values) in rows.of(shape).zip(values.chunks_exact(columns.max(1))) {
                ours[row * columns..][..columns].copy_from_slice(values);
            }
            ours
        };
        match self {
            Self::LowRank(pair) => Self::LowRank(LowRank {
                up: reorder(pair.up),
                ..pair
            }),
            Self::Dense(values) => Self::Dense(reorder(values)),
            Self::Kron(kron) => Self::Kron(kron),
        }
    }
}

impl Kron {
    /// Some rows of the product, `[rows, c d]`.
    pub fn rows(&self, rows: Range<usize>) -> Vec<f32> {
        let ([_, c], [b, d]) = (self.left_shape, self.right_shape);
        let whole;
        let right = match &self.right {
            Right::Whole(right) => right,
            Right::Product(product) => {
                whole = multiply(product, d);
                &whole
            }
        };
        let row = |row: usize| {
            let (i, j) = (row / b, row % b);
            let left = &self.left[i * c..][..c];
            let right = &right[j * d..][..d];
            left.iter()
                .flat_map(move |left| right.iter().map(move |right| left * right))
        };
        rows.flat_map(row).collect()
    }
}

/// The pair whose product holds the products of the numbers of two products of this shape.
fn hadamard(first: &LowRank, second: &LowRank, [rows, columns]: [usize; 2]) -> LowRank {
    let rank = first.rank * second.rank;
    let mut up = Vec::with_capacity(rows * rank);
    let halves = first
        .up
        .chunks_exact(first.rank)
        .zip(second.up.chunks_exact(second.rank));
    for (first, second) in halves {
        for a in first {
            up.extend(second.iter().map(|b| a * b));
        }
    }
    let mut down = Vec::with_capacity(rank * columns);
    for first in first.down.chunks_exact(columns) {
        for second in second.down.chunks_exact(columns) {
            down.extend(first.iter().zip(second).map(|(a, b)| a * b));
        }
    }
    LowRank { rank, up, down }
}

/// The product of a pair, `[rows, columns]`.
fn multiply(pair: &LowRank, columns: usize) -> Vec<f32> {
    let mut product = Vec::with_capacity(pair.up.len() / pair.rank.max(1) * columns);
    let mut row = vec![0.0; columns];
    for up in pair.up.chunks_exact(pair.rank) {
        row.fill(0.0);
        for (&up, down) in up.iter().zip(pair.down.chunks_exact(columns)) {
            for (sum, &down) in row.iter_mut().zip(down) {
                *sum += f64::from(up) * f64::from(down);
            }
        }
        product.extend(row.iter().map(|&sum| sum as f32));
    }
    product
}

/// `[rows, columns]` of the transpose, which has `rows` of this many.
fn transpose(values: &[f32], rows: usize) -> Vec<f32> {
    let columns = values.len() / rows.max(1);
    let column = |at: usize| values.iter().skip(at).step_by(columns).copied();
    (0..columns).flat_map(column).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_products() {
        let pair = LowRank {
            rank: 2,
            up: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            down: vec![1.0, 0.0, 2.0, 0.0, 1.0, 1.0],
        };
        let product = [1.0, 2.0, 4.0, 3.0, 4.0, 10.0, 5.0, 6.0, 16.0];
        assert_eq!(multiply(&pair, 3), product);
        assert_eq!(
            transpose(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2),
            [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]
        );
        let both = hadamard(&pair, &pair, [3, 3]);
        assert_eq!(multiply(&both, 3), product.map(|value| value * value));
    }

    #[test]
    fn a_kronecker_product_repeats_the_right_factor() {
        let kron = Kron {
            left_shape: [2, 1],
            left: vec![1.0, 10.0],
            right_shape: [2, 2],
            right: Right::Whole(vec![1.0, 2.0, 3.0, 4.0]),
        };
        assert_eq!(kron.rows(1..4), [3.0, 4.0, 10.0, 20.0, 30.0, 40.0]);
    }
}
