//! What tests compare products in whole numbers with: plain loops in f64.

use super::blocks::Weights;
use super::bytes::SPAN;
use crate::formats::{BlockType, GROUP, Group, MOST_GROUPS};

/// f32 sums in another order than the oracle's f64, of the largest.
const TOLERANCE: f64 = 3e-6;

/// Blocks whose scales are finite: an f16's upper exponent bit is never set.
pub(super) fn blocks(block_type: BlockType, [rows, cols]: [usize; 2], seed: usize) -> Vec<u8> {
    let count = rows * cols / block_type.len() * block_type.bytes();
    (0..count)
        .map(|i| ((i * 7919 + seed * 104_729) >> 3) as u8 & 0xbf)
        .collect()
}

pub(super) fn inputs(count: usize, seed: usize) -> Vec<f32> {
    let value = |i: usize| ((i * 7919 + seed * 104_729) % 1999) as f32 / 999.5 - 1.0;
    (0..count).map(value).collect()
}

/// Rounds inputs along each span to whole numbers up to `most`, and multiplies in f64 with what the blocks say.
pub(super) fn product(x: &[f32], weights: &Weights, bias: Option<&[f32]>, most: f32) -> Vec<f64> {
    let cols = weights.cols();
    let rounded: Vec<f64> = x
        .chunks(cols)
        .flat_map(|row| row.chunks(SPAN * GROUP))
        .flat_map(|span| {
            let largest = span.iter().fold(0.0, |max: f32, x| max.max(x.abs()));
            let scale = largest / most;
            let round = move |x: &f32| match scale {
                0.0 => 0.0,
                _ => f64::from((x * scale.recip()).round_ties_even()) * f64::from(scale),
            };
            span.iter().map(round)
        })
        .collect();
    let numbers: Vec<f64> = (0..weights.rows())
        .flat_map(|row| numbers(weights, row))
        .collect();
    let rows = rounded.chunks(cols);
    let products = rows.flat_map(|x| {
        numbers.chunks(cols).enumerate().map(|(row, weight)| {
            let sum: f64 = x.iter().zip(weight).map(|(x, w)| x * w).sum();
            sum + bias.map_or(0.0, |bias| f64::from(bias[row]))
        })
    });
    products.collect()
}

/// A row of weights.
fn numbers(weights: &Weights, row: usize) -> Vec<f64> {
    let block_type = weights.block_type;
    let blocks = weights.row(row).chunks_exact(block_type.bytes());
    let numbers = blocks.flat_map(|block| {
        let mut groups = [Group::<i16>::ZERO; MOST_GROUPS];
        block_type.unpack(block, &mut groups);
        let groups = groups.into_iter().take(block_type.groups());
        groups.flat_map(|group| {
            let number =
                move |quant| f64::from(group.scale) * f64::from(quant) + f64::from(group.offset);
            group.quants.map(number)
        })
    });
    numbers.collect()
}

#[track_caller]
pub(super) fn check(case: &str, found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{case}");
    let largest = expected.iter().fold(0.0, |max: f64, x| max.max(x.abs()));
    for (i, (&found, expected)) in found.iter().zip(expected).enumerate() {
        let off = (f64::from(found) - expected).abs();
        assert!(
            off <= TOLERANCE * largest,
            "{case}: element {i} is {found}, expected {expected}"
        );
    }
}
