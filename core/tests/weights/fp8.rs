//! Floats of 8 bits against what ml_dtypes makes of them: all 256 of both kinds.
//!
//! `data/fp8.safetensors` comes from `tests/reference/make_fp8_vectors.py`.

use burn::tensor::{Device, FloatDType, Tensor};
use x2i_core::weights::{Component, Matrix, StoredType, Target, Weights};
use x2i_shaders::BlockType;

use crate::common::{Made, devices, f32_bytes, opened, safetensors, source, values};

const TYPES: [(StoredType, &str); 2] = [(StoredType::F8E4M3, "e4m3"), (StoredType::F8E5M2, "e5m2")];

/// Bits rather than numbers: the sign of a zero and of a NaN counts, too.
fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn every_float_of_8_bits_is_widened_to_the_bit_as_ml_dtypes_widens_it() {
    let file = opened(include_bytes!("data/fp8.safetensors").to_vec());
    for (stored, name) in TYPES {
        assert_eq!(file.tensors()[name].stored, stored);
        let expected = values(&file, &format!("{name}.f32"));
        assert_eq!(expected.len(), 256);
        assert_eq!(bits(&values(&file, name)), bits(&expected), "{name}");
    }
}

#[test]
fn rows_of_8_bits_that_are_no_whole_blocks_become_f16_with_the_same_numbers() {
    let device = Device::flex();
    let file = opened(include_bytes!("data/fp8.safetensors").to_vec());
    for (stored, name) in TYPES {
        // Without infinities and NaN, which no weight is.
        let finite = |byte: u8| byte & 0x7f < 0x7c;
        let bytes: Vec<u8> = (0..=255).filter(|&byte| finite(byte)).collect();
        let all = values(&file, &format!("{name}.f32"));
        let expected: Vec<f32> = bytes.iter().map(|&byte| all[usize::from(byte)]).collect();
        let shape = [8, bytes.len() / 8];
        let made = Made {
            name: "img_in.weight".to_owned(),
            stored,
            shape: shape.to_vec(),
            bytes,
        };
        let sources = vec![source(safetensors(&[made]))];
        let weights = Weights::open("part", Component::Flux, sources);
        let weights = pollster::block_on(weights).unwrap_or_else(|error| panic!("{error}"));
        let scope = weights.scope(&device).child("img_in");
        for rows in [0..8, 2..5] {
            let matrix = pollster::block_on(scope.matrix_rows("weight", shape, rows.clone()));
            let Ok(Matrix::Dense(dense)) = matrix else {
                panic!("{matrix:?}");
            };
            let found = dense.cast(FloatDType::F32).into_data().try_to_vec::<f32>();
            let range = rows.start * shape[1]..rows.end * shape[1];
            assert_eq!(found.expect("f32"), expected[range], "{name}");
        }
    }
}

fn tensor(name: &str, stored: StoredType, shape: &[usize], bytes: Vec<u8>) -> Made {
    Made {
        name: name.to_owned(),
        stored,
        shape: shape.to_vec(),
        bytes,
    }
}

/// Finite numbers, others for every seed.
fn numbers(seed: usize, count: usize) -> Vec<u8> {
    let byte = |i: usize| ((i * 7919 + seed * 31) % 251) as u8;
    (0..count)
        .map(byte)
        .map(|byte| byte ^ if byte & 0x7f >= 0x7c { 0x40 } else { 0 })
        .collect()
}

fn part(tensors: &[Made]) -> Weights {
    let weights = Weights::open("part", Component::Flux, vec![source(safetensors(tensors))]);
    pollster::block_on(weights).unwrap_or_else(|error| panic!("{error}"))
}

/// Asserts that rows of `layer`'s weight are on every device what reading them gives, in blocks.
#[track_caller]
fn assert_blocks(weights: &Weights, layer: &str, block_type: BlockType) {
    let name = format!("{layer}.weight");
    let read = pollster::block_on(weights.read(&name)).unwrap_or_else(|error| panic!("{error}"));
    let (expected, shape) = (read.to_f32(), [read.shape[0], read.shape[1]]);
    for device in devices() {
        let scope = weights.scope(&device).child(layer);
        for rows in [0..shape[0], 1..shape[0] - 1, shape[0] - 1..shape[0], 0..1] {
            let matrix = pollster::block_on(scope.matrix_rows("weight", shape, rows.clone()));
            let Ok(Matrix::Quantized(blocks)) = matrix else {
                panic!("{layer}: {matrix:?}");
            };
            assert_eq!(blocks.block_type(), block_type);
            let found = blocks.dequantize().into_data().try_to_vec::<f32>();
            let range = rows.start * shape[1]..rows.end * shape[1];
            assert_eq!(found.expect("f32"), expected[range], "{layer} {rows:?}");
        }
    }
}

