//! Tests of all variants of a kernel, also of those that are not chosen for this machine's adapter.

use burn::backend::DispatchTensorKind;
use burn::tensor::{Bytes, DType, Device, DeviceType, Tensor, TensorData};
use burn_cubecl::tensor::CubeTensor;

use crate::attention::wgpu::{Variant, launch};
use crate::qmatmul::wgpu::launch as launch_blocks;
use crate::reference::{self, AttentionShape};
use crate::units::Units;
use crate::{BlockQuantized, BlockType};

/// f32 sums over at most 512 terms in another order, relative to the largest value.
const TOLERANCE: f32 = 5e-6;

/// The same, whose result is rounded to 11 bits.
const HALF_TOLERANCE: f32 = 1e-3;

/// The last wgpu adapter, as in the files of `tests/`, which print a line where there is none.
fn adapter() -> Option<Device> {
    Device::enumerate(DeviceType::Wgpu).into_vec().pop()
}

fn values(seed: usize, count: usize) -> Vec<f32> {
    let mut state = seed as u32 * 2 + 1;
    let uniform = move |_| {
        state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    };
    (0..count).map(uniform).collect()
}

fn cube<const D: usize>(tensor: Tensor<D>) -> CubeTensor {
    match tensor.into_dispatch().kind {
        DispatchTensorKind::Cube(tensor) => tensor.float(),
        _ => panic!("a wgpu device has cubecl's tensors"),
    }
}

fn floats(tensor: CubeTensor) -> Vec<f32> {
    let bytes = tensor.client.clone().read_one(tensor.handle);
    let bytes = Bytes::from_bytes_vec(bytes.expect("the device is there").to_vec());
    let shape = tensor.meta.shape().to_vec();
    let data = TensorData::from_bytes(bytes, shape, tensor.dtype);
    data.convert::<f32>().try_to_vec().expect("f32 data")
}

#[track_caller]
fn assert_close(case: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{case}");
    let magnitude = expected.iter().fold(0.0, |max: f32, x| max.max(x.abs()));
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            (found - expected).abs() <= tolerance * magnitude, // false for NaN
            "{case}: element {i} is {found}, the reference has {expected} (largest {magnitude})"
        );
    }
}

/// The tiled variants, and the one for subgroups where the adapter has them.
fn variants(tensor: &CubeTensor) -> Vec<Variant> {
    let mut variants = vec![Variant::Tiled(4), Variant::Tiled(1)];
    if let Units::NarrowSubgroups(lanes) = Units::of(tensor) {
        variants.push(Variant::Narrow(lanes));
    }
    variants
}

/// Causal, with queries whose keys are all masked in the first batch.
fn check_attention(dtype: DType, tolerance: f32) {
    let Some(device) = adapter() else { return };
    for head_dim in [20, 64, 128, 136] {
        let shape = AttentionShape {
            batch: 2,
            heads: 4,
            kv_heads: 2,
            q_tokens: 37,
            kv_tokens: 301,
            head_dim,
        };
        let kv = 2 * 2 * 301 * head_dim;
        // Values that f16 represents exactly are the same in both dtypes.
        let [q, k, v] = [(1, 2 * 4 * 37 * head_dim), (2, kv), (3, kv)]
            .map(|(seed, count)| values(seed, count))
            .map(|values| {
                let round = |x: f32| half::f16::from_f32(x).to_f32();
                values.into_iter().map(round).collect::<Vec<_>>()
            });
        let mask: Vec<f32> = (0..2 * 37 * 301)
            .map(|i| match (i / 301 / 37, i / 301 % 37, i % 301) {
                (0, query, _) if query < 3 => f32::MIN,
                (_, query, key) if key > query + 200 => f32::MIN,
                _ => 0.0,
            })
            .collect();
        let full: Vec<f32> = (0..8)
            .flat_map(|head| mask[head / 4 * 37 * 301..][..37 * 301].to_vec())
            .collect();
        let scale = 0.3;
        for masked in [false, true] {
            let oracle_mask = masked.then_some(full.as_slice());
            let expected = reference::attention(&q, &k, &v, oracle_mask, scale, shape);
            let tensor = |values: &[f32], shape: [usize; 4]| {
                let data = TensorData::new(values.to_vec(), shape);
                cube(Tensor::<4>::from_data(data, &device).cast(dtype))
            };
            let inputs = || {
                let keys = [2, 2, 301, head_dim];
                [
                    tensor(&q, [2, 4, 37, head_dim]),
                    tensor(&k, keys),
                    tensor(&v, keys),
                ]
            };
            for variant in variants(&inputs()[0]) {
                let mask = masked.then(|| tensor(&mask, [2, 1, 37, 301]));
                let found = launch(variant, inputs(), mask, scale);
                assert_eq!(found.dtype, dtype);
                let case = format!("{variant:?} {dtype:?} head_dim {head_dim} masked {masked}");
                assert_close(&case, &floats(found), &expected, tolerance);
            }
        }
    }
}

#[test]
fn every_variant_of_attention_matches_the_reference() {
    check_attention(DType::F32, TOLERANCE);
}

#[test]
fn attention_of_halves_is_that_of_their_values_summed_in_f32() {
    let has_halves = adapter().is_some_and(|device| {
        let ones = cube(Tensor::<1>::ones([1], &device));
        crate::wgsl::has_f16(&ones)
    });
    if has_halves {
        check_attention(DType::F16, HALF_TOLERANCE);
    }
}

