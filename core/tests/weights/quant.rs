//! The host quantizers against bytes that ggml made.
//!
//! `data/ggml_blocks.gguf` comes from `tests/reference/make_ggml_vectors.py`: rows of awkward
//! numbers, the blocks that ggml's C quantizers make of them, and what gguf-py reads from these.

use burn::tensor::Device;
use proptest::prelude::*;
use x2i_core::weights::gguf::GgufWriter;
use x2i_core::weights::quant::{can_quantize, dequantize, quantize};
use x2i_core::weights::{Component, HostTensor, Matrix, StoredType, Target, WeightFile, Weights};

use crate::common::{opened, source};

const ALL_BLOCKS: [(StoredType, &str); 10] = [
    (StoredType::Q8_0, "q8_0"),
    (StoredType::Q4_0, "q4_0"),
    (StoredType::Q4_1, "q4_1"),
    (StoredType::Q5_0, "q5_0"),
    (StoredType::Q5_1, "q5_1"),
    (StoredType::Q2K, "q2_K"),
    (StoredType::Q3K, "q3_K"),
    (StoredType::Q4K, "q4_K"),
    (StoredType::Q5K, "q5_K"),
    (StoredType::Q6K, "q6_K"),
];

/// Those of `data/ggml_iq_blocks.gguf`, which `tests/reference/make_iq_vectors.py` makes.
const RARE_BLOCKS: [StoredType; 12] = [
    StoredType::IQ4NL,
    StoredType::IQ4XS,
    StoredType::IQ3S,
    StoredType::IQ3XXS,
    StoredType::IQ2S,
    StoredType::IQ2XS,
    StoredType::IQ2XXS,
    StoredType::IQ1M,
    StoredType::IQ1S,
    StoredType::TQ2_0,
    StoredType::TQ1_0,
    StoredType::MXFP4,
];

fn ggml_blocks() -> WeightFile {
    opened(include_bytes!("data/ggml_blocks.gguf").to_vec())
}

fn read<'a>(file: &'a WeightFile, name: &str) -> HostTensor<'a> {
    pollster::block_on(file.read(name)).unwrap_or_else(|error| panic!("{error}"))
}

/// Bits rather than numbers: a zero's sign counts, too.
fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn every_block_type_is_read_to_the_bit_as_gguf_py_reads_it() {
    let file = ggml_blocks();
    for (stored, name) in ALL_BLOCKS {
        let blocks = read(&file, name);
        assert_eq!(blocks.stored, stored, "{name}");
        let expected = read(&file, &format!("{name}.f32")).to_f32();
        assert_eq!(bits(&blocks.to_f32()), bits(&expected), "{name}");
    }
}

#[test]
fn every_rare_block_type_is_read_to_the_bit_as_gguf_py_reads_it() {
    let file = opened(include_bytes!("data/ggml_iq_blocks.gguf").to_vec());
    for stored in RARE_BLOCKS {
        let name = stored.to_string();
        let blocks = read(&file, &name);
        assert_eq!(blocks.stored, stored, "{name}");
        let expected = read(&file, &format!("{name}.f32")).to_f32();
        assert_eq!(expected.len(), 6 * 256);
        assert_eq!(bits(&blocks.to_f32()), bits(&expected), "{name}");
        assert!(!can_quantize(stored));
    }
}

#[test]
fn types_of_few_bits_are_repacked_to_blocks_of_the_same_numbers() {
    let device = Device::flex();
    for (bytes, types) in [
        (
            &include_bytes!("data/ggml_iq_blocks.gguf")[..],
            &RARE_BLOCKS[..],
        ),
        (include_bytes!("data/ggml_blocks.gguf"), &[StoredType::Q3K]),
    ] {
        let file = opened(bytes.to_vec());
        for &stored in types {
            let name = match stored {
                StoredType::Q3K => "q3_K".to_owned(),
                _ => stored.to_string(),
            };
            let blocks = read(&file, &name);
            let count = blocks.to_f32().len();
            let plan = vec![("img_in.weight".to_owned(), stored, vec![count / 256, 256])];
            let writer = GgufWriter::new(vec![], plan).expect("a plan");
            let mut gguf = writer.start("part", Vec::new()).expect("a header");
            gguf.write_tensor(&blocks.bytes).expect("a tensor");
            let sources = vec![source(gguf.finish().expect("a whole file"))];
            let weights = pollster::block_on(Weights::open("part", Component::Flux, sources));
            let weights = weights.unwrap_or_else(|error| panic!("{error}"));
            let scope = weights.scope(&device).child("img_in");
            for rows in [0..count / 256, 1..3] {
                let numbers = rows.start * 256..rows.end * 256;
                let matrix = scope.matrix_rows("weight", [count / 256, 256], rows);
                let Ok(Matrix::Quantized(matrix)) = pollster::block_on(matrix) else {
                    panic!("{name} is dense");
                };
                let found = matrix.dequantize().into_data().try_to_vec::<f32>();
                assert_eq!(found.expect("f32"), blocks.to_f32()[numbers], "{name}");
            }
            let bits = weights.loaded_len("img_in.weight", Target::Gpu) * 8 / count as u64;
            assert!(bits <= 10, "{name} takes {bits} bits a number");
        }
    }
}

