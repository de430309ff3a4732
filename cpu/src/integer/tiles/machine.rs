//! What a machine of tiles does.

#[cfg(test)]
use super::groups::HALVES;
use super::groups::{InputGroup, LANES, ROWS, SPAN, WeightGroup};

/// Sums of each group of a span: `[groups, input rows, columns]`.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Products(pub(super) [[[i32; LANES]; ROWS]; SPAN]);

impl Products {
    /// Place for products.
    pub(super) const NONE: Self = Self([[[0; LANES]; ROWS]; SPAN]);
}

/// A machine that multiplies tiles. Each thread has its own.
pub(super) trait TileMachine {
    /// Takes the tiles of this thread, until it is dropped.
    ///
    /// # Panics
    /// On a machine that has none.
    fn take() -> Self;

    /// Multiplies up to [`SPAN`] groups of inputs with one half of the columns of as many groups of weights.
    fn multiply(
        &self,
        inputs: &[InputGroup],
        weights: &[WeightGroup],
        half: usize,
        out: &mut Products,
    );
}

/// A loop: the oracle, which runs anywhere.
#[cfg(test)]
pub(super) struct Software;

#[cfg(test)]
impl TileMachine for Software {
    fn take() -> Self {
        Self
    }

    fn multiply(
        &self,
        inputs: &[InputGroup],
        weights: &[WeightGroup],
        half: usize,
        out: &mut Products,
    ) {
        assert!(half < HALVES);
        for ((inputs, weights), out) in inputs.iter().zip(weights).zip(&mut out.0) {
            for (row, out) in inputs.rows.iter().zip(out) {
                for (column, out) in out.iter_mut().enumerate() {
                    let quads = row.as_chunks::<4>().0.iter().zip(&weights.quads);
                    let products = quads.flat_map(|(inputs, quads)| {
                        let weights = quads[half * LANES + column].to_le_bytes();
                        let bytes = inputs.iter().zip(weights);
                        bytes.map(|(&input, weight)| i32::from(input) * i32::from(weight as i8))
                    });
                    *out = products.sum();
                }
            }
        }
    }
}
