//! The transforms of Winograd's F(4x4, 3x3) along one axis, at the points 0, 1, -1, 2, -2 and
//! infinity: Lavin and Gray, "Fast algorithms for convolutional neural networks" (2015), section 4.3.
//!
//! Four outputs of a 3-tap filter are `outputs(weights(g) · inputs(d))`: six products instead of twelve, and
//! along both axes 36 instead of 144.

use x2i_cpu::vectorize::multiply_add;

/// Outputs of a tile along an axis.
pub(super) const OUT: usize = 4;
/// Inputs of a tile along an axis; also its points.
pub(super) const IN: usize = 6;
/// The index of the point -1. A signal that repeats every value once is always zero there.
pub(super) const ZERO_OF_PAIRS: usize = 2;

/// The transform of a tile's inputs to the points.
#[inline(always)]
pub(super) fn inputs(d: [f32; IN]) -> [f32; IN] {
    let (even, odd) = (
        multiply_add(d[2], -4.0, d[4]),
        multiply_add(d[1], -4.0, d[3]),
    );
    let (even_2, odd_2) = (d[4] - d[2], 2.0 * (d[3] - d[1]));
    [
        multiply_add(d[0], 4.0, multiply_add(d[2], -5.0, d[4])),
        even + odd,
        even - odd,
        even_2 + odd_2,
        even_2 - odd_2,
        multiply_add(d[1], 4.0, multiply_add(d[3], -5.0, d[5])),
    ]
}

/// The transform of a filter's taps to the points.
#[inline(always)]
pub(super) fn weights(g: [f32; 3]) -> [f32; IN] {
    let (even, even_2) = ((g[0] + g[2]) / -6.0, (g[0] + 4.0 * g[2]) / 24.0);
    let (odd, odd_2) = (g[1] / -6.0, g[1] / 12.0);
    [
        g[0] / 4.0,
        even + odd,
        even - odd,
        even_2 + odd_2,
        even_2 - odd_2,
        g[2],
    ]
}

/// The transform of the products at the points to a tile's outputs.
#[inline(always)]
pub(super) fn outputs(m: [f32; IN]) -> [f32; OUT] {
    let (even, odd) = (m[1] + m[2], m[1] - m[2]);
    let (even_2, odd_2) = (m[3] + m[4], m[3] - m[4]);
    [
        m[0] + even + even_2,
        multiply_add(odd_2, 2.0, odd),
        multiply_add(even_2, 4.0, even),
        multiply_add(odd_2, 8.0, odd) + m[5],
    ]
}

/// Value `at` of every row.
#[inline(always)]
pub(super) fn column<const N: usize>(rows: &[[f32; N]; IN], at: usize) -> [f32; IN] {
    // Written out: a closure would not be compiled for the wider unit.
    [
        rows[0][at],
        rows[1][at],
        rows[2][at],
        rows[3][at],
        rows[4][at],
        rows[5][at],
    ]
}

/// Replaces value `at` of every row.
#[inline(always)]
pub(super) fn set_column<const N: usize>(rows: &mut [[f32; N]; IN], at: usize, values: [f32; IN]) {
    for (row, value) in rows.iter_mut().zip(values) {
        row[at] = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_products_make_four_outputs() {
        let (d, g) = ([3.0, -1.0, 4.0, 1.0, -5.0, 9.0], [2.0, -6.0, 5.0]);
        let (at, taps) = (inputs(d), weights(g));
        let found = outputs(std::array::from_fn(|point| at[point] * taps[point]));
        for (i, found) in found.into_iter().enumerate() {
            let expected: f32 = (0..3).map(|tap| d[i + tap] * g[tap]).sum();
            // A few roundings of numbers up to 100.
            assert!((found - expected).abs() < 1e-4, "{found} is not {expected}");
        }
    }

    #[test]
    fn pairs_vanish_at_their_point() {
        let (a, b, c, d) = (0.3, -7.7, 1e3, 1e-3);
        assert_eq!(inputs([a, b, b, c, c, d])[ZERO_OF_PAIRS], 0.0);
    }
}