/// gguf-py has no reader of these, which ggml makes of a layer's input and never writes into a file.
#[test]
fn blocks_of_inputs_are_a_scale_times_bytes() {
    let bytes = |length: usize| (0..length).map(|i| (i * 7) as u8);
    let expected = |length| {
        bytes(length)
            .map(|b| f32::from(b as i8) * 0.5)
            .collect::<Vec<_>>()
    };
    let q8_1: Vec<u8> = [0x00, 0x38, 0xff, 0x7b]
        .into_iter()
        .chain(bytes(32))
        .collect();
    assert_eq!(dequantize(&q8_1, StoredType::Q8_1), expected(32));
    let sums = [0x55; 32];
    let q8_k = 0.5f32
        .to_le_bytes()
        .into_iter()
        .chain(bytes(256))
        .chain(sums);
    let q8_k: Vec<u8> = q8_k.collect();
    assert_eq!(dequantize(&q8_k, StoredType::Q8K), expected(256));
}

#[test]
fn blocks_are_made_to_the_byte_as_ggml_makes_them() {
    let file = ggml_blocks();
    let values = read(&file, "values").to_f32();
    let made = ALL_BLOCKS
        .iter()
        .filter(|(stored, _)| can_quantize(*stored));
    let names: Vec<&str> = made
        .map(|&(stored, name)| {
            let expected = read(&file, name);
            assert!(quantize(&values, stored) == *expected.bytes, "{name}");
            name
        })
        .collect();
    assert_eq!(names, ["q8_0", "q4_0", "q4_K"]);
}

/// One block with values of both signs and many sizes.
fn block() -> Vec<f32> {
    let value = |i: i32| {
        let sign = if i % 3 == 0 { -1.7 } else { 1.0 };
        ((f64::from((i * 37) % 64) - 31.5) * 0.173 * sign) as f32
    };
    (0..32).map(value).collect()
}

/// What `gguf.quants.quantize` of gguf-py 0.17 gives for [`block`].
const GGML: [(StoredType, &str); 4] = [
    (
        StoredType::Q8_0,
        "ab2c7f0dcdc2e53c06bc144b2cec8d04c4d2db33164b0b5b22e29dfabae2d22a2641",
    ),
    (StoredType::Q4_0, "a2bca0577b3c7a2468ace783c5a9bf586c4b"),
    (
        StoredType::BF16,
        "1441743f6ec092c0ffbf8d40e23e9ec0bc3fae404d40bcbf06c1853e8dc058c0\
         2cc06e40cf3fae40473fd44021400ac0e7c0ddbea3c00dc058c0424033409840",
    ),
    (
        StoredType::F16,
        "a2489d3b70c38fc4f5bf69440f37eec4e23d71456742e2bd31c8273469c4c4c2\
         5dc17043783e73453a3a9e46044153c035c7ecb61ac569c0bfc20e429741c244",
    ),
];

#[test]
fn quantizers_give_ggmls_bytes() {
    for (stored, expected) in GGML {
        let hex: String = quantize(&block(), stored)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(hex, expected, "{stored}");
    }
}

#[test]
fn a_block_of_zeros_stays_zero() {
    for stored in [StoredType::Q8_0, StoredType::Q4_0, StoredType::Q4K] {
        let bytes = quantize(&[0.0; 256], stored);
        assert_eq!(dequantize(&bytes, stored), [0.0; 256], "{stored}");
    }
}

#[test]
fn every_plain_type_widens_to_f32() {
    let cases: [(StoredType, &[u8], f32); 15] = [
        (StoredType::F64, &1.5f64.to_le_bytes(), 1.5),
        (StoredType::F32, &(-2.5f32).to_le_bytes(), -2.5),
        (StoredType::F16, &[0x00, 0x3e], 1.5),
        (StoredType::BF16, &[0xc0, 0x3f], 1.5),
        (StoredType::I64, &(-7i64).to_le_bytes(), -7.0),
        (StoredType::I32, &70_000i32.to_le_bytes(), 70_000.0),
        (StoredType::I16, &(-300i16).to_le_bytes(), -300.0),
        (StoredType::I8, &[0xff], -1.0),
        (StoredType::F8E4M3, &[0xbc], -1.5),
        (StoredType::F8E5M2, &[0x3e], 1.5),
        (
            StoredType::U64,
            &(1u64 << 40).to_le_bytes(),
            (1u64 << 40) as f32,
        ),
        (StoredType::U32, &4_000_000_000u32.to_le_bytes(), 4e9),
        (StoredType::U16, &[0xff, 0xff], 65_535.0),
        (StoredType::U8, &[0xff], 255.0),
        (StoredType::Bool, &[1], 1.0),
    ];
    for (stored, bytes, expected) in cases {
        assert_eq!(dequantize(bytes, stored), [expected], "{stored}");
    }
}

proptest! {
    /// Half a step of the grid; Q4_0 loses up to a whole one at the end opposite to the largest
    /// value, where its 16 steps are one short.
    #[test]
    fn blocks_come_back_within_a_step(values in prop::collection::vec(-100f32..100.0, 64)) {
        for (stored, steps, tolerance) in [(StoredType::Q8_0, 127.0, 0.51), (StoredType::Q4_0, 8.0, 1.01)] {
            let back = dequantize(&quantize(&values, stored), stored);
            for (block, back) in values.chunks(32).zip(back.chunks(32)) {
                let largest = block.iter().fold(0f32, |max, v| max.max(v.abs()));
                for (value, back) in block.iter().zip(back) {
                    // f16 keeps 11 bits of the scale.
                    let limit = largest / steps * tolerance + largest * 1e-3;
                    prop_assert!((value - back).abs() <= limit, "{stored}: {value} became {back}");
                }
            }
        }
    }
}
