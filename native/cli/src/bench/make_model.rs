//! Makes a model folder of FLUX.1-schnell's full shape with generated weights, to measure memory
//! without a download.
//!
//! The transformer and AlignNet are generated; LLM, tokenizer and VAE are the embedded model's. Numbers are
//! random bytes of their type, on all cores, so that it takes as long as the disk. The images of such a model
//! are noise.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use serde_json::Value;
use x2i_core::config::FluxConfig;
use x2i_core::model::{read, read_config};
use x2i_core::weights::gguf::GgufWriter;
use x2i_core::weights::{Component, StoredType, Weights, quant};
use x2i_core::{Conditioning, ModelConfig};

use super::synthetic::{Spread, SyntheticSource, bits, flux_shapes};
use crate::convert::{plan, store};
use crate::flags::{BenchModelArgs, MadeWeights, Quantize};
use x2i_engine::host::human_bytes;
use x2i_engine::models::{EMBEDDED_NAME, ModelFiles};

/// The published numbers.
const SCHNELL: &str = include_str!("../../../../core/configs/flux1-schnell.json");
/// Numbers, or blocks of them, that a thread makes at a time.
const SLICE: usize = 1 << 16;

/// Runs `x2i bench make-model`.
///
/// # Errors
/// When the folder exists or can't be written.
pub(super) fn run(args: &BenchModelArgs) -> Result<()> {
    let json: Value = serde_json::from_str(SCHNELL)?;
    let flux: FluxConfig = serde_json::from_value(json["transformer"].clone())?;
    let flux = FluxConfig {
        num_layers: args.double_blocks.map_or(flux.num_layers, usize::from),
        num_single_layers: args
            .single_blocks
            .map_or(flux.num_single_layers, usize::from),
        ..flux
    };
    let bytes = make(&args.folder, flux, args.weights)?;
    let shown = args.folder.display();
    writeln!(
        std::io::stdout(),
        "{shown}: model `{}`, {}",
        name(args.weights),
        human_bytes(bytes)
    )?;
    Ok(())
}

/// The name of the model.
fn name(made: MadeWeights) -> &'static str {
    match made {
        MadeWeights::Q4_0 => "generated-schnell-q4_0",
        MadeWeights::Bf16 => "generated-schnell-bf16",
    }
}

/// Writes the folder for a transformer of these sizes; returns its bytes.
fn make(folder: &Path, flux: FluxConfig, made: MadeWeights) -> Result<u64> {
    let shown = folder.display();
    if folder.exists() {
        bail!("{shown}: exists; give a new folder");
    }
    let source = ModelFiles::find(Some(EMBEDDED_NAME))?;
    let mut config = pollster::block_on(read_config(&source))?;
    fs::create_dir_all(folder).with_context(|| shown.to_string())?;
    let ModelConfig { encoder, vae, .. } = &config;
    let kept = encoder.weights.iter().chain(&vae.weights);
    for file in kept.chain([&encoder.tokenizer]) {
        let bytes = pollster::block_on(read(&source, file))?;
        let path = folder.join(file);
        fs::write(&path, bytes).with_context(|| path.display().to_string())?;
    }
    let parts = [
        (
            Component::AlignNet,
            "align_net.gguf",
            align_net_shapes(&config, &flux),
        ),
        (Component::Flux, "flux.gguf", flux_shapes(&flux)),
    ];
    for (component, file, shapes) in &parts {
        write_part(&folder.join(file), *component, shapes, made)?;
    }
    config.name = name(made).into();
    config.license = None;
    config.files.clear();
    config.align_net.config = Value::Null;
    config.align_net.weights = vec![parts[0].1.into()];
    config.flux.config = flux;
    config.flux.weights = vec![parts[1].1.into()];
    config.defaults.conditioning = Conditioning::Prompt;
    let path = folder.join("model.json");
    fs::write(&path, serde_json::to_vec_pretty(&config)?)
        .with_context(|| path.display().to_string())?;
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}

/// The shapes of an AlignNet between the embedded model's LLM and this transformer.
fn align_net_shapes(config: &ModelConfig, flux: &FluxConfig) -> Vec<(String, Vec<usize>)> {
    let encoder = &config.encoder.config;
    let (layers, width) = (encoder.hidden_states(), encoder.decoder().hidden_size);
    let (text, pooled) = (flux.joint_attention_dim, flux.pooled_projection_dim);
    let shapes = [
        ("conv.weight", vec![1, layers, 5, 5]),
        ("conv.bias", vec![1]),
        ("mlp.layernorm.weight", vec![width]),
        ("mlp.layernorm.bias", vec![width]),
        ("mlp.projector.0.weight", vec![text, width]),
        ("mlp.projector.2.weight", vec![text, text]),
        ("mlp.fc.1.weight", vec![pooled, text]),
        ("mlp.fc.1.bias", vec![pooled]),
    ];
    shapes
        .map(|(name, shape)| (name.to_owned(), shape))
        .to_vec()
}