#[test]
fn every_variant_of_the_quantized_product_matches_the_dense_one() {
    let Some(device) = adapter() else { return };
    for block_type in BlockType::ALL {
        for [m, rows, cols] in [[1, 70, 256], [3, 9, 512], [5, 130, 256], [70, 75, 512]] {
            let bytes = rows * cols / block_type.len() * block_type.bytes();
            // Scales of moderate size: an f16's upper exponent bits are clear.
            let bytes: Vec<u8> = (0..bytes).map(|i| ((i * 7919) >> 3) as u8 & 0xbf).collect();
            let bytes = Bytes::from_bytes_vec(bytes);
            let weight = BlockQuantized::from_ggml(bytes, block_type, [rows, cols], &device)
                .expect("the length fits the shape");
            let x = values(m, m * cols);
            let dense: Vec<f32> = weight.dequantize().into_data().try_to_vec().expect("f32");
            let expected = reference::linear(&x, &dense, None, cols);
            for (units, found) in products(&x, &weight, &device) {
                let case = format!("{units:?} {block_type:?} {m}x{cols}x{rows}");
                assert_close(&case, &found, &expected, TOLERANCE);
            }
        }
    }
}

/// What every variant for the `units` gives for `x [m, cols]`.
fn products(x: &[f32], weight: &BlockQuantized, device: &Device) -> Vec<(Units, Vec<f32>)> {
    let cols = weight.shape()[1];
    let inputs = || {
        let x = TensorData::new(x.to_vec(), [x.len() / cols, cols]);
        let x = cube(Tensor::<2>::from_data(x, device));
        let (packed, scales) = weight.arrays();
        let packed = match packed.into_dispatch().kind {
            DispatchTensorKind::Cube(tensor) => tensor.int(),
            _ => panic!("a wgpu device has cubecl's tensors"),
        };
        [x, packed, cube(scales)]
    };
    let units = [Units::Wide, Units::Narrow, Units::of(&inputs()[0])];
    let product = |units| {
        let found = launch_blocks(units, inputs(), weight.block_type());
        (units, floats(found))
    };
    units.map(product).to_vec()
}

#[test]
fn every_float_of_8_bits_is_itself_in_every_kernel() {
    let Some(device) = adapter() else { return };
    let cols = 64;
    for block_type in [BlockType::F8E4M3, BlockType::F8E5M2] {
        // Row i holds number i, at any place, and zeros.
        let (mut bytes, mut codes) = (vec![0; 256 * cols], Vec::new());
        for code in 0..=255u8 {
            bytes[usize::from(code) * cols + usize::from(code) % cols] = code;
            codes.push(code);
        }
        codes.resize(codes.len().next_multiple_of(block_type.len()), 0);
        let numbers = reference::dequantize(&codes, block_type);
        let bytes = Bytes::from_bytes_vec(bytes);
        let weight = BlockQuantized::from_ggml(bytes, block_type, [256, cols], &device)
            .expect("the length fits the shape");
        for scales in [
            None,
            Some((1..=256).map(|row| row as f32).collect::<Vec<_>>()),
        ] {
            let weight = match &scales {
                Some(scales) => weight.clone().with_row_scales(scales),
                None => weight.clone(),
            };
            for m in [1, 4, 17, 70] {
                let x = vec![0.5; m * cols];
                for (units, found) in products(&x, &weight, &device) {
                    for (at, &found) in found.iter().enumerate() {
                        let scale = scales.as_ref().map_or(1.0, |scales| scales[at % 256]);
                        let expected = 0.5 * numbers[at % 256] * scale;
                        assert!(
                            found == expected || found.is_nan() && expected.is_nan(),
                            "{units:?} {block_type:?} {m} rows, {:#x}: {found}, not {expected}",
                            at % 256
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn floats_of_8_bits_take_a_byte_each_on_a_device() {
    let Some(device) = adapter() else { return };
    let (rows, cols) = (96, 128);
    let bytes = Bytes::from_bytes_vec(vec![0x38; rows * cols]);
    let weight = BlockQuantized::from_ggml(bytes, BlockType::F8E4M3, [rows, cols], &device)
        .expect("the length fits the shape");
    let (packed, scales) = weight.arrays();
    assert_eq!((packed.dtype(), scales.dtype()), (DType::U32, DType::F32));
    let numbers = |dims: [usize; 2]| dims[0] * dims[1];
    assert_eq!(4 * numbers(packed.dims()), rows * cols);
    assert_eq!(numbers(scales.dims()), rows);
    let planned = crate::qmatmul::device_len(BlockType::F8E4M3, (rows * cols) as u64);
    assert_eq!(planned, (rows * cols) as u64);
}

#[test]
fn halves_are_the_numbers_of_rows_rounded_to_a_power_of_two_each() {
    let Some(device) = adapter() else { return };
    let ones = cube(Tensor::<1>::ones([1], &device));
    if !crate::wgsl::has_f16(&ones) {
        return;
    }
    for [rows, cols] in [[3, 64], [5, 300], [2, 1024]] {
        let x = values(rows, rows * cols);
        // Rows far apart in size, beyond f16 on both sides.
        let size = |row: usize| 10f32.powi(12 * row as i32 - 12);
        let x: Vec<f32> = (0..x.len()).map(|i| x[i] * size(i / cols)).collect();
        let tensor = Tensor::<2>::from_data(TensorData::new(x.clone(), [rows, cols]), &device);
        let halves = crate::cooperative::Halves::of(cube(tensor), cols, 0);
        let (numbers, scales) = (floats(halves.numbers), floats(halves.scales));
        let found: Vec<f32> = (0..x.len())
            .map(|i| numbers[i] * scales[i / cols])
            .collect();
        assert_eq!(found, reference::halves(&x, cols), "{rows} rows of {cols}");
    }
}
