//! Packing, scales and remainders on the loop, and on AMX where this machine has it.

use super::machine::Software;
use super::*;
use crate::formats::BlockType;
use crate::integer::oracle::{blocks, check, inputs, product as oracle};
use crate::processor::CpuUnit;

/// The formats that are multiplied as bytes.
fn formats() -> impl Iterator<Item = BlockType> {
    BlockType::ALL
        .into_iter()
        .filter(|&block_type| Signed::new(block_type).is_some())
}

/// The loop and AMX.
fn on_all(case: &str, x: &[f32], weights: &Weights, bias: Option<&[f32]>) {
    let expected = oracle(x, weights, bias, 127.0);
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
