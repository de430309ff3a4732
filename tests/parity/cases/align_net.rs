//! AlignNet in all its mixes and file forms, and at the published sizes.

use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use serde_json::Value;
use x2i_core::align_net::AlignNet;
use x2i_core::config::AlignNetConfig;
use x2i_core::weights::{Component, MemorySource, WeightFile, Weights};

use crate::case::{Case, Outcome};
use crate::device::Effort;
use crate::report::Report;

/// The published checkpoint's file in every variant's folder.
const MAIN_FILE: &str = "diffusion_pytorch_model.bin";

pub async fn run(case: &Case<'_>, report: &mut Report) -> Outcome {
    let paths = case.paths();
    let variants = paths
        .iter()
        .filter_map(|path| path.strip_suffix("/config.json"));
    for variant in variants {
        let mut files: Vec<&String> = weight_files(&paths, variant).collect();
        if case.effort == Effort::Brief {
            let main = |path: &&String| path.ends_with(MAIN_FILE);
            files = files
                .iter()
                .copied()
                .find(main)
                .or(files.first().copied())
                .into_iter()
                .collect();
        }
        for path in files {
            compare_file(case, report, variant, path).await?;
        }
    }
    if case.effort == Effort::Brief {
        report.note("one file of each variant was run: this device is slow");
    }
    Ok(())
}

/// Every file of a variant holds the same state dict.
fn weight_files<'a>(paths: &'a [String], variant: &str) -> impl Iterator<Item = &'a String> {
    paths.iter().filter(move |path| {
        let file = path.strip_prefix(variant);
        file.is_some_and(|file| file.starts_with('/'))
            && [".bin", ".pt", ".safetensors"]
                .iter()
                .any(|extension| path.ends_with(extension))
    })
}

async fn compare_file(case: &Case<'_>, report: &mut Report, variant: &str, path: &str) -> Outcome {
    let file = path.rsplit('/').next().unwrap_or(path);
    let weights = case.weights(Component::AlignNet, &[path]).await?;
    let json = case.json(&format!("{variant}/config.json")).await?;
    let align_net = load(case, path, Some(&json), &weights).await?;
    if file.contains("bf16") {
        // The golden numbers are of the f32 weights: reading it is what this file proves.
        report.note(format!("{path}: bfloat16, read and not compared"));
        return Ok(());
    }
    for input in ["x", "x_short"] {
        let hidden_states: Tensor<4> = case.tensor(&format!("in.{input}")).await?;
        let conditioning = align_net.forward(hidden_states);
        let (txt, vec) = (
            format!("out.{variant}.{input}.prompt_embeds"),
            format!("out.{variant}.{input}.pooled"),
        );
        report.close(
            &format!("{file} {txt}"),
            &case.values(conditioning.txt).await?,
            &case.golden.f32(&txt).await?.0,
        );
        report.close(
            &format!("{file} {vec}"),
            &case.values(conditioning.vec).await?,
            &case.golden.f32(&vec).await?.0,
        );
    }
    if file == MAIN_FILE && !variant.starts_with("t5") {
        let mixed = format!("out.{variant}.mixed");
        let ours = case
            .values(align_net.mix(case.tensor("in.x").await?))
            .await?;
        report.close(&mixed, &ours, &case.golden.f32(&mixed).await?.0);
    }
    Ok(())
}

async fn load(
    case: &Case<'_>,
    path: &str,
    json: Option<&Value>,
    weights: &Weights,
) -> Result<AlignNet, Box<dyn std::error::Error>> {
    let config = AlignNetConfig::from_shapes(path, json, |name| weights.shape(name))?;
    Ok(AlignNet::load(&config, &weights.scope(&case.device)).await?)
}

