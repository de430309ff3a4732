//! A tiny transformer of random numbers, in a file of any type.

use std::sync::Arc;

use pollster::block_on;
use x2i_core::config::FluxConfig;
use x2i_core::weights::gguf::GgufWriter;
use x2i_core::weights::{
    Component, MemorySource, StoredType, WeightFile, WeightSource, Weights, quant,
};

pub fn config() -> FluxConfig {
    FluxConfig {
        in_channels: 16,
        num_layers: 2,
        num_single_layers: 2,
        attention_head_dim: 16,
        num_attention_heads: 4,
        joint_attention_dim: 32,
        pooled_projection_dim: 32,
        guidance_embeds: true,
        axes_dims_rope: vec![4, 6, 6],
    }
}

/// Numbers of about a normal distribution of this deviation.
pub fn numbers(count: usize, seed: u32, deviation: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12_345);
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / u32::MAX as f32 - 0.5
    };
    // The variance of the sum of four is a third.
    let mut number = || (uniform() + uniform() + uniform() + uniform()) * 3f32.sqrt() * deviation;
    (0..count).map(|_| number()).collect()
}

/// Names and shapes, matrices with their biases.
fn tensors(config: &FluxConfig) -> Vec<(String, Vec<usize>)> {
    let (hidden, head) = (config.hidden_size(), config.attention_head_dim);
    let mut all = vec![];
    let mut layer = |name: String, output: usize, input: usize| {
        all.push((format!("{name}.weight"), vec![output, input]));
        all.push((format!("{name}.bias"), vec![output]));
    };
    layer("img_in".into(), hidden, config.in_channels);
    layer("txt_in".into(), hidden, config.joint_attention_dim);
    for (name, input) in [
        ("time_in", 256),
        ("guidance_in", 256),
        ("vector_in", config.pooled_projection_dim),
    ] {
        layer(format!("{name}.in_layer"), hidden, input);
        layer(format!("{name}.out_layer"), hidden, hidden);
    }
    let mut norms = vec![];
    for block in 0..config.num_layers {
        for stream in ["img", "txt"] {
            let prefix = format!("double_blocks.{block}.{stream}");
            layer(format!("{prefix}_mod.lin"), 6 * hidden, hidden);
            layer(format!("{prefix}_attn.qkv"), 3 * hidden, hidden);
            layer(format!("{prefix}_attn.proj"), hidden, hidden);
            layer(format!("{prefix}_mlp.0"), 4 * hidden, hidden);
            layer(format!("{prefix}_mlp.2"), hidden, 4 * hidden);
            norms.push(format!("{prefix}_attn.norm"));
        }
    }
    for block in 0..config.num_single_layers {
        let prefix = format!("single_blocks.{block}");
        layer(format!("{prefix}.modulation.lin"), 3 * hidden, hidden);
        layer(format!("{prefix}.linear1"), 7 * hidden, hidden);
        layer(format!("{prefix}.linear2"), hidden, 5 * hidden);
        norms.push(format!("{prefix}.norm"));
    }
    layer("final_layer.adaLN_modulation.1".into(), 2 * hidden, hidden);
    layer("final_layer.linear".into(), config.in_channels, hidden);
    for norm in norms {
        for name in ["query_norm", "key_norm"] {
            all.push((format!("{norm}.{name}.scale"), vec![head]));
        }
    }
    all
}

pub fn source(name: &str, bytes: Vec<u8>) -> Arc<dyn WeightSource> {
    Arc::new(MemorySource::new(name, bytes))
}

/// The transformer with matrices of the blocks in this type.
pub fn transformer(config: &FluxConfig, stored: StoredType) -> Weights {
    let tensors = tensors(config)
        .into_iter()
        .enumerate()
        .map(|(number, (name, shape))| {
            let count = shape.iter().product();
            let values = match shape.len() {
                2 => numbers(count, number as u32, 1.5 / (shape[1] as f32).sqrt()),
                _ if name.ends_with(".scale") => vec![1.0; count],
                _ => numbers(count, number as u32, 0.1),
            };
            let coded = shape.len() == 2 && name.contains("_blocks.");
            (
                name,
                if coded { stored } else { StoredType::F32 },
                shape,
                values,
            )
        });
    file(tensors.collect())
}

/// The same values as f32.
pub fn widened(weights: &Weights) -> Weights {
    let tensors = weights.names().map(|name| {
        let tensor = block_on(weights.read(name)).expect("it is in memory");
        let values = tensor.to_f32();
        (name.to_owned(), StoredType::F32, tensor.shape, values)
    });
    file(tensors.collect())
}

fn file(tensors: Vec<(String, StoredType, Vec<usize>, Vec<f32>)>) -> Weights {
    let planned = tensors.iter();
    let planned = planned.map(|(name, stored, shape, _)| (name.clone(), *stored, shape.clone()));
    let writer = GgufWriter::new(vec![], planned.collect()).expect("names and shapes are good");
    let mut body = writer.start("file", vec![]).expect("memory takes all");
    for (_, stored, _, values) in &tensors {
        let bytes = quant::quantize(values, *stored);
        body.write_tensor(&bytes).expect("memory takes all");
    }
    let bytes = body.finish().expect("all is written");
    let file = block_on(WeightFile::open(source("transformer", bytes))).expect("well formed");
    Weights::new("transformer", Component::Flux, vec![file]).expect("its names")
}
