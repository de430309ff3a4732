//! Matrices of f64, multiplied as the definitions say: slow, and easy to check.

use std::ops::Range;

#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    pub rows: usize,
    pub columns: usize,
    pub values: Vec<f64>,
}

impl Matrix {
    pub fn new(rows: usize, columns: usize, value: impl Fn(usize, usize) -> f64) -> Self {
        let values = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        Self {
            rows,
            columns,
            values: values.map(|(row, column)| value(row, column)).collect(),
        }
    }

    pub fn from_f32(rows: usize, columns: usize, values: &[f32]) -> Self {
        Self::new(rows, columns, |row, column| {
            values[row * columns + column].into()
        })
    }

    /// Numbers between -1 and 1 that an f32 holds exactly, other ones for another seed.
    pub fn random(seed: u32, rows: usize, columns: usize) -> Self {
        Self::new(rows, columns, |row, column| {
            let at = seed
                .wrapping_mul(7919)
                .wrapping_add((row * columns + column) as u32);
            let mixed = (at ^ (at >> 7)).wrapping_mul(2_654_435_761);
            f64::from(mixed >> 16) / 32_768.0 - 1.0
        })
    }

    pub fn at(&self, row: usize, column: usize) -> f64 {
        self.values[row * self.columns + column]
    }

    pub fn map(&self, value: impl Fn(usize, usize, f64) -> f64) -> Self {
        Self::new(self.rows, self.columns, |row, column| {
            value(row, column, self.at(row, column))
        })
    }

    pub fn times(&self, other: &Self) -> Self {
        assert_eq!(self.columns, other.rows);
        Self::new(self.rows, other.columns, |row, column| {
            let terms = (0..self.columns).map(|at| self.at(row, at) * other.at(at, column));
            terms.sum()
        })
    }

    pub fn transposed(&self) -> Self {
        Self::new(self.columns, self.rows, |row, column| self.at(column, row))
    }

    pub fn plus(&self, other: &Self) -> Self {
        assert_eq!((self.rows, self.columns), (other.rows, other.columns));
        self.map(|row, column, value| value + other.at(row, column))
    }

    pub fn scaled(&self, scale: f64) -> Self {
        self.map(|_, _, value| value * scale)
    }

    /// The products of the numbers.
    pub fn hadamard(&self, other: &Self) -> Self {
        self.map(|row, column, value| value * other.at(row, column))
    }

    pub fn kron(&self, other: &Self) -> Self {
        Self::new(
            self.rows * other.rows,
            self.columns * other.columns,
            |row, column| {
                self.at(row / other.rows, column / other.columns)
                    * other.at(row % other.rows, column % other.columns)
            },
        )
    }

    /// Only these rows.
    pub fn slice(&self, rows: Range<usize>) -> Self {
        Self::new(rows.len(), self.columns, |row, column| {
            self.at(rows.start + row, column)
        })
    }

    /// So many rows, of which these begin at `first`; the others are zero.
    pub fn placed(&self, first: usize, rows: usize) -> Self {
        Self::new(rows, self.columns, |row, column| {
            match row.checked_sub(first) {
                Some(row) if row < self.rows => self.at(row, column),
                _ => 0.0,
            }
        })
    }

    pub fn row_length(&self, row: usize) -> f64 {
        let squares = (0..self.columns).map(|column| self.at(row, column).powi(2));
        squares.sum::<f64>().sqrt()
    }

    pub fn f32s(&self) -> Vec<f32> {
        self.values.iter().map(|&value| value as f32).collect()
    }
}

/// `W + strength (m / |W + D| ∘ (W + D) - W)`, with a length for each row.
pub fn dora_rows(own: &Matrix, delta: &Matrix, lengths: &[f64], strength: f64) -> Matrix {
    let sum = own.plus(delta);
    let changed = sum.map(|row, _, value| value * lengths[row] / sum.row_length(row));
    own.map(|row, column, value| value + strength * (changed.at(row, column) - value))
}

/// The same with a length for each column.
pub fn dora_columns(own: &Matrix, delta: &Matrix, lengths: &[f64], strength: f64) -> Matrix {
    dora_rows(&own.transposed(), &delta.transposed(), lengths, strength).transposed()
}

#[test]
fn the_oracle_knows_small_products_by_heart() {
    let a = Matrix::from_f32(2, 2, &[1.0, 2.0, 3.0, 4.0]);
    let b = Matrix::from_f32(2, 1, &[1.0, -1.0]);
    assert_eq!(a.times(&b).values, [-1.0, -1.0]);
    assert_eq!(
        b.kron(&a).values,
        [1.0, 2.0, 3.0, 4.0, -1.0, -2.0, -3.0, -4.0]
    );
    assert_eq!(a.transposed().values, [1.0, 3.0, 2.0, 4.0]);
    let lengths = dora_rows(&a, &a.scaled(0.0), &[5f64.sqrt(), 10.0], 1.0);
    assert!((lengths.row_length(1) - 10.0).abs() < 1e-12);
    assert_eq!(lengths.slice(0..1).values, [1.0, 2.0]);
}
