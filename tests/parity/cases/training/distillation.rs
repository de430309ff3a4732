//! The loss of attention distillation and its gradients, and steps of AlignNet under the teacher's conditioning.

use burn::tensor::Tensor;
use serde_json::Value;
use x2i_core::align_net::{AlignNet, Conditioning};
use x2i_core::config::{AlignNetConfig, ClipTextConfig, FluxConfig, T5Config};
use x2i_core::flux::Flux;
use x2i_core::teacher::{ClipText, T5Encoder};
use x2i_core::training::align::{self, Distillation};
use x2i_core::training::loss::attention_divergence;
use x2i_core::training::optimizer::{AdamW, Optimizer, Rule};
use x2i_core::training::{Checkpoints, Gradients, Parameters};
use x2i_core::weights::Component;

use super::align::sample;
use crate::case::{Case, Fallible, Outcome};
use crate::cases::teacher::rows;
use crate::report::Report;

/// Of a loss.
const LOSS: f32 = 1e-5;
/// Of a gradient, as a share of the tensor's largest.
const GRADIENT: f32 = 1e-4;
/// Of a parameter after a step.
const PARAMETER: f32 = 2e-5;
/// What a GPU's sums may differ more.
const GPU: f32 = 20.0;

pub async fn run(case: &Case<'_>, report: &mut Report) -> Outcome {
    let json = case.json("step_config.json").await?;
    let temperature = json["temperature"].as_f64().ok_or("no temperature")? as f32;
    for (name, student) in [
        ("plain", ["student0", "student1", "student2"]),
        ("const", ["student0", "student1", "student_const2"]),
        ("nan", ["student_nan0", "student1", "student2"]),
    ] {
        losses(case, name, student, temperature, report).await?;
    }
    steps(case, &json, report).await
}

/// Every layer's loss, their sum without those that are no numbers, and the gradients.
async fn losses(
    case: &Case<'_>,
    name: &str,
    students: [&str; 3],
    temperature: f32,
    report: &mut Report,
) -> Outcome {
    let (mut terms, mut leaves) = (vec![], vec![]);
    for (kind, student) in students.iter().enumerate() {
        let student: Tensor<4> = case.tensor(&format!("in.{student}")).await?;
        let student = student.autodiff().require_grad();
        let teacher: Tensor<4> = case.tensor(&format!("in.teacher{kind}")).await?;
        let mut of_kind = vec![];
        for layer in 0..student.dims()[1] {
            let [mine, its] =
                [&student, &teacher].map(|x| x.clone().narrow(1, layer, 1).squeeze_dim::<3>(1));
            of_kind.push(attention_divergence(mine, its, temperature));
        }
        terms.push(of_kind);
        leaves.push(student);
    }
    // img0, txt0, img1, txt1, .., then single blocks.
    let doubles = terms[0].len();
    let all = (0..doubles).flat_map(|layer| [terms[0][layer].clone(), terms[1][layer].clone()]);
    let all: Vec<Tensor<1>> = all.chain(terms[2].clone()).collect();
    let mut values = vec![];
    for term in &all {
        values.extend(case.values(term.clone().inner()).await?);
    }
    let is_nan = format!("out.{name}.per_layer_is_nan");
    if case.golden.contains(&is_nan) {
        let (golden, _) = case.golden.u8(&is_nan).await?;
        let ours: Vec<u8> = values
            .iter()
            .map(|value| u8::from(!value.is_finite()))
            .collect();
        report.equal(&is_nan, &ours, &golden);
    }
    let good = all
        .into_iter()
        .zip(&values)
        .filter(|(_, value)| value.is_finite());
    let sum = good.map(|(term, _)| term).reduce(|sum, term| sum + term);
    let sum = sum.ok_or("every layer is left out")?;
    let per_layer = format!("out.{name}.per_layer");
    if case.golden.contains(&per_layer) {
        let (golden, _) = case.golden.f32(&per_layer).await?;
        report.close_share(&per_layer, &values, &golden, report.widened(LOSS, GPU));
    }
    let loss = format!("out.{name}.loss");
    let ours = case.values(sum.clone().inner()).await?;
    report.close_share(
        &loss,
        &ours,
        &case.golden.f32(&loss).await?.0,
        report.widened(LOSS, GPU),
    );

    let mut tape = sum.backward();
    for (kind, leaf) in leaves.into_iter().enumerate() {
        let gradient = format!("out.{name}.grad_student{kind}");
        if case.golden.contains(&gradient) {
            let ours = leaf
                .grad_remove(&mut tape)
                .ok_or("a student without gradient")?;
            let ours = case.values(ours).await?;
            let (golden, _) = case.golden.f32(&gradient).await?;
            report.close_share(&gradient, &ours, &golden, report.widened(GRADIENT, GPU));
        }
    }
    Ok(())
}

