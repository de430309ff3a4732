//! LightControl: every net's output, and the velocity that a steered transformer predicts.

use std::cell::Cell;

use serde_json::Value;
use x2i_core::InputBits;
use x2i_core::config::FluxConfig;
use x2i_core::flux::{AfterDouble, BlockOutput, FirstBlockCache, Flux};
use x2i_core::light_control::{GROUPS, LightControl};
use x2i_core::model::ModelSource;
use x2i_core::weights::{Component, StoredType, WeightFile, Weights};

use super::flux::Inputs;
use crate::case::{Case, Fallible, Outcome};
use crate::quantized;
use crate::report::Report;

const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

pub async fn run(case: &Case<'_>, report: &mut Report) -> Outcome {
    let config: FluxConfig = serde_json::from_value(case.json("transformer/config.json").await?)?;
    config.validate("transformer/config.json")?;
    let weights = case
        .weights(Component::Flux, &[&format!("transformer/{WEIGHTS}")])
        .await?;
    let flux = case.flux(&config, &weights, InputBits::default()).await?;

    let nets = state_dict(case, report).await?;
    let groups: Vec<usize> =
        serde_json::from_value(case.json("controlnext_0/config.json").await?["groups"].take())?;
    let scope = nets.scope(&case.device);
    let control = LightControl::load(&scope, config.hidden_size(), &groups).await?;
    let hint = case.tensor("in.guided_hint").await?;
    let (sigma, _) = case.golden.f32("in.timestep").await?;
    for index in 0..control.len() {
        let tokens = control.forward(index, &hint, &sigma).ok_or("a net less")?;
        let name = format!("out.control.{index}.out"); // [batch, hidden, rows, columns]
        let ours = case.values(tokens.swap_dims(1, 2)).await?;
        report.close(&name, &ours, &case.golden.f32(&name).await?.0);
    }

    let inputs = Inputs::read(case).await?;
    let rope = flux.rope(&inputs.ids);
    let conditions = flux.embed(inputs.txt.clone(), inputs.vec.clone(), &inputs.guidance);
    for (name, scale) in [
        ("out.sample", 1.0),
        ("out.sample_scale0.4", 0.4),
        ("out.sample_without_control", 0.0),
    ] {
        let mut images = vec![];
        let mut on_block = async |output: BlockOutput<'_>| {
            if let BlockOutput::Double { index, img, .. } = output {
                images.push((format!("out.double.{index}.img"), img.clone()));
            }
            Ok(())
        };
        let input = inputs.with(&conditions, &rope);
        let steer = |index| {
            let tokens = control.forward(index, &hint, &sigma)?;
            (scale != 0.0).then(|| tokens * scale)
        };
        let velocity = flux
            .forward_controlled(input, &steer, &mut on_block)
            .await?;
        let golden = case.golden.f32(name).await?.0;
        report.close(name, &case.values(velocity).await?, &golden);
        if scale == 1.0 {
            for (name, ours) in images {
                let golden = case.golden.f32(&name).await?.0;
                report.close(&name, &case.values(ours).await?, &golden);
            }
        }
    }
    let steer = |index| control.forward(index, &hint, &sigma);
    cached(case, report, (&flux, config.num_layers), &inputs, &steer).await?;
    published(case).await
}

/// A step that a cache skips has the control's additions once, and asks for none of them.
async fn cached(
    case: &Case<'_>,
    report: &mut Report,
    (flux, double_blocks): (&Flux, usize),
    inputs: &Inputs,
    control: AfterDouble<'_>,
) -> Outcome {
    let asked = Cell::new(0);
    let steer = |index| {
        asked.set(asked.get() + 1);
        control(index)
    };
    let rope = flux.rope(&inputs.ids);
    let conditions = flux.embed(inputs.txt.clone(), inputs.vec.clone(), &inputs.guidance);
    let golden = case.golden.f32("out.sample").await?.0;
    let mut cache = FirstBlockCache::new(0.01);
    for step in ["whole", "skipped"] {
        let input = inputs.with(&conditions, &rope);
        let velocity = flux
            .forward_cached(input, &steer, Some(&mut cache), &mut async |_| Ok(()))
            .await?;
        let name = format!("out.sample of the {step} step");
        report.close(&name, &case.values(velocity).await?, &golden);
    }
    report.equal("skipped steps", &cache.skipped_steps(), &1);
    report.equal(
        "blocks that asked for a control",
        &asked.get(),
        &double_blocks,
    );
    Ok(())
}

/// The nets as training saves them: one state dict, keys begin with the net's number.
async fn state_dict(case: &Case<'_>, report: &mut Report) -> Fallible<Weights> {
    let mut tensors = vec![];
    for net in 0.. {
        let path = format!("controlnext_{net}/{WEIGHTS}");
        if !case.exists(&path).await? {
            break;
        }
        let file = WeightFile::open(case.folder("").open(&path).await?).await?;
        for name in file.tensors().keys() {
            let tensor = file.read(name).await?;
            let bytes = tensor.bytes.into_owned();
            tensors.push((format!("{net}.{name}"), tensor.stored, tensor.shape, bytes));
        }
    }
    let shapes = tensors
        .iter()
        .map(|(name, _, shape, _)| (name.clone(), serde_json::json!(shape)));
    let shapes = Value::Object(shapes.collect());
    let expected = case.json("state_dict_shapes.json").await?;
    report.equal("the keys and shapes of the state dict", &shapes, &expected);
    let named = tensors
        .iter()
        .map(|(name, stored, shape, bytes)| (name.as_str(), *stored, shape.clone(), bytes.clone()));
    quantized::file(Component::LightControl, named.collect()).await
}

/// A net of the published sizes is read, whatever its numbers.
async fn published(case: &Case<'_>) -> Outcome {
    let shapes = case.json("real_shapes.json").await?["state_dict"].take();
    let shapes: std::collections::BTreeMap<String, Vec<usize>> = serde_json::from_value(shapes)?;
    let hidden = shapes["mid_convs.1.weight"][0];
    let names: Vec<String> = shapes.keys().map(|name| format!("0.{name}")).collect();
    let tensors = names.iter().zip(shapes.values()).map(|(name, shape)| {
        let bytes = vec![0; shape.iter().product::<usize>() * size_of::<f32>()];
        (name.as_str(), StoredType::F32, shape.clone(), bytes)
    });
    let weights = quantized::file(Component::LightControl, tensors.collect()).await?;
    LightControl::load(&weights.scope(&case.device), hidden, &GROUPS).await?;
    Ok(())
}
