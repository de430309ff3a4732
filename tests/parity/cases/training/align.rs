//! AlignNet's distillation: updates of two kinds of it, and schedules.

use burn::tensor::Tensor;
use x2i_core::align_net::{AlignNet, Conditioning};
use x2i_core::config::{AlignNetConfig, FluxConfig};
use x2i_core::flux::{Flux, latents};
use x2i_core::training::align::{self, Distillation, Losses, Sample};
use x2i_core::training::schedule::Schedule;
use x2i_core::training::{Checkpoints, Gradients, Parameters};
use x2i_core::weights::{Component, Weights};

use super::replay::{Micro, Replay};
use super::settings::{Settings, shape};
use crate::case::{Case, Fallible, Outcome};
use crate::report::Report;

const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

pub async fn run(case: &Case<'_>, report: &mut Report) -> Outcome {
    let json = case.json("train_config.json").await?;
    schedules(case, &json["schedule"], report).await?;
    let config: FluxConfig = serde_json::from_value(case.json("transformer/config.json").await?)?;
    let file = format!("transformer/{WEIGHTS}");
    let weights = case.weights(Component::Flux, &[&file]).await?;
    let flux = Flux::load(&config, &weights.scope(&case.device)).await?;
    let guidance = json["guidance"].as_f64().ok_or("no guidance")? as f32;
    let sigma = json["timestep"].as_f64().ok_or("no timestep")? as f32 / 1000.0;
    let runs = json["runs"].as_object().ok_or("no runs")?;
    for (number, (name, settings)) in runs.iter().enumerate() {
        let settings: Settings = serde_json::from_value(settings.clone())?;
        let folder = format!("proj_{name}");
        let file = format!("{folder}/{WEIGHTS}");
        let weights = case.weights(Component::AlignNet, &[&file]).await?;
        let json = case.json(&format!("{folder}/config.json")).await?;
        let config = AlignNetConfig::from_shapes(&file, Some(&json), |name| weights.shape(name))?;
        let mut micro = Distilled {
            case,
            flux: &flux,
            model: (&config, &weights),
            inputs: format!("in.{name}."),
            prefix: format!("out.{name}."),
            sigma,
            guidance,
            // Every way back gives the same numbers.
            checkpoints: [
                Checkpoints {
                    segment: 2,
                    tape: 1,
                },
                Checkpoints::NONE,
            ][number % 2],
            losses: vec![],
        };
        let replay = Replay {
            case,
            prefix: format!("out.{name}."),
            settings,
        };
        let parameters = Parameters::read(&weights, |_| true).await?;
        replay.run(parameters, &mut micro, report).await?;
        micro.compare(replay.settings.accumulation, report).await?;
    }
    Ok(())
}

async fn schedules(case: &Case<'_>, json: &serde_json::Value, report: &mut Report) -> Outcome {
    let number = |key: &str| json[key].as_f64().ok_or(format!("no {key}"));
    for name in case.golden.names() {
        let Some(kind) = name.strip_prefix("out.schedule.") else {
            continue;
        };
        let schedule = Schedule {
            shape: shape(kind, number("restarts")?)?,
            warmup: number("warmup")? as u64,
            total: number("total")? as u64,
        };
        for (update, golden) in case.golden.f64(name).await?.into_iter().enumerate() {
            let factor = schedule.factor(update as u64) * number("lr")?;
            if (factor - golden).abs() > 1e-12 {
                report.fail(format!(
                    "{name}: factor {factor} of update {update}, not {golden}"
                ));
            }
        }
        report.note(format!("{kind}: the schedule's factors agree"));
    }
    Ok(())
}

/// Micro-batches of a case.
pub(super) struct Distilled<'a, 'b> {
    pub case: &'a Case<'b>,
    pub flux: &'a Flux,
    pub model: (&'a AlignNetConfig, &'a Weights),
    /// What stands before the names of inputs and results, with a dot.
    pub inputs: String,
    pub prefix: String,
    pub sigma: f32,
    pub guidance: f32,
    pub checkpoints: Checkpoints,
    pub losses: Vec<(usize, Losses)>,
}

impl Distilled<'_, '_> {
    async fn sample(&self, number: usize) -> Fallible<Sample> {
        let input = |name: &str| format!("{}{number}.{name}", self.inputs);
        let noise: Tensor<4> = self.case.tensor(&input("latents")).await?;
        let hidden_states: Tensor<4> = self.case.tensor(&input("text_embeddings")).await?;
        let teacher = Conditioning {
            txt: self.case.tensor(&input("teacher_prompt_embeds")).await?,
            vec: self.case.tensor(&input("teacher_pooled")).await?,
        };
        Ok(sample(
            noise,
            hidden_states,
            teacher,
            self.sigma,
            self.guidance,
        ))
    }

    /// Compares the terms of all attentions.
    async fn compare(&self, accumulation: usize, report: &mut Report) -> Outcome {
        for (number, losses) in &self.losses {
            let (update, row) = (number / accumulation, number % accumulation);
            let name = format!("{}update.{update}.per_layer", self.prefix);
            let (golden, shape) = self.case.golden.f32(&name).await?;
            let golden = &golden[row * shape[1]..][..shape[1]];
            report.close_share(
                &name,
                &losses.attentions,
                golden,
                report.widened(1e-5, 20.0),
            );
        }
        Ok(())
    }
}

/// A micro-batch of unpacked noise.
pub(super) fn sample(
    noise: Tensor<4>,
    hidden_states: Tensor<4>,
    teacher: Conditioning,
    sigma: f32,
    guidance: f32,
) -> Sample {
    let [batch, _, height, width] = noise.dims();
    let ids = |tokens| {
        let image = latents::image_ids(height / latents::PACK, width / latents::PACK);
        [latents::text_ids(tokens), image].concat()
    };
    Sample {
        ids: ids(hidden_states.dims()[2]),
        teacher_ids: ids(teacher.txt.dims()[1]),
        latents: latents::pack(noise),
        hidden_states,
        teacher,
        sigma: vec![sigma; batch],
        guidance: vec![guidance; batch],
    }
}

impl Micro for Distilled<'_, '_> {
    async fn run(
        &mut self,
        number: usize,
        parameters: &Parameters,
        gradients: &mut Gradients,
    ) -> Fallible<f32> {
        let sample = self.sample(number).await?;
        let leaves = parameters.leaves(&self.case.device)?;
        let (config, weights) = self.model;
        let scope = weights.scope(&self.case.device).with_leaves(&leaves);
        let align_net = AlignNet::load(config, &scope).await?;
        let losses = align::step(
            self.flux,
            (&align_net, &leaves),
            &sample,
            &Distillation::REFERENCE,
            self.checkpoints,
            gradients,
        )
        .await?;
        let total = losses.total as f32;
        self.losses.push((number, losses));
        Ok(total)
    }
}
