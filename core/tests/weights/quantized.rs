//! Quantized layers against the floats that their own libraries make of them, bit for bit.
//!
//! `data/quantized` comes from `tests/reference/make_quantized_vectors.py`, which calls bitsandbytes, AutoAWQ,
//! compressed-tensors, transformers and ComfyUI's layouts.

use std::path::PathBuf;

use burn::tensor::{Device, FloatDType};
use half::bf16;
use x2i_core::weights::{Component, Matrix, StoredType, Target, WeightFile, Weights};
use x2i_shaders::BlockType;

use crate::common::{devices, opened, source, values};

/// The vectors, and the floats that reading them gives.
const FORMATS: [(&str, StoredType); 24] = [
    ("nf4", StoredType::BF16),
    ("nf4_odd", StoredType::F16),
    ("nf4_block128", StoredType::F32),
    ("nf4_nested", StoredType::BF16),
    ("fp4", StoredType::F32),
    ("fp4_nested", StoredType::F16),
    ("llm_int8", StoredType::F32),
    ("awq", StoredType::F16),
    ("int8_channel", StoredType::BF16),
    ("int8_asymmetric", StoredType::F32),
    ("int8_group", StoredType::F16),
    ("int8_tensor", StoredType::F32),
    ("packed4", StoredType::BF16),
    ("packed4_zero", StoredType::BF16),
    ("packed8", StoredType::F16),
    ("packed8_zero", StoredType::F32),
    ("fp8_channel", StoredType::BF16),
    ("fp8_static", StoredType::BF16),
    ("fp8_ragged", StoredType::BF16),
    ("fp8_block", StoredType::F32),
    ("fp8_tensor", StoredType::F32),
    ("fp8_e5m2", StoredType::F32),
    ("comfy_int8", StoredType::F32),
    ("comfy_int8_rows", StoredType::F32),
];
/// The vector whose rows are whole blocks.
const BLOCKS: &str = "nf4_nested";
const NAME: &str = "img_in.weight";

fn bytes(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/weights/data/quantized");
    let path = PathBuf::from(folder).join(format!("{name}.safetensors"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn layer(name: &str) -> Weights {
    let weights = Weights::open("part", Component::Flux, vec![source(bytes(name))]);
    pollster::block_on(weights).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The shape and the floats that the library gives.
fn expected(all: &WeightFile, name: &str) -> (Vec<usize>, Vec<f32>) {
    (all.tensors()[name].shape.clone(), values(all, name))
}

/// Bits rather than numbers: the sign of a zero counts, too.
fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn every_format_is_read_to_the_bit_as_its_library_reads_it() {
    let all = opened(bytes("expected"));
    for (name, stored) in FORMATS {
        let (shape, expected) = expected(&all, name);
        let weights = layer(name);
        let tensor = pollster::block_on(weights.read(NAME)).expect(name);
        assert_eq!((tensor.stored, &tensor.shape), (stored, &shape), "{name}");
        assert_eq!(bits(&tensor.to_f32()), bits(&expected), "{name}");
    }
}

#[test]
fn parts_of_a_quantized_weight_are_those_of_the_whole() {
    let all = opened(bytes("expected"));
    for (name, _) in FORMATS {
        let (shape, expected) = expected(&all, name);
        let (weights, columns) = (layer(name), shape[1]);
        for rows in [0..1, 1..shape[0], shape[0] - 1..shape[0], 2..2] {
            let part = pollster::block_on(weights.read_rows(NAME, rows.clone())).expect(name);
            let expected = &expected[rows.start * columns..rows.end * columns];
            assert_eq!(bits(&part.to_f32()), bits(expected), "{name}");
        }
        let size = weights.stored(NAME).expect(name).block_bytes();
        for (start, end) in [(1, 3), (columns - 1, columns + 2), (7, expected.len() - 1)] {
            let part = weights.read_part(NAME, start as u64..end as u64);
            let part = pollster::block_on(part).expect(name);
            let whole = pollster::block_on(weights.read(NAME)).expect(name);
            assert_eq!(*part, whole.bytes[start * size..end * size], "{name}");
        }
    }
}

#[test]
fn a_device_gets_the_same_numbers_and_the_bytes_that_were_planned() {
    let device = Device::flex();
    let all = opened(bytes("expected"));
    let dense = FORMATS.into_iter().filter(|(name, _)| *name != BLOCKS);
    for (name, stored) in dense {
        let (shape, expected) = expected(&all, name);
        let weights = layer(name);
        let planned = expected.len() as u64 * if stored == StoredType::F32 { 4 } else { 2 };
        assert_eq!(weights.byte_len(""), planned, "{name}");
        if weights.as_blocks(NAME, Target::Cpu).is_some() {
            continue; // `repacked` has them
        }
        assert_eq!(weights.device_len("", &device), planned, "{name}");
        let scope = weights.scope(&device).child("img_in");
        let matrix = pollster::block_on(scope.matrix("weight", [shape[0], shape[1]]));
        let Ok(Matrix::Dense(dense)) = matrix else {
            panic!("{name}: {matrix:?}");
        };
        let found = dense.cast(FloatDType::F32).into_data();
        let found = found.try_to_vec::<f32>().expect("f32");
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn four_bits_stay_blocks_and_are_the_library_s_floats_before_it_rounds_them() {
    let (shape, expected) = expected(&opened(bytes("expected")), BLOCKS);
    let weights = layer(BLOCKS);
    for target in [Target::Cpu, Target::Gpu] {
        let planned = expected.len() as u64 / 32 * (4 + 16);
        assert_eq!(weights.loaded_len(NAME, target), planned, "{target:?}");
    }
    for device in devices() {
        let scope = weights.scope(&device).child("img_in");
        for rows in [0..shape[0], 1..2, shape[0] - 3..shape[0]] {
            let matrix = scope.matrix_rows("weight", [shape[0], shape[1]], rows.clone());
            let Ok(Matrix::Quantized(blocks)) = pollster::block_on(matrix) else {
                panic!("{rows:?} are no blocks");
            };
            assert_eq!(blocks.block_type(), BlockType::NF4);
            let found = blocks.dequantize().into_data().try_to_vec::<f32>();
            let found = found.expect("f32").into_iter();
            let rounded: Vec<f32> = found.map(|value| bf16::from_f32(value).to_f32()).collect();
            let part = rows.start * shape[1]..rows.end * shape[1];
            assert_eq!(rounded, expected[part], "{rows:?}");
        }
    }
}
