//! Block-quantized weights on every device against the naive oracle.

mod common;

use burn::tensor::{Bytes, Device, Int, Tensor, TensorData};
use common::{Values, assert_close, devices};
use proptest::prelude::*;
use x2i_shaders::reference;
use x2i_shaders::{BlockQuantized, BlockType, InputBits, QuantError, device_len, qmatmul};

/// f32 sums over up to 1100 terms in another order.
const TOLERANCE: f32 = 3e-6;

/// The CPU rounds the inputs of many rows to 15 bits and a sign (14 for Q6_K) of the largest one: off by
/// 2e-5 of it on average, and up to five times that in the tails of the few sums here.
const INTEGER_TOLERANCE: f32 = 1e-4;

fn tolerance(device: &str, block_type: BlockType) -> f32 {
    if device == "flex" && !is_float(block_type) {
        INTEGER_TOLERANCE
    } else {
        TOLERANCE
    }
}

/// One f32 multiplication on either side.
const DEQUANTIZE_TOLERANCE: f32 = 1e-7;

/// Floats are multiplied as they are.
fn is_float(block_type: BlockType) -> bool {
    use BlockType::{BF16, F8E4M3, F8E5M2, F16, FP4, NF4};
    matches!(block_type, F8E4M3 | F8E5M2 | F16 | BF16 | NF4 | FP4)
}

/// Random blocks; their f16 factors are positive and negative, between 2^-15 and 2^-4.
fn blocks(block_type: BlockType, [rows, cols]: [usize; 2]) -> Vec<u8> {
    let mut values = Values::new((rows * cols) as u64);
    let mut bytes = Vec::new();
    for _ in 0..rows * cols / block_type.len() {
        let start = bytes.len();
        bytes.extend((0..block_type.bytes()).map(|_| (values.bits() >> 24) as u8));
        let factors: &[usize] = match block_type {
            BlockType::Q4_0 | BlockType::Q5_0 | BlockType::Q8_0 => &[0],
            BlockType::Q4_1 | BlockType::Q5_1 | BlockType::Q4K | BlockType::Q5K => &[0, 2],
            BlockType::Q6K => &[208],
            BlockType::F8E4M3 | BlockType::F8E5M2 => {
                // The largest magnitudes are no numbers.
                for byte in &mut bytes[start..] {
                    *byte ^= if *byte & 0x7f >= 0x7c { 0x40 } else { 0 };
                }
                &[]
            }
            BlockType::F16 => {
                for half in bytes[start..].as_chunks_mut().0 {
                    *half = (u16::from_le_bytes(*half) & 0x83ff | 0x2c00).to_le_bytes();
                }
                &[]
            }
            BlockType::BF16 => {
                let high = bytes[start..].iter_mut().skip(1).step_by(2);
                high.for_each(|byte| *byte = 0x3c | *byte & 0x80);
                &[]
            }
            BlockType::NF4 | BlockType::FP4 => {
                // An f32 of moderate size.
                bytes[start + 3] = 0x3c | bytes[start + 3] & 0x80;
                &[]
            }
            BlockType::IQ4NL | BlockType::IQ4XS => &[0],
            BlockType::MXFP4 => {
                bytes[start] = 112 + bytes[start] % 12; // its exponent: as large as the f16
                &[]
            }
            BlockType::Int4
            | BlockType::Int4Zero
            | BlockType::Int8
            | BlockType::Int8Zero
            | BlockType::Int8Halves => {
                let scale = half::f16::from_bits(values.bits() as u16 & 0xabff | 0x0400);
                bytes[start..][..4].copy_from_slice(&scale.to_f32().to_le_bytes());
                if block_type == BlockType::Int8Halves {
                    // Its factors: a product with a number fits 13 bits.
                    bytes[start + 4..][..2].iter_mut().for_each(|f| *f %= 32);
                }
                &[]
            }
        };
        for factor in factors {
            let half = values.bits() as u16 & 0xabff | 0x0400;
            bytes[start + factor..][..2].copy_from_slice(&half.to_le_bytes());
        }
    }
    bytes
}

