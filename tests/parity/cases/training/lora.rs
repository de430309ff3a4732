//! LoRAs of the transformer: updates, files, noise levels and weights of the loss.

use std::sync::Arc;

use x2i_core::InputBits;
use x2i_core::Lora;
use x2i_core::config::FluxConfig;
use x2i_core::flux::Flux;
use x2i_core::training::lora::{self, Adapter, Start, Targets};
use x2i_core::training::loss::{Density, Weighting, flux_shift};
use x2i_core::training::{Checkpoints, Gradients, Parameters, published};
use x2i_core::weights::{Component, Held, Leaves, MemorySource, WeightFile, Weights, safetensors};

use super::control::{noise_levels, sample};
use super::replay::{Micro, Replay};
use super::settings::Settings;
use crate::case::{Case, Fallible, Outcome};
use crate::report::Report;

const WEIGHTS: &str = "transformer/diffusion_pytorch_model.safetensors";

pub async fn run(case: &Case<'_>, report: &mut Report) -> Outcome {
    densities(case, report).await?;
    let json = case.json("train_config.json").await?;
    let config: FluxConfig = serde_json::from_value(case.json("transformer/config.json").await?)?;
    let weights = case.weights(Component::Flux, &[WEIGHTS]).await?;
    let runs = json["runs"].as_object().ok_or("no runs")?;
    for (number, (name, json)) in runs.iter().enumerate() {
        let settings: Settings = serde_json::from_value(json.clone())?;
        let names: Vec<String> = serde_json::from_value(json["target_modules"].clone())?;
        let rank = json["rank"].as_u64().ok_or("no rank")? as usize;
        let alpha = json["lora_alpha"].as_f64().ok_or("no alpha")? as f32;
        let targets = Targets::Names(names);
        let adapter = Adapter::new(&weights, targets, (rank, alpha), false).await?;
        let mut micro = Adapted {
            case,
            config: &config,
            weights: &weights,
            held: Held::default(),
            adapter,
            name,
            guidance: json["guidance"].as_f64().ok_or("no guidance")? as f32,
            checkpoints: [Checkpoints::EVERY_BLOCK, Checkpoints::NONE][number % 2],
        };
        for number in 0..settings.updates as usize * settings.accumulation {
            noise_levels(case, &format!("in.{name}.{number}."), report).await?;
        }
        let file = case.read(&format!("{name}/initial.safetensors")).await?;
        let file = WeightFile::open(Arc::new(MemorySource::new("initial", file))).await?;
        let parameters = published::read_diffusers(&file, &micro.adapter).await?;
        let replay = Replay {
            case,
            prefix: format!("out.{name}."),
            settings,
        };
        let parameters = replay.run(parameters, &mut micro, report).await?;
        micro.probe(&parameters, report).await?;
        micro.files(report).await?;
        micro.loaded(&parameters, report).await?;
    }
    Ok(())
}

struct Adapted<'a, 'b> {
    case: &'a Case<'b>,
    config: &'a FluxConfig,
    weights: &'a Weights,
    held: Held,
    adapter: Adapter,
    name: &'a str,
    guidance: f32,
    checkpoints: Checkpoints,
}

impl Adapted<'_, '_> {
    async fn flux(&self, leaves: &Leaves) -> Fallible<Flux> {
        let scope = self.weights.scope(&self.case.device);
        let scope = scope.held_by(&self.held).with_leaves(leaves);
        Ok(Flux::load(self.config, &scope).await?)
    }

    async fn velocity(&self, flux: &Flux) -> Fallible<Vec<f32>> {
        let sample = sample(self.case, "in.probe.", self.guidance).await?;
        let (velocity, _) = sample.validate(flux, None, Weighting::None).await?;
        self.case.values(velocity).await
    }

    /// The velocities before and after.
    async fn probe(&self, parameters: &Parameters, report: &mut Report) -> Outcome {
        let plain = self.flux(&Leaves::default()).await?;
        let ours = self.velocity(&plain).await?;
        let tolerance = report.widened(5e-5, 20.0);
        let name = "out.probe.without_lora".to_owned();
        report.close_within(
            &name,
            &ours,
            &self.case.golden.f32(&name).await?.0,
            tolerance,
        );
        let leaves = self.adapter.constants(parameters, &self.case.device)?;
        let ours = self.velocity(&self.flux(&leaves).await?).await?;
        let name = format!("out.probe.{}", self.name);
        report.close_within(
            &name,
            &ours,
            &self.case.golden.f32(&name).await?.0,
            tolerance,
        );
        Ok(())
    }

