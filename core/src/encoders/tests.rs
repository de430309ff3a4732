//! Helpers of the families' tests: made-up weights, a tokenizer of letters, and runs of a model.

use std::ops::ControlFlow;
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use serde_json::{Map, Value, json};

use super::*;
use crate::config::{Conditioning, GenerationConfig, PreprocessorConfig, PromptFormat};
use crate::error::Error;
use crate::image::Image;
use crate::tokenizer::AddedFiles;
use crate::weights::{Component, MemorySource, Weights};

/// A tensor's name and shape.
pub(super) type Named = (String, Vec<usize>);

/// Names and shapes under a prefix.
pub(super) fn named(prefix: &str, rows: &[(&str, &[usize])]) -> Vec<Named> {
    rows.iter()
        .map(|(name, shape)| (format!("{prefix}.{name}"), shape.to_vec()))
        .collect()
}

/// A layer of a decoder of this width, with keys and values `kv` wide and an MLP `inner` wide.
pub(super) fn decoder_layer(prefix: &str, width: usize, kv: usize, inner: usize) -> Vec<Named> {
    named(
        prefix,
        &[
            ("input_layernorm.weight", &[width]),
            ("post_attention_layernorm.weight", &[width]),
            ("self_attn.q_proj.weight", &[width, width]),
            ("self_attn.q_proj.bias", &[width]),
            ("self_attn.k_proj.weight", &[kv, width]),
            ("self_attn.k_proj.bias", &[kv]),
            ("self_attn.v_proj.weight", &[kv, width]),
            ("self_attn.v_proj.bias", &[kv]),
            ("self_attn.o_proj.weight", &[width, width]),
            ("mlp.gate_proj.weight", &[inner, width]),
            ("mlp.up_proj.weight", &[inner, width]),
            ("mlp.down_proj.weight", &[width, inner]),
        ],
    )
}

/// A safetensors file of these tensors. `value` gives each number from the tensor's name, the number's
/// index in it, and how many numbers stand before it in the file.
pub(super) fn weights(
    component: Component,
    tensors: Vec<Named>,
    value: impl Fn(&str, usize, usize) -> f32,
) -> Weights {
    let (mut header, mut bytes) = (Map::new(), Vec::<u8>::new());
    for (name, shape) in tensors {
        let start = bytes.len();
        for index in 0..shape.iter().product() {
            let value = value(&name, index, bytes.len() / size_of::<f32>());
            bytes.extend(value.to_le_bytes());
        }
        let record =
            json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, bytes.len()] });
        header.insert(name, record);
    }
    let header = serde_json::to_vec(&header).unwrap();
    let file = [&(header.len() as u64).to_le_bytes()[..], &header, &bytes].concat();
    open(component, MemorySource::new("tiny.safetensors", file))
}

/// The weights of one file.
pub(super) fn open(component: Component, file: MemorySource) -> Weights {
    let file = Arc::new(file);
    pollster::block_on(Weights::open("tiny", component, vec![file])).unwrap()
}

/// Letters are tokens, 26 is the space; the special ones follow from 27.
pub(super) fn tokenizer(special: &[&str]) -> Tokenizer {
    let letters = ('a'..='z').chain(['Ġ']).enumerate();
    let vocab: Map<_, _> = letters
        .map(|(id, letter)| (letter.to_string(), json!(id)))
        .collect();
    let added: Map<_, _> = (vocab.len()..)
        .zip(special)
        .map(|(id, token)| (id.to_string(), json!({ "content": token, "special": true })))
        .collect();
    let json = [Value::from(vocab), json!({ "added_tokens_decoder": added })];
    let [vocab, added] = json.map(|json| serde_json::to_vec(&json).unwrap());
    let added = AddedFiles {
        tokenizer_config: Some(&added),
        ..AddedFiles::default()
    };
    Tokenizer::from_vocab_and_merges("", &vocab, b"", added).unwrap()
}

/// An encoder's part with the defaults of its configs.
pub(super) fn part(config: EncoderConfig) -> EncoderPart {
    EncoderPart {
        config,
        weights: vec![],
        tokenizer: "tokenizer.json".into(),
        chat_template: None,
        preprocessor: PreprocessorConfig::default(),
        generation: GenerationConfig::default(),
        vision: Default::default(),
    }
}

/// The model of a part on the CPU.
pub(super) fn loaded<F: Family>(
    config: &F::Config,
    part: &EncoderPart,
    tokenizer: Tokenizer,
    weights: &Weights,
) -> F {
    let device = Device::flex();
    let scope = weights.scope(&device);
    let bytes = EncoderBytes::of(&part.config, weights, &device);
    assert!(
        bytes.finds_layers(),
        "no layers below {}",
        part.config.layers_prefix()
    );
    pollster::block_on(F::load(config, part, tokenizer, &scope)).unwrap()
}

/// Plain words, no padding, five tokens of an answer.
pub(super) fn options(conditioning: Conditioning) -> EncodeOptions {
    EncodeOptions {
        conditioning,
        prompt_format: PromptFormat::Plain,
        padding: None,
        input_image_size: None,
        max_new_tokens: 5,
        seed: 1,
        certainty: None,
        unknown: None,
    }
}

/// A run that nothing stops.
pub(super) fn encode<F: Family>(
    model: &F,
    prompt: &Prompt,
    options: &EncodeOptions,
) -> Result<Encoded> {
    let mut go = async |_| ControlFlow::Continue(());
    pollster::block_on(model.encode(prompt, options, &mut go))
}

/// A run that is stopped at the event after `allowed` ones: whether it was cancelled, and how many
/// events there were.
pub(super) fn stopped<F: Family>(
    model: &F,
    prompt: &Prompt,
    options: &EncodeOptions,
    allowed: usize,
) -> (bool, usize) {
    let mut heard = 0;
    let mut stop = async |_| {
        heard += 1;
        match heard > allowed {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    };
    let outcome = pollster::block_on(model.encode(prompt, options, &mut stop));
    (matches!(outcome, Err(Error::Cancelled)), heard)
}

/// Pseudo-random pixels.
pub(super) fn image(width: usize, height: usize) -> Image {
    let pixels = (0..width * height * 3).map(|i| (i * 7 % 256) as u8);
    Image::new(width, height, pixels.collect()).unwrap()
}

/// Rounding of f32 sums in another order.
pub(super) const EXACT: f32 = 1e-5;

pub(super) fn assert_close<const D: usize>(ours: Tensor<D>, expected: Tensor<D>, tolerance: f32) {
    assert_eq!(ours.dims(), expected.dims());
    let worst: f32 = (ours - expected).abs().max().into_scalar();
    assert!(worst < tolerance, "{worst}");
}