/// The published sizes; weights come from an integer hash that `case.json` describes.
pub async fn run_real_dims(case: &Case<'_>, report: &mut Report) -> Outcome {
    let description = case.json("case.json").await?;
    let number = |value: &Value| value.as_u64().ok_or("not a number");
    let (tokens, seed) = (
        number(&description["S"])? as usize,
        number(&description["seed"])?,
    );
    for (name, config) in description["configs"].as_object().ok_or("no configs")? {
        let (layers, width) = (
            number(&config["in_channels"])? as usize,
            number(&config["input_dim"])? as usize,
        );
        let order: Vec<String> =
            serde_json::from_value(case.json(&format!("{name}.state_dict_order.json")).await?)?;
        let text_dim = case
            .golden
            .f32(&format!("out.{name}.prompt_embeds_rows_0_11_23"))
            .await?
            .1[1];
        let pooled_dim = case.golden.f32(&format!("out.{name}.pooled")).await?.1[1];
        let tensors: Vec<(String, Vec<usize>, Vec<f32>)> = order
            .iter()
            .enumerate()
            .map(|(index, parameter)| {
                let shape = parameter_shape(parameter, [layers, width, text_dim, pooled_dim]);
                let values = parameter_values(parameter, &shape, seed + 1000 * (index as u64 + 1));
                (parameter.clone(), shape, values)
            })
            .collect();
        check_heads(case, report, name, &tensors, seed).await?;

        let source = MemorySource::new(name.clone(), safetensors_bytes(&tensors)?);
        drop(tensors);
        let file = WeightFile::open(Arc::new(source)).await?;
        let weights = Weights::new(name.clone(), Component::AlignNet, vec![file])?;
        let align_net = load(case, name, None, &weights).await?;
        drop(weights);

        let x = fill(layers * tokens * width, seed, 1.7);
        let x =
            Tensor::<4>::from_data(TensorData::new(x, [1, layers, tokens, width]), &case.device);
        let rows = [0, 11, 23];
        let pick = |values: Vec<f32>, width: usize| {
            rows.iter()
                .flat_map(|row| values[row * width..][..width].to_vec())
                .collect::<Vec<_>>()
        };
        let mixed = pick(case.values(align_net.mix(x.clone())).await?, width);
        let conditioning = align_net.forward(x);
        let txt = pick(case.values(conditioning.txt).await?, text_dim);
        let outputs = [
            ("mixed_rows_0_11_23", mixed),
            ("prompt_embeds_rows_0_11_23", txt),
            ("pooled", case.values(conditioning.vec).await?),
        ];
        for (output, ours) in outputs {
            let golden = format!("out.{name}.{output}");
            report.close(&golden, &ours, &case.golden.f32(&golden).await?.0);
        }
    }
    Ok(())
}

/// The generator itself, against its stored first values.
async fn check_heads(
    case: &Case<'_>,
    report: &mut Report,
    name: &str,
    tensors: &[(String, Vec<usize>, Vec<f32>)],
    seed: u64,
) -> Outcome {
    let head = format!("out.{name}.fill_head_x");
    report.close(
        &head,
        &fill(16, seed, 1.7),
        &case.golden.f32(&head).await?.0,
    );
    let head = format!("out.{name}.fill_head_projector0");
    let projector = tensors
        .iter()
        .find(|(parameter, ..)| parameter == "mlp.projector.0.weight")
        .ok_or("no projector")?;
    report.close(&head, &projector.2[..16], &case.golden.f32(&head).await?.0);
    Ok(())
}

fn parameter_shape(
    parameter: &str,
    [layers, width, text_dim, pooled_dim]: [usize; 4],
) -> Vec<usize> {
    match parameter {
        "cha_scale" => vec![1, layers, 1, 1],
        "conv.weight" => vec![1, layers, 5, 5],
        "conv.bias" => vec![1],
        "mlp.layernorm.weight" | "mlp.layernorm.bias" => vec![width],
        "mlp.projector.0.weight" => vec![text_dim, width],
        "mlp.projector.2.weight" => vec![text_dim, text_dim],
        "mlp.fc.1.weight" => vec![pooled_dim, text_dim],
        _ => vec![pooled_dim], // mlp.fc.1.bias
    }
}

fn parameter_values(parameter: &str, shape: &[usize], salt: u64) -> Vec<f32> {
    let count = shape.iter().product();
    if parameter == "cha_scale" || parameter == "mlp.layernorm.weight" {
        return fill(count, salt, 1.0)
            .into_iter()
            .map(|value| 1.0 + 0.3 * value)
            .collect();
    }
    if shape.len() == 1 {
        return fill(count, salt, 0.1);
    }
    let fan_in: usize = shape[1..].iter().product();
    fill(count, salt, 3f64.sqrt() * 0.8 / (fan_in as f64).sqrt())
}

/// `scale * (2 u - 1)` of an integer hash of the index.
fn fill(count: usize, salt: u64, scale: f64) -> Vec<f32> {
    (0..count as u64)
        .map(|index| {
            let mut x = index.wrapping_mul(2_654_435_761).wrapping_add(salt) as u32;
            x ^= x >> 16;
            x = x.wrapping_mul(0x045d_9f3b);
            x ^= x >> 16;
            (scale * (2.0 * f64::from(x) / 4_294_967_296.0 - 1.0)) as f32
        })
        .collect()
}

fn safetensors_bytes(
    tensors: &[(String, Vec<usize>, Vec<f32>)],
) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut header = serde_json::Map::new();
    let mut offset = 0;
    for (name, shape, values) in tensors {
        let end = offset + values.len() * 4;
        header.insert(
            name.clone(),
            serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [offset, end]}),
        );
        offset = end;
    }
    let header = serde_json::to_vec(&header)?;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    for (_, _, values) in tensors {
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }
    Ok(bytes)
}
