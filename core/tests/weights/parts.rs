//! A tensor read in parts is the tensor read at once, however it is put together.

use std::ops::Range;

use burn::tensor::{Device, FloatDType};
use x2i_core::weights::gguf::MetaValue;
use x2i_core::weights::quant::quantize;
use x2i_core::weights::{Component, Matrix, StoredType, WeightFile, Weights};

use crate::common::{Made, Pickle, f32_bytes, opened, safetensors, source, torch_zip};
use crate::gguf::write;
use crate::pairs::flux;

fn part(weights: &Weights, name: &str, elements: Range<u64>) -> Vec<u8> {
    let part = pollster::block_on(weights.read_part(name, elements));
    part.unwrap_or_else(|error| panic!("{error}")).into_owned()
}

/// Every cut of every tensor into three, at multiples of `step` numbers.
fn assert_parts_are_the_whole(weights: &Weights, step: usize) {
    for name in weights.names() {
        let whole = pollster::block_on(weights.read(name)).unwrap_or_else(|e| panic!("{e}"));
        let elements = whole.shape.iter().product::<usize>() as u64;
        for first in (0..=elements).step_by(step) {
            for second in (first..=elements).step_by(step) {
                let cuts = [0..first, first..second, second..elements];
                let joined: Vec<u8> = cuts
                    .into_iter()
                    .flat_map(|cut| part(weights, name, cut))
                    .collect();
                assert!(joined == *whole.bytes, "{name} cut at {first} and {second}");
            }
        }
    }
}

#[test]
fn joined_and_swapped_tensors() {
    let weights = Weights::open(
        "part",
        Component::Flux,
        vec![source(safetensors(&flux().foreign))],
    );
    let weights = pollster::block_on(weights).unwrap_or_else(|error| panic!("{error}"));
    assert_parts_are_the_whole(&weights, 1);
}

#[test]
fn pieces_of_several_types_whose_blocks_a_part_cuts() {
    let types = [StoredType::F32, StoredType::Q8_0, StoredType::Q4_0];
    let rows = [1, 3, 2];
    let tensors = ["to_q", "to_k", "to_v"].iter().zip(types).zip(rows);
    let tensors = tensors.map(|((name, stored), rows)| {
        let name = format!("transformer_blocks.0.attn.{name}.weight");
        let values: Vec<f32> = (0..rows * 32).map(|i| i as f32 - 40.0).collect();
        ((name, stored, vec![rows, 32]), quantize(&values, stored))
    });
    let file = source(write(Vec::new(), tensors.collect()));
    let weights = pollster::block_on(Weights::open("part", Component::Flux, vec![file]))
        .unwrap_or_else(|error| panic!("{error}"));
    assert_parts_are_the_whole(&weights, 7);
}

#[test]
fn the_two_frames_of_llama_cpps_patch_embedding() {
    // [out 2, channels 3, frames 2, height 2, width 2]
    let whole = Made::counting("visual.patch_embed.proj.weight", &[2, 3, 2, 2, 2], 0.0);
    let frames = ["v.patch_embd.weight", "v.patch_embd.weight.1"]
        .iter()
        .zip([0.0, 4.0])
        .map(|(name, frame)| {
            let first = |plane: usize| plane as f32 * 8.0 + frame;
            let values = (0..6).flat_map(|plane| (0..4).map(move |i| first(plane) + i as f32));
            Made {
                name: (*name).to_owned(),
                stored: StoredType::F32,
                shape: vec![2, 3, 2, 2],
                bytes: f32_bytes(&values.collect::<Vec<f32>>()),
            }
        })
        .collect::<Vec<Made>>();
    let file = source(safetensors(&frames));
    let weights = pollster::block_on(Weights::open("part", Component::Qwen2_5Vl, vec![file]))
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(weights.shape(&whole.name), Some(vec![2, 24]));
    assert_eq!(part(&weights, &whole.name, 0..48), whole.bytes);
    assert_parts_are_the_whole(&weights, 5);

    let alone = source(safetensors(&frames[..1]));
    let error = pollster::block_on(Weights::open("part", Component::Qwen2_5Vl, vec![alone]));
    let error = error.expect_err("one frame of two").to_string();
    assert!(error.contains("v.patch_embd.weight.1"), "{error}");
}

#[test]
fn a_view_across_its_storage() {
    // The transpose of [3, 2], behind one number.
    let pickle = Pickle::new()
        .raw(b"}")
        .text("t")
        .tensor("0", 8, 1, &[2, 3], &[1, 2])
        .raw(b"s")
        .stop();
    let values: Vec<f32> = (0..8).map(|i| i as f32).collect();
    let file: WeightFile = opened(torch_zip(pickle, &[f32_bytes(&values)]));
    let expected = [1.0, 3.0, 5.0, 2.0, 4.0, 6.0];
    for start in 0..=6 {
        for end in start..=6 {
            let part = pollster::block_on(file.read_part("t", start as u64..end as u64));
            let part = part.unwrap_or_else(|error| panic!("{error}"));
            assert!(*part == *f32_bytes(&expected[start..end]), "{start}..{end}");
        }
    }
}

/// A matrix's numbers as f32.
fn numbers(matrix: Matrix) -> Vec<f32> {
    let dense = match matrix {
        Matrix::Dense(dense) => dense.cast(FloatDType::F32),
        Matrix::Quantized(blocks) => blocks.dequantize(),
        Matrix::Parts(parts) => panic!("the CPU binds matrices whole, not in {}", parts.len()),
    };
    dense.into_data().try_to_vec().expect("f32")
}

#[test]
fn rows_of_a_matrix_are_rows_of_the_whole() {
    let device = Device::flex();
    let values: Vec<f32> = (0..6 * 32).map(|i| (i * 37 % 101) as f32 - 50.0).collect();
    for stored in [
        StoredType::F32,
        StoredType::F16,
        StoredType::Q8_0,
        StoredType::Q4_0,
    ] {
        // One tensor, as its file has it, and three that are joined.
        let name = |name: &str, rows| ((name.to_owned(), stored, vec![rows, 32]), rows * 32);
        let whole = [name("double_blocks.0.img_attn.qkv.weight", 6)];
        let joined = ["to_q", "to_k", "to_v"]
            .map(|part| name(&format!("transformer_blocks.0.attn.{part}.weight"), 2));
        for tensors in [&whole[..], &joined] {
            let mut first = 0;
            let tensors = tensors.iter().map(|(header, length)| {
                let part = &values[first..first + length];
                first += length;
                (header.clone(), quantize(part, stored))
            });
            let metadata = vec![("general.architecture".to_owned(), MetaValue::from("flux"))];
            let bytes = write(metadata, tensors.collect());
            let weights = Weights::open("part", Component::Flux, vec![source(bytes)]);
            let weights = pollster::block_on(weights).unwrap_or_else(|error| panic!("{error}"));
            let scope = weights.scope(&device).child("double_blocks.0.img_attn.qkv");
            let rows = |rows| {
                let matrix = scope.matrix_rows("weight", [6, 32], rows);
                numbers(pollster::block_on(matrix).unwrap_or_else(|error| panic!("{error}")))
            };
            let all = rows(0..6);
            assert_eq!(all.len(), values.len());
            for (start, end) in [(0, 3), (3, 6), (1, 2), (5, 6), (2, 2)] {
                assert_eq!(rows(start..end), all[start * 32..end * 32], "{stored:?}");
            }
        }
    }
}
