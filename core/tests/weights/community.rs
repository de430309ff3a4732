//! Files as the community's tools lay them out hold what the checkpoints they come from hold.
//!
//! `tests/community/*.gguf` come from `tests/reference/make_community_files.py`, which makes them
//! of the golden models with gguf-py.

use std::path::Path;

use x2i_core::weights::quant::quantize;
use x2i_core::weights::{Component, StoredType, Weights};

use crate::common::{golden_bytes, source};

fn open(component: Component, files: Vec<Vec<u8>>) -> Weights {
    let sources = files.into_iter().map(source).collect();
    pollster::block_on(Weights::open("part", component, sources))
        .unwrap_or_else(|error| panic!("{error}"))
}

fn community(file: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/community");
    std::fs::read(folder.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Asserts that every tensor is the golden's, rounded to the type that it has in the file.
fn assert_holds(weights: &Weights, golden: &Weights, types: &[StoredType]) {
    assert_eq!(weights.ignored(), [] as [&str; 0]);
    assert!(weights.names().eq(golden.names()));
    let mut found: Vec<StoredType> = weights
        .names()
        .map(|name| {
            let read = |weights: &Weights| {
                let tensor = pollster::block_on(weights.read(name));
                let tensor = tensor.unwrap_or_else(|error| panic!("{error}"));
                (
                    tensor.shape.clone(),
                    tensor.stored,
                    tensor.bytes.to_vec(),
                    tensor.to_f32(),
                )
            };
            let (shape, stored, bytes, _) = read(weights);
            let (expected_shape, _, _, values) = read(golden);
            assert_eq!(shape, expected_shape, "{name}");
            assert!(bytes == quantize(&values, stored), "{name} as {stored}");
            stored
        })
        .collect();
    found.sort();
    found.dedup();
    assert_eq!(found, types);
}

#[test]
fn comfyuis_flux_is_the_golden_transformer() {
    let flux = open(Component::Flux, vec![community("flux-tiny-Q4_0.gguf")]);
    let file = "pipeline_tiny/flux/transformer/diffusion_pytorch_model.safetensors";
    let golden = open(Component::Flux, vec![golden_bytes(file)]);
    use StoredType::{BF16, F16, F32, Q4_0};
    assert_holds(&flux, &golden, &[F32, F16, BF16, Q4_0]);
}

#[test]
fn llama_cpps_two_files_are_the_golden_multimodal_llm() {
    let files = ["qwen2.5-vl-tiny-Q8_0.gguf", "mmproj-qwen2.5-vl-tiny.gguf"];
    let llm = open(Component::Qwen2_5Vl, files.map(community).into());
    let golden = golden_bytes("qwen2_5_vl_tiny/model.safetensors");
    let golden = open(Component::Qwen2_5Vl, vec![golden]);
    use StoredType::{F16, F32, Q8_0};
    assert_holds(&llm, &golden, &[F32, F16, Q8_0]);
}