/// Writes one component, tensor by tensor.
fn write_part(
    path: &Path,
    component: Component,
    shapes: &[(String, Vec<usize>)],
    made: MadeWeights,
) -> Result<()> {
    let shown = path.display().to_string();
    let source = Arc::new(SyntheticSource::new(shapes));
    let weights = pollster::block_on(Weights::open("synthetic", component, vec![source as _]))?;
    let quantize = match made {
        MadeWeights::Q4_0 => Quantize::Q4_0,
        MadeWeights::Bf16 => Quantize::None,
    };
    let tensors = plan::tensors(component, &weights, quantize);
    let metadata = plan::metadata(component, name(made));
    let writer = GgufWriter::new(metadata, tensors.clone())?;
    let file = File::create(path).with_context(|| shown.clone())?;
    let mut body = writer.start(shown, BufWriter::with_capacity(1 << 20, file))?;
    for (index, planned) in tensors.iter().enumerate() {
        let (name, stored, shape) = planned;
        let count = shape.iter().product::<usize>() / stored.block_len();
        let Spread { deviation, .. } = Spread::of(name, shape);
        // No tensor has 2^32 blocks, so that no two share random numbers.
        let first = (index as u64) << 33;
        match stored {
            StoredType::Q4_0 => body.write_tensor(&random_q4_0(first, count, deviation))?,
            StoredType::BF16 if shape.len() == 2 => {
                body.write_tensor(&random_bf16(first, count, deviation))?;
            }
            _ => store::store(&weights, planned, |bytes| Ok(body.write_part(bytes)?))?,
        }
    }
    body.finish()?;
    Ok(())
}

/// Blocks of Q4_0 (an f16 scale, 32 nibbles that count from -8) with this standard deviation. Scales
/// of both signs make the mean 0.
fn random_q4_0(first: u64, blocks: usize, deviation: f32) -> Vec<u8> {
    /// Root of the mean square of -8..8.
    const NIBBLES: f32 = 4.637;
    const BYTES: usize = 18;
    let scale = quant::quantize(&[deviation / NIBBLES], StoredType::F16);
    let mut bytes = vec![0; blocks * BYTES];
    let slices = bytes.par_chunks_mut(SLICE * BYTES).enumerate();
    slices.for_each(|(slice, bytes)| {
        let first = first + 2 * (slice * SLICE) as u64;
        for (block, bytes) in (0..).zip(bytes.as_chunks_mut::<BYTES>().0) {
            let [low, high] = [0, 1].map(|half| bits(first + 2 * block + half));
            let sign = ((low ^ high).count_ones() as u8 & 1) << 7;
            bytes[..2].copy_from_slice(&[scale[0], scale[1] | sign]);
            bytes[2..10].copy_from_slice(&low.to_le_bytes());
            bytes[10..].copy_from_slice(&high.to_le_bytes());
        }
    });
    bytes
}

/// Numbers in bf16, evenly spread about 0 with this standard deviation.
fn random_bf16(first: u64, count: usize, deviation: f32) -> Vec<u8> {
    let width = deviation * 12f32.sqrt();
    let mut bytes = vec![0; 2 * count];
    let slices = bytes.par_chunks_mut(2 * SLICE).enumerate();
    slices.for_each(|(slice, bytes)| {
        let first = first + (slice * SLICE / 4) as u64;
        for (group, bytes) in (0..).zip(bytes.chunks_mut(8)) {
            let random = bits(first + group).to_le_bytes();
            for (random, bytes) in random.as_chunks().0.iter().zip(bytes.as_chunks_mut().0) {
                let uniform = f32::from(u16::from_le_bytes(*random)) + 0.5;
                let number = (uniform / 65_536.0 - 0.5) * width;
                *bytes = ((number.to_bits() >> 16) as u16).to_le_bytes();
            }
        }
    });
    bytes
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn random_blocks_have_mean_0_and_the_deviation_asked_for() {
        let blocks = 10_000;
        let values = quant::dequantize(&random_q4_0(0, blocks, 0.5), StoredType::Q4_0);
        let count = values.len() as f32;
        let mean = values.iter().sum::<f32>() / count;
        let square = values.iter().map(|value| value * value).sum::<f32>() / count;
        // Five standard deviations of each estimate, plus the rounding of the scale to f16.
        assert!(mean.abs() < 0.006, "{mean}");
        assert!((square.sqrt() / 0.5 - 1.0).abs() < 0.006, "{square}");
    }

    #[test]
    fn random_halves_have_mean_0_and_the_deviation_asked_for() {
        let count = 3 * SLICE + 5; // more slices than one, and a group that is not whole
        let values = quant::dequantize(&random_bf16(0, count, 0.5), StoredType::BF16);
        assert_eq!(values.len(), count);
        let mean = values.iter().sum::<f32>() / count as f32;
        let square = values.iter().map(|value| value * value).sum::<f32>() / count as f32;
        // Five standard deviations of each estimate, and what cutting to 8 bits takes off.
        assert!(mean.abs() < 0.006, "{mean}");
        assert!((square.sqrt() / 0.5 - 1.0).abs() < 0.008, "{square}");
        assert_ne!(values[..SLICE], values[SLICE..2 * SLICE]);
    }

    #[test]
    fn a_small_model_is_a_folder_that_opens() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let flux = FluxConfig {
            in_channels: 64,
            num_layers: 1,
            num_single_layers: 1,
            attention_head_dim: 32,
            num_attention_heads: 2,
            joint_attention_dim: 64,
            pooled_projection_dim: 32,
            guidance_embeds: false,
            axes_dims_rope: vec![8, 12, 12],
        };
        for made in [MadeWeights::Q4_0, MadeWeights::Bf16] {
            let folder = folder.path().join(name(made));
            let bytes = make(&folder, flux.clone(), made)?;
            assert!(bytes > 1_000_000);
            assert!(make(&folder, flux.clone(), made).is_err());
            let source = ModelFiles::find(folder.to_str())?;
            let device = burn::tensor::Device::flex();
            let mut heard = async |_| std::ops::ControlFlow::Continue(());
            let loading = x2i_core::Pipeline::load(&source, &device, &mut heard);
            assert_eq!(pollster::block_on(loading)?.config().name, name(made));
        }
        Ok(())
    }
}