/// The types whose blocks divide a row.
fn types(cols: usize) -> impl Iterator<Item = BlockType> {
    let types = BlockType::ALL.into_iter();
    types.filter(move |block_type| cols.is_multiple_of(block_type.len()))
}

fn quantized(
    bytes: &[u8],
    block_type: BlockType,
    shape: [usize; 2],
    device: &Device,
) -> BlockQuantized {
    let bytes = Bytes::from_bytes_vec(bytes.to_vec());
    let weight = BlockQuantized::from_ggml(bytes, block_type, shape, device).expect("whole blocks");
    weight.with_input_bits(InputBits::Sixteen)
}

fn tensor(data: Vec<f32>, shape: [usize; 2], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(data, shape), device)
}

#[track_caller]
fn check(m: usize, shape: [usize; 2], magnitude: f32) {
    let [rows, cols] = shape;
    let x: Vec<f32> = Values::new(m as u64).normals(m * cols);
    let x: Vec<f32> = x.into_iter().map(|x| x * magnitude).collect();
    for block_type in types(cols) {
        let bytes = blocks(block_type, shape);
        let expected = reference::qmatmul(&x, &bytes, block_type, cols);
        for (name, device) in devices() {
            let weight = quantized(&bytes, block_type, shape, device);
            let x = tensor(x.clone(), [m, cols], device);
            let case = format!("{name} {block_type:?} {m} rows, weight {shape:?}");
            let found = qmatmul(x.clone(), &weight, None);
            assert_close(&case, found, &expected, tolerance(name, block_type));

            let bias = Values::new(7).normals(rows);
            let bias: Vec<f32> = bias.into_iter().map(|b| b * magnitude).collect();
            let with_bias = expected.iter().zip(bias.iter().cycle()).map(|(y, b)| y + b);
            let bias = Tensor::<1>::from_data(TensorData::new(bias.clone(), [rows]), device);
            let found = qmatmul(x, &weight, Some(bias));
            let case = format!("{case}, bias");
            assert_close(
                &case,
                found,
                &with_bias.collect::<Vec<_>>(),
                tolerance(name, block_type),
            );
        }
    }
}

#[test]
fn qmatmul_matches_the_reference_for_one_few_and_many_rows() {
    for m in [1, 2, 3, 4, 5, 8, 9, 16, 17, 70] {
        check(m, [75, 160], 1.0);
    }
}

#[test]
fn qmatmul_matches_the_reference_on_odd_weights() {
    for shape in [[1, 32], [3, 64], [64, 512], [65, 96], [130, 288]] {
        check(1, shape, 1.0);
        check(33, shape, 1.0);
    }
    check(70, [600, 64], 1.0); // more than one panel
    check(9, [20, 1120], 1.0); // a chunk that is not full
    for shape in [[35, 256], [17, 768]] {
        check(2, shape, 1.0);
        check(21, shape, 1.0);
    }
    check(10, [8300, 256], 1.0); // more than one stripe
}

#[test]
fn extreme_magnitudes_stay_finite() {
    for magnitude in [1e-20, 1e20] {
        check(1, [40, 64], magnitude);
        check(20, [40, 64], magnitude);
    }
}

