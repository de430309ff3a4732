//! Packing, scales and remainders on the loop, and on AMX where this machine has it.

use super::machine::Software;
use super::*;
use crate::processor::CpuUnit;
use crate::qmatmul::{BlockType, Group, MOST_GROUPS};

/// f32 sums in another order than the oracle's f64, of the largest.
const TOLERANCE: f64 = 3e-6;

/// The formats that are multiplied as bytes.
fn formats() -> impl Iterator<Item = BlockType> {
    BlockType::ALL
        .into_iter()
        .filter(|&block_type| Signed::new(block_type).is_some())
}

/// Blocks whose scales are finite: an f16's upper exponent bit is never set.
fn blocks(block_type: BlockType, [rows, cols]: [usize; 2], seed: usize) -> Vec<u8> {
    let count = rows * cols / block_type.len() * block_type.bytes();
    (0..count)
        .map(|i| ((i * 7919 + seed * 104_729) >> 3) as u8 & 0xbf)
        .collect()
}

fn inputs(count: usize, seed: usize) -> Vec<f32> {
    let value = |i: usize| ((i * 7919 + seed * 104_729) % 1999) as f32 / 999.5 - 1.0;
    (0..count).map(value).collect()
}

/// Rounds inputs along each span to 8 bits, and multiplies in f64 with what the blocks say.
fn oracle(x: &[f32], weights: &Weights, bias: Option<&[f32]>) -> Vec<f64> {
    let cols = weights.cols();
    let rounded: Vec<f64> = x
        .chunks(cols)
        .flat_map(|row| row.chunks(SPAN * GROUP))
        .flat_map(|span| {
            let largest = span.iter().fold(0.0, |max: f32, x| max.max(x.abs()));
            let scale = largest / 127.0;
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
fn check(case: &str, found: &[f32], expected: &[f64]) {
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

/// The loop and AMX.
fn on_all(case: &str, x: &[f32], weights: &Weights, bias: Option<&[f32]>) {
    let expected = oracle(x, weights, bias);
    let format = Signed::new(weights.block_type).expect("a format of bytes");
    check(
        case,
        &product_on::<Software>(&format, x, weights, bias),
        &expected,
    );
    if CpuUnit::Amx.is_here() {
        check(
            case,
            &product_on::<Amx>(&format, x, weights, bias),
            &expected,
        );
    } else {
        println!("{case}: AMX NOT RUN, this machine has none");
    }
}

#[test]
fn products_on_tiles_are_those_of_the_rounded_inputs_on_all_formats() {
    for block_type in formats() {
        let length = block_type.len();
        for [m, rows, blocks_of_row] in [[1, 1, 1], [9, 33, 3], [16, 32, 2], [33, 70, 5]] {
            let cols = blocks_of_row * length;
            let bytes = blocks(block_type, [rows, cols], m);
            let weights = Weights {
                bytes: &bytes,
                block_type,
                cols,
            };
            let case = format!("{block_type:?} {m}x{cols}x{rows}");
            let bias = inputs(rows, 5);
            on_all(&case, &inputs(m * cols, 1), &weights, Some(&bias));
            on_all(&case, &inputs(m * cols, 2), &weights, None);
        }
    }
}

#[test]
fn the_largest_numbers_are_exact() {
    // A scale of 1, quants of -128 and 127, and inputs that are all the largest.
    for quant in [0x80, 0x7f] {
        let block: Vec<u8> = [0x00, 0x3c].into_iter().chain([quant; 32]).collect();
        let bytes = block.repeat(20 * 17);
        let weights = Weights {
            bytes: &bytes,
            block_type: BlockType::Q8_0,
            cols: 20 * 32,
        };
        for sign in [1.0, -1.0] {
            let x = vec![127.0 * sign; 18 * weights.cols()];
            on_all("the largest numbers", &x, &weights, None);
        }
    }
}

#[test]
fn what_is_not_finite_stays_so_in_its_row() {
    let bytes = blocks(BlockType::Q8_0, [40, 64], 1);
    let weights = Weights {
        bytes: &bytes,
        block_type: BlockType::Q8_0,
        cols: 64,
    };
    let mut x = inputs(20 * 64, 3);
    x[3 * 64 + 7] = f32::INFINITY;
    x[17 * 64] = f32::NAN;
    let format = Signed::new(BlockType::Q8_0).expect("bytes");
    let out = product_on::<Software>(&format, &x, &weights, None);
    for (row, out) in out.chunks(40).enumerate() {
        let bad = row == 3 || row == 17;
        assert!(
            out.iter().all(|x| x.is_finite() != bad),
            "row {row}: {out:?}"
        );
    }
}