    /// What is written is byte for byte what diffusers wrote.
    async fn files(&self, report: &mut Report) -> Outcome {
        let plain = [("format".to_owned(), "pt".to_owned())].into();
        let config = published::diffusers_metadata(&self.adapter, Start::Gaussian);
        for (file, metadata) in [
            ("pytorch_lora_weights", plain),
            ("pytorch_lora_weights_with_metadata", config),
        ] {
            let path = format!("{}/{file}.safetensors", self.name);
            let golden = self.case.read(&path).await?;
            let source = Arc::new(MemorySource::new(path.clone(), golden.clone()));
            let opened = WeightFile::open(source).await?;
            let parameters = published::read_diffusers(&opened, &self.adapter).await?;
            let ours = safetensors::encode(published::diffusers(&parameters), &metadata);
            // Two keys of metadata come in any order.
            let [ours, golden] = [ours, golden].map(|file| split(&file));
            report.equal(&format!("{path} header"), &ours.0, &golden.0);
            report.equal(&format!("{path} bytes"), &(ours.1 == golden.1), &true);
        }
        Ok(())
    }

    /// Files of both namings change pictures as the trained factors do.
    async fn loaded(&self, parameters: &Parameters, report: &mut Report) -> Outcome {
        let leaves = self.adapter.constants(parameters, &self.case.device)?;
        let golden = self.velocity(&self.flux(&leaves).await?).await?;
        let diffusers = safetensors::encode(
            published::diffusers(parameters),
            &published::diffusers_metadata(&self.adapter, Start::Gaussian),
        );
        let tensors = published::kohya(&self.adapter, parameters)?;
        let kohya = safetensors::encode(tensors, &Default::default());
        for (naming, bytes) in [("diffusers", diffusers), ("kohya", kohya)] {
            let source = Arc::new(MemorySource::new(naming, bytes));
            let file = Lora::open(source, 1.0).await?;
            let mut weights = self.case.weights(Component::Flux, &[WEIGHTS]).await?;
            weights.adapt(&[Arc::new(file)])?;
            let flux = self
                .case
                .flux(self.config, &weights, InputBits::default())
                .await?;
            let ours = self.velocity(&flux).await?;
            let name = format!("{} loaded with {naming}'s names", self.name);
            report.close_forwards(&name, &ours, &golden, 1e-5);
        }
        Ok(())
    }
}

impl Micro for Adapted<'_, '_> {
    async fn run(
        &mut self,
        number: usize,
        parameters: &Parameters,
        gradients: &mut Gradients,
    ) -> Fallible<f32> {
        let input = format!("in.{}.{number}.", self.name);
        let sample = sample(self.case, &input, self.guidance).await?;
        let leaves = self.adapter.leaves(parameters, &self.case.device)?;
        let constants = self.adapter.constants(parameters, &self.case.device)?;
        let adapted = lora::Adapted {
            plain: &self.flux(&constants).await?,
            learning: &self.flux(&leaves).await?,
            leaves: &leaves,
        };
        let loss = lora::step(
            adapted,
            &sample,
            Weighting::None,
            self.checkpoints,
            gradients,
        );
        Ok(loss.await?)
    }
}

/// The header's JSON and the numbers of a file.
fn split(file: &[u8]) -> (serde_json::Value, Vec<u8>) {
    let length = file
        .first_chunk()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes)) as usize;
    let header = serde_json::from_slice(&file[8..8 + length]).unwrap_or_default();
    (header, file[8 + length..].to_vec())
}

async fn densities(case: &Case<'_>, report: &mut Report) -> Outcome {
    let (normals, _) = case.golden.f32("in.density.normal").await?;
    let (uniforms, _) = case.golden.f32("in.density.uniform").await?;
    let (sigmas, _) = case.golden.f32("in.density.sigmas").await?;
    let both = || normals.iter().zip(&uniforms);
    for name in case.golden.names() {
        let ours: Vec<f32> = if let Some(kind) = name.strip_prefix("out.density.") {
            if let Some(tokens) = kind.strip_prefix("flux_shift.seq") {
                let tokens = tokens.parse()?;
                normals
                    .iter()
                    .map(|&normal| flux_shift(normal, tokens))
                    .collect()
            } else {
                let density = density(kind)?;
                both()
                    .map(|(&normal, &uniform)| density.at(normal, uniform))
                    .collect()
            }
        } else if let Some(kind) = name.strip_prefix("out.weight.") {
            let weighting = match kind {
                "sigma_sqrt" => Weighting::SigmaSqrt,
                "cosmap" => Weighting::Cosmap,
                _ => Weighting::None,
            };
            sigmas
                .iter()
                .map(|&sigma| weighting.weight(sigma))
                .collect()
        } else {
            continue;
        };
        report.close_share(name, &ours, &case.golden.f32(name).await?.0, 1e-6);
    }
    Ok(())
}

fn density(kind: &str) -> Fallible<Density> {
    if let Some(numbers) = kind.strip_prefix("logit_normal.m") {
        let (mean, std) = numbers
            .split_once(".s")
            .ok_or("a density without deviation")?;
        return Ok(Density::LogitNormal {
            mean: mean.parse()?,
            std: std.parse()?,
        });
    }
    if let Some(scale) = kind.strip_prefix("mode") {
        return Ok(Density::Mode {
            scale: scale.parse()?,
        });
    }
    match kind.strip_prefix("shift") {
        Some(shift) => Ok(Density::Shifted {
            shift: shift.parse()?,
        }),
        None => Err(format!("density {kind} is not known").into()),
    }
}
