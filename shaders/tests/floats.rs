//! Weights that are floats of 8 bits, with scales of their rows, on every device against the naive oracle.

mod common;

use burn::tensor::{Bytes, Device, Int, Tensor, TensorData};
use common::{Values, assert_close, devices, tensor};
use x2i_shaders::{BlockQuantized, BlockType, qmatmul, reference};

/// f32 sums of 160 terms in another order, and a scale before or after the sum.
const TOLERANCE: f32 = 3e-6;

const TYPES: [BlockType; 2] = [BlockType::F8E4M3, BlockType::F8E5M2];
const SHAPE: [usize; 2] = [75, 160];

/// Finite numbers of all magnitudes.
fn numbers(seed: u64) -> Vec<u8> {
    let mut values = Values::new(seed);
    let byte = |_| {
        let byte = (values.bits() >> 24) as u8;
        byte ^ if byte & 0x7f >= 0x7c { 0x40 } else { 0 }
    };
    (0..SHAPE[0] * SHAPE[1]).map(byte).collect()
}

fn weight(bytes: &[u8], block_type: BlockType, scales: &[f32], device: &Device) -> BlockQuantized {
    let bytes = Bytes::from_bytes_vec(bytes.to_vec());
    let weight = BlockQuantized::from_ggml(bytes, block_type, SHAPE, device).expect("whole blocks");
    weight.with_row_scales(scales)
}

/// The weight as f32.
fn dense(bytes: &[u8], block_type: BlockType, scales: &[f32]) -> Vec<f32> {
    let numbers = reference::dequantize(bytes, block_type);
    let rows = numbers.chunks(SHAPE[1]).zip(scales);
    rows.flat_map(|(row, scale)| row.iter().map(move |number| number * scale))
        .collect()
}

#[test]
fn every_byte_of_the_oracle_is_the_number_of_its_bits() {
    let all: Vec<u8> = (0..=255).collect();
    let e4m3 = reference::dequantize(&all, BlockType::F8E4M3);
    assert_eq!(e4m3[0x01], 2f32.powi(-9), "the smallest");
    assert_eq!(e4m3[0x07], 7.0 * 2f32.powi(-9), "the largest below 2^-6");
    assert_eq!(e4m3[0x08], 2f32.powi(-6));
    assert_eq!((e4m3[0x38], e4m3[0xb9]), (1.0, -1.125));
    assert_eq!(e4m3[0x7e], 448.0);
    assert!(e4m3[0x7f].is_nan() && e4m3[0xff].is_nan());
    let e5m2 = reference::dequantize(&all, BlockType::F8E5M2);
    assert_eq!(e5m2[0x01], 2f32.powi(-16), "the smallest");
    assert_eq!((e5m2[0x3c], e5m2[0xbd]), (1.0, -1.25));
    assert_eq!(e5m2[0x7b], 57344.0);
    assert_eq!((e5m2[0x7c], e5m2[0xfc]), (f32::INFINITY, f32::NEG_INFINITY));
    assert!(e5m2[0x7d].is_nan() && e5m2[0xff].is_nan());
}

#[test]
fn a_scale_of_each_row_is_a_factor_of_its_weights() {
    let scales = Values::new(5).normals(SHAPE[0]);
    let bias = Values::new(6).normals(SHAPE[0]);
    for block_type in TYPES {
        let bytes = numbers(1);
        let dense = dense(&bytes, block_type, &scales);
        for (name, device) in devices() {
            let weight = weight(&bytes, block_type, &scales, device);
            for m in [1, 5, 8, 9, 33, 70] {
                let x = Values::new(m as u64).normals(m * SHAPE[1]);
                for bias in [None, Some(&bias)] {
                    let case = format!("{name} {block_type:?} {m} rows");
                    let bias = bias.map(Vec::as_slice);
                    let expected = reference::linear(&x, &dense, bias, SHAPE[1]);
                    let bias = bias.map(|bias| tensor(bias, [SHAPE[0]], device));
                    let x = tensor(&x, [m, SHAPE[1]], device);
                    let found = qmatmul(x, &weight, bias);
                    assert_close(&case, found, &expected, TOLERANCE);
                }
            }
        }
    }
}

#[test]
fn rows_are_looked_up_with_their_scales() {
    let scales = Values::new(5).normals(SHAPE[0]);
    for block_type in TYPES {
        let bytes = numbers(2);
        let dense = dense(&bytes, block_type, &scales);
        for (name, device) in devices() {
            let weight = weight(&bytes, block_type, &scales, device);
            let case = format!("{name} {block_type:?}");
            assert_close(&case, weight.dequantize(), &dense, 0.0);
            let ids = [74, 0, 5, 5];
            let rows = Tensor::<1, Int>::from_data(TensorData::from(ids), device);
            let picked = ids.map(|id| &dense[id as usize * SHAPE[1]..][..SHAPE[1]]);
            assert_close(&case, weight.select(rows), &picked.concat(), 0.0);
        }
    }
}

#[test]
fn a_gradient_passes_through_the_scales() {
    let scales = Values::new(5).normals(SHAPE[0]);
    let (bytes, x) = (numbers(3), Values::new(1).normals(3 * SHAPE[1]));
    let dense = dense(&bytes, BlockType::F8E4M3, &scales);
    for (name, device) in devices() {
        let weight = weight(&bytes, BlockType::F8E4M3, &scales, device);
        let autodiff = device.clone().autodiff();
        let x = tensor(&x, [3, SHAPE[1]], &autodiff).require_grad();
        let gradients = qmatmul(x.clone(), &weight, None).sum().backward();
        // Every input's gradient is the sum of its column.
        let column = |i: usize| dense[i..].iter().step_by(SHAPE[1]).sum::<f32>();
        let columns: Vec<f32> = (0..SHAPE[1]).map(column).collect();
        let found = x.grad(&gradients).expect("x takes part");
        assert_close(name, found, &columns.repeat(3), TOLERANCE);
    }
}