#[test]
fn dequantize_and_select_give_the_weight_and_its_rows() {
    let shape = [37, 256];
    for block_type in BlockType::ALL {
        let bytes = blocks(block_type, shape);
        let expected = reference::dequantize(&bytes, block_type);
        for (name, device) in devices() {
            let weight = quantized(&bytes, block_type, shape, device);
            assert_eq!((weight.shape(), weight.block_type()), (shape, block_type));
            assert_eq!(weight.device(), *device);
            let case = format!("{name} {block_type:?}");
            assert_close(&case, weight.dequantize(), &expected, DEQUANTIZE_TOLERANCE);

            let ids = [36, 0, 5, 5];
            let rows = Tensor::<1, Int>::from_data(TensorData::from(ids), device);
            let picked: Vec<f32> = ids
                .iter()
                .flat_map(|&id| expected[id as usize * 256..][..256].to_vec())
                .collect();
            assert_close(&case, weight.select(rows), &picked, DEQUANTIZE_TOLERANCE);
        }
    }
}

#[test]
fn strided_inputs_are_read_where_they_are() {
    let shape = [50, 64];
    for m in [2, 40] {
        let x = Values::new(1).normals(m * 64);
        let bytes = blocks(BlockType::Q4_0, shape);
        let expected = reference::qmatmul(&x, &bytes, BlockType::Q4_0, 64);
        for (name, device) in devices() {
            let weight = quantized(&bytes, BlockType::Q4_0, shape, device);
            let x = tensor(x.clone(), [m, 64], device);
            let transposed = (x.clone().transpose() * 1.0).transpose();
            let sliced = Tensor::cat(vec![x.clone() + 9.0, x.clone(), x], 1);
            let sliced = sliced.slice([0..m, 64..128]);
            for (view, x) in [("transposed", transposed), ("sliced", sliced)] {
                let case = format!("{name} {view}, {m} rows");
                let tolerance = tolerance(name, BlockType::Q4_0);
                assert_close(&case, qmatmul(x, &weight, None), &expected, tolerance);
            }
        }
    }
}

#[test]
fn the_gradient_of_the_input_is_that_of_the_dense_matmul() {
    let shape = [24, 64];
    let bytes = blocks(BlockType::Q8_0, shape);
    let x = Values::new(1).normals(3 * 64);
    for (name, device) in devices() {
        let weight = quantized(&bytes, BlockType::Q8_0, shape, device);
        let autodiff = device.clone().autodiff();
        let gradient = |product: &dyn Fn(Tensor<2>) -> Tensor<2>| {
            let x = tensor(x.clone(), [3, 64], &autodiff).require_grad();
            let y = product(x.clone());
            let gradients = (y.clone() * y).sum().backward();
            x.grad(&gradients).expect("x takes part")
        };
        // The weight stays on the plain device: it is a constant of the graph.
        let found = gradient(&|x| qmatmul(x, &weight, None));
        let dense = tensor(
            reference::dequantize(&bytes, BlockType::Q8_0),
            shape,
            &autodiff,
        );
        let expected = gradient(&|x| x.matmul(dense.clone().transpose()));
        let expected: Vec<f32> = expected.into_data().try_to_vec().expect("f32 data");
        assert_close(name, found, &expected, TOLERANCE);
    }
}

#[test]
fn numbers_with_scales_are_packed_into_blocks_of_exactly_their_products() {
    let mut values = Values::new(5);
    for (block_type, most, zero) in [
        (BlockType::Int4, 15, 8),
        (BlockType::Int4Zero, 15, 3),
        (BlockType::Int8, 255, 128),
        (BlockType::Int8Zero, 255, 251),
    ] {
        let scale = 1234.0 / 262_144.0; // 11 bits: an f16
        let numbers: [u8; 32] = std::array::from_fn(|_| (values.bits() >> 24) as u8 & most);
        let mut bytes = Vec::new();
        block_type.push_scaled(&numbers, scale, zero, &mut bytes);
        let expected = numbers.map(|number| (f32::from(number) - f32::from(zero)) * scale);
        for (name, device) in devices() {
            let weight = quantized(&bytes, block_type, [1, 32], device).dequantize();
            let found: Vec<f32> = weight.into_data().try_to_vec().expect("f32 data");
            assert_eq!(found, expected, "{name} {block_type:?}");
        }
    }
}