#[test]
fn a_matrix_of_whole_blocks_stays_in_8_bits() {
    for (stored, block_type) in [
        (StoredType::F8E4M3, BlockType::F8E4M3),
        (StoredType::F8E5M2, BlockType::F8E5M2),
    ] {
        let weights = part(&[tensor("img_in.weight", stored, &[6, 64], numbers(1, 384))]);
        assert_blocks(&weights, "img_in", block_type);
        assert_eq!(weights.loaded_len("img_in.weight", Target::Cpu), 384);
        assert_eq!(weights.loaded_len("img_in.weight", Target::Gpu), 384 + 24);
        assert_eq!(weights.device_len("", &Device::flex()), 384);
    }
}

/// Queries scaled as a tensor, keys by rows, values not at all, as ComfyUI's marker allows.
fn attention() -> Vec<Made> {
    let name = |leaf: &str| format!("transformer_blocks.0.attn.{leaf}");
    let matrix = |leaf, seed| {
        tensor(
            &name(leaf),
            StoredType::F8E4M3,
            &[4, 32],
            numbers(seed, 128),
        )
    };
    vec![
        tensor("scaled_fp8", StoredType::F8E4M3, &[2], vec![0, 0]),
        matrix("to_q.weight", 1),
        tensor(
            &name("to_q.scale_weight"),
            StoredType::F32,
            &[],
            f32_bytes(&[0.37]),
        ),
        matrix("to_k.weight", 2),
        tensor(
            &name("to_k.scale_weight"),
            StoredType::F32,
            &[4, 1],
            f32_bytes(&[0.1, -0.2, 3.0, 1e-3]),
        ),
        matrix("to_v.weight", 3),
    ]
}

#[test]
fn joined_matrices_keep_the_scales_of_their_parts() {
    let weights = part(&attention());
    let layer = "double_blocks.0.img_attn.qkv";
    assert_blocks(&weights, layer, BlockType::F8E4M3);
    let len = |target| weights.loaded_len(&format!("{layer}.weight"), target);
    assert_eq!([len(Target::Cpu), len(Target::Gpu)], [384 + 48; 2]);
}

#[test]
fn parts_of_two_types_of_8_bits_are_a_dense_matrix() {
    let mut tensors = attention();
    tensors[5].stored = StoredType::F8E5M2;
    let weights = part(&tensors);
    let device = Device::flex();
    let scope = weights.scope(&device).child("double_blocks.0.img_attn.qkv");
    let matrix = pollster::block_on(scope.matrix("weight", [12, 32]));
    assert!(matches!(matrix, Ok(Matrix::Dense(_))), "{matrix:?}");
}

#[test]
fn halves_that_are_swapped_take_their_scales_with_them() {
    let scales: Vec<f32> = (1..=8).map(|row| row as f32 * 0.7).collect();
    let weights = part(&[
        tensor("scaled_fp8", StoredType::F8E4M3, &[2], vec![0, 0]),
        tensor(
            "norm_out.linear.weight",
            StoredType::F8E4M3,
            &[8, 32],
            numbers(4, 256),
        ),
        tensor(
            "norm_out.linear.scale_weight",
            StoredType::F32,
            &[8],
            f32_bytes(&scales),
        ),
    ]);
    assert_blocks(
        &weights,
        "final_layer.adaLN_modulation.1",
        BlockType::F8E4M3,
    );
}

#[test]
fn scales_of_blocks_of_rows_make_a_dense_matrix() {
    let scales: Vec<f32> = (1..=6).map(|block| block as f32).collect();
    let weights = part(&[
        tensor(
            "img_in.weight",
            StoredType::F8E4M3,
            &[64, 96],
            numbers(5, 64 * 96),
        ),
        tensor(
            "img_in.weight_scale_inv",
            StoredType::F32,
            &[2, 3],
            f32_bytes(&scales),
        ),
    ]);
    let device = Device::flex();
    let scope = weights.scope(&device).child("img_in");
    let matrix = pollster::block_on(scope.matrix("weight", [64, 96]));
    assert!(matches!(matrix, Ok(Matrix::Dense(_))), "{matrix:?}");
    assert_eq!(weights.device_len("", &device), 4 * 64 * 96);
}

#[test]
fn a_table_of_8_bits_is_looked_up_where_it_is() {
    let weights = part(&attention());
    let name = "double_blocks.0.img_attn.qkv";
    let read = pollster::block_on(weights.read(&format!("{name}.weight"))).expect("a tensor");
    let expected = read.to_f32();
    for device in devices() {
        let scope = weights.scope(&device).child(name);
        let Ok(Matrix::Quantized(table)) = pollster::block_on(scope.matrix("weight", [12, 32]))
        else {
            panic!("{name} is no table of blocks");
        };
        let ids = Tensor::from_data([0, 7, 11], &device);
        let rows = table.select(ids).into_data().try_to_vec::<f32>();
        let rows = rows.expect("f32");
        let expected = [0, 7, 11].map(|row| &expected[row * 32..][..32]).concat();
        assert_eq!(rows, expected);
    }
}