/// Steps of AdamW, each after clipping.
async fn steps(case: &Case<'_>, json: &Value, report: &mut Report) -> Outcome {
    let number = |key: &str| json[key].as_f64().ok_or(format!("no {key}"));
    let config: FluxConfig = serde_json::from_value(case.json("transformer/config.json").await?)?;
    let file = "transformer/diffusion_pytorch_model.safetensors";
    let weights = case.weights(Component::Flux, &[file]).await?;
    let flux = Flux::load(&config, &weights.scope(&case.device)).await?;
    let file = "proj/diffusion_pytorch_model.bin";
    let weights = case.weights(Component::AlignNet, &[file]).await?;
    let own = case.json("proj/config.json").await?;
    let config = AlignNetConfig::from_shapes(file, Some(&own), |name| weights.shape(name))?;

    let teacher = teacher(case, report).await?;
    let sigma = case.golden.f32("out.step.timestep").await?.0[0] / 1000.0;
    let noise: Tensor<4> = case.tensor("in.step.latents").await?;
    let states: Tensor<4> = case.tensor("in.step.text_embeddings").await?;
    let sample = sample(noise, states, teacher, sigma, number("guidance")? as f32);

    let mut parameters = Parameters::read(&weights, |_| true).await?;
    let mut optimizer = Optimizer::new(Rule::AdamW(AdamW {
        rate: number("lr")?,
        betas: serde_json::from_value(json["betas"].clone())?,
        eps: number("eps")?,
        weight_decay: number("weight_decay")?,
    }));
    for step in 0..number("steps")? as usize {
        let name = |rest: &str| format!("out.step.{step}.{rest}");
        let leaves = parameters.leaves(&case.device)?;
        let scope = weights.scope(&case.device).with_leaves(&leaves);
        let align_net = AlignNet::load(&config, &scope).await?;
        let mut gradients = Gradients::default();
        let losses = align::step(
            &flux,
            (&align_net, &leaves),
            &sample,
            &Distillation::REFERENCE,
            Checkpoints::EVERY_BLOCK,
            &mut gradients,
        );
        let losses = losses.await?;
        let tolerance = report.widened(LOSS, GPU);
        let golden =
            async |rest: &str| -> Fallible<Vec<f32>> { Ok(case.golden.f32(&name(rest)).await?.0) };
        report.close_share(
            &name("loss"),
            &[losses.total as f32],
            &golden("loss").await?,
            tolerance,
        );
        let per_layer = golden("per_layer").await?;
        report.close_share(
            &name("per_layer"),
            &losses.attentions,
            &per_layer,
            tolerance,
        );

        let all = gradients.iter().flat_map(|(_, values)| values);
        let largest = all.fold(0.0f32, |most, value| most.max(value.abs()));
        for (parameter, ours) in gradients.iter() {
            let name = name(&format!("grad.{parameter}"));
            let (golden, _) = case.golden.f32(&name).await?;
            let most = golden
                .iter()
                .fold(0.0f32, |most, value| most.max(value.abs()));
            // A gradient that is truly zero is rounding noise in both.
            let scale = if most < GRADIENT * largest {
                largest
            } else {
                most
            };
            let [ours, golden] = [ours, &golden[..]].map(|values| {
                values
                    .iter()
                    .map(|value| value / scale)
                    .collect::<Vec<f32>>()
            });
            report.close_within(&name, &ours, &golden, report.widened(GRADIENT, GPU));
        }
        let noise = noisy(&gradients, largest);
        let norm = gradients.clip(number("max_grad_norm")?) as f32;
        let tolerance = report.widened(GRADIENT, GPU);
        report.close_share(
            &name("grad_norm"),
            &[norm],
            &golden("grad_norm").await?,
            tolerance,
        );
        optimizer
            .update(&mut parameters, &gradients, 1.0, &case.device)
            .await?;
        let moved = 2.0 * number("lr")? as f32 * (step + 1) as f32;
        for (parameter, noisy) in noise {
            let name = name(&format!("param_after.{parameter}"));
            let (golden, _) = case.golden.f32(&name).await?;
            let ours = parameters.get(&parameter).ok_or("a parameter less")?;
            for (is_noisy, allowed) in [(false, report.widened(PARAMETER, GPU)), (true, moved)] {
                let some = ours.values.iter().zip(&golden).zip(&noisy);
                let some = some
                    .filter(|(_, noisy)| **noisy == is_noisy)
                    .map(|(both, _)| both);
                let (ours, golden): (Vec<f32>, Vec<f32>) = some.unzip();
                report.close_within(&name, &ours, &golden, allowed);
            }
        }
    }
    Ok(())
}

/// What T5 and CLIP say.
async fn teacher(case: &Case<'_>, report: &mut Report) -> Fallible<Conditioning> {
    let json = case.json("text_encoder_2/config.json").await?;
    let file = "text_encoder_2/model.safetensors";
    let weights = case.weights(Component::T5, &[file]).await?;
    let config = T5Config::from_shapes(file, Some(("config.json", &json)), |name| {
        weights.shape(name)
    })?;
    let t5 = T5Encoder::load(&config, &weights.scope(&case.device)).await?;
    let json = case.json("text_encoder/config.json").await?;
    let config = ClipTextConfig::read("config.json", json, &mut vec![])?;
    let weights = case
        .weights(Component::ClipText, &["text_encoder/model.safetensors"])
        .await?;
    let clip = ClipText::load(&config, &weights.scope(&case.device)).await?;
    let txt = t5.forward(&rows(case, "in.step.t5_ids").await?);
    let vec = clip
        .forward(&rows(case, "in.step.clip_ids").await?)
        .pooler_output;
    for (name, ours) in [
        (
            "out.step.teacher.prompt_embeds",
            case.values(txt.clone()).await?,
        ),
        ("out.step.teacher.pooled", case.values(vec.clone()).await?),
    ] {
        report.close(name, &ours, &case.golden.f32(name).await?.0);
    }
    Ok(Conditioning { txt, vec })
}

/// Where Adam makes steps of rounding noise.
fn noisy(gradients: &Gradients, largest: f32) -> Vec<(String, Vec<bool>)> {
    let of = |values: &[f32]| {
        values
            .iter()
            .map(|value| value.abs() < 1e-5 * largest)
            .collect()
    };
    let all = gradients.iter();
    all.map(|(name, values)| (name.to_owned(), of(values)))
        .collect()
}