#[test]
fn weights_of_four_bits_take_four_bits_on_a_device() {
    for (block_type, bits) in [
        (BlockType::Q4_0, 5),
        (BlockType::IQ4NL, 5),
        (BlockType::IQ4XS, 5),
        (BlockType::MXFP4, 5),
        (BlockType::Int4, 5),
        (BlockType::Int4Zero, 6), // two f32 for 32 weights
        (BlockType::Int8, 9),
        (BlockType::Int8Zero, 10),
        (BlockType::Int8Halves, 10),
    ] {
        assert_eq!(
            device_len(block_type, 1024),
            1024 * bits / 8,
            "{block_type:?}"
        );
    }
}

#[test]
fn bytes_that_do_not_fill_the_shape_are_refused() {
    let device = Device::flex();
    let refused = |bytes: &[u8], shape| {
        BlockQuantized::from_ggml(
            Bytes::from_bytes_vec(bytes.to_vec()),
            BlockType::Q8_0,
            shape,
            &device,
        )
        .expect_err("it must be refused")
    };
    assert_eq!(
        refused(&[0; 34], [1, 33]),
        QuantError::Columns {
            cols: 33,
            block: 32
        }
    );
    let error = refused(&[0; 67], [2, 32]);
    assert_eq!(
        error,
        QuantError::Length {
            expected: 68,
            found: 67
        }
    );
    assert_eq!(error.to_string(), "67 bytes of blocks, the shape needs 68");
    assert!(matches!(
        refused(&[], [usize::MAX, 64]),
        QuantError::Length { .. }
    ));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn qmatmul_matches_the_reference_on_any_shape(
        m in 1usize..80, rows in 1usize..140, row_blocks in 1usize..6,
    ) {
        check(m, [rows, 32 * row_blocks], 1.0);
    }
}

#[test]
fn an_input_that_is_not_finite_is_not_rounded_away() {
    let bytes = blocks(BlockType::Q8_0, [16, 64]);
    let weight = quantized(&bytes, BlockType::Q8_0, [16, 64], &Device::flex());
    for poison in [f32::NAN, f32::INFINITY] {
        let mut x = Values::new(1).normals(20 * 64);
        x[5 * 64 + 3] = poison;
        let y = qmatmul(tensor(x, [20, 64], &Device::flex()), &weight, None);
        let y: Vec<f32> = y.into_data().try_to_vec().expect("f32 data");
        let rows: Vec<bool> = y
            .chunks(16)
            .map(|row| row.iter().all(|y| y.is_finite()))
            .collect();
        let expected: Vec<bool> = (0..20).map(|row| row != 5).collect();
        assert_eq!(rows, expected);
    }
}

#[test]
fn inputs_of_eight_bits_lose_less_than_weights_of_four_or_five_did() {
    /// Of the root mean square: an eighth of what rounding a normal weight to 4 bits loses.
    const TOLERANCE: f64 = 0.012;
    let (shape, m) = ([48, 768], 21);
    let x = Values::new(3).normals(m * 768);
    for block_type in BlockType::ALL {
        let bytes = blocks(block_type, shape);
        let expected = reference::qmatmul(&x, &bytes, block_type, 768);
        let weight = quantized(&bytes, block_type, shape, &Device::flex());
        let weight = weight.with_input_bits(InputBits::AsWeights);
        let found = qmatmul(tensor(x.clone(), [m, 768], &Device::flex()), &weight, None);
        let found: Vec<f32> = found.into_data().try_to_vec().expect("f32 data");
        let squares = |values: &mut dyn Iterator<Item = f32>| -> f64 {
            values.map(|value| f64::from(value).powi(2)).sum()
        };
        let errors = squares(&mut found.iter().zip(&expected).map(|(a, b)| a - b));
        let error = (errors / squares(&mut expected.iter().copied())).sqrt();
        assert!(error <= TOLERANCE, "{block_type:?}: {error}");
    }
}
