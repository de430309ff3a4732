//! LightControl's updates under a frozen transformer.

use burn::tensor::Tensor;
use x2i_core::align_net::Conditioning;
use x2i_core::config::FluxConfig;
use x2i_core::flux::{Flux, latents};
use x2i_core::light_control::LightControl;
use x2i_core::training::control::{self, Nets};
use x2i_core::training::loss::{Density, Weighting, table_sigma};
use x2i_core::training::noise::Sample;
use x2i_core::training::{Checkpoints, Gradients, Parameters};
use x2i_core::weights::{Component, Scope, Weights};

use super::replay::{Micro, Replay};
use super::settings::Settings;
use crate::case::{Case, Fallible, Outcome};
use crate::report::Report;

const WEIGHTS: &str = "transformer/diffusion_pytorch_model.safetensors";

pub async fn run(case: &Case<'_>, report: &mut Report) -> Outcome {
    let json = case.json("train_config.json").await?;
    let settings: Settings = serde_json::from_value(json.clone())?;
    let config: FluxConfig = serde_json::from_value(case.json("transformer/config.json").await?)?;
    let weights = case.weights(Component::Flux, &[WEIGHTS]).await?;
    let flux = Flux::load(&config, &weights.scope(&case.device)).await?;
    let sizes = case.json("control_config.json").await?;
    let nets = case
        .weights(Component::LightControl, &["control.safetensors"])
        .await?;
    let mut micro = Steered {
        case,
        flux: &flux,
        nets: &nets,
        hidden: config.hidden_size(),
        groups: serde_json::from_value(sizes["groups"].clone())?,
        scale: sizes["scale"].as_f64().ok_or("no scale")? as f32,
        guidance: json["guidance"].as_f64().ok_or("no guidance")? as f32,
    };
    micro
        .compare_velocity(0, None, "out.sample_without_control", report)
        .await?;
    let parameters = Parameters::read(&nets, |_| true).await?;
    micro
        .compare_velocity(0, Some(&parameters), "out.sample.0", report)
        .await?;
    for number in 0..settings.updates as usize * settings.accumulation {
        noise_levels(case, &format!("in.{number}."), report).await?;
    }
    let replay = Replay {
        case,
        prefix: "out.".into(),
        settings,
    };
    replay.run(parameters, &mut micro, report).await?;
    Ok(())
}

/// A draw gives the noise level that the reference took.
pub(super) async fn noise_levels(case: &Case<'_>, input: &str, report: &mut Report) -> Outcome {
    let density = Density::LogitNormal {
        mean: 0.0,
        std: 1.0,
    };
    let (normals, _) = case.golden.f32(&format!("{input}normal")).await?;
    let ours: Vec<f32> = normals
        .iter()
        .map(|&normal| density.at(normal, 0.0))
        .collect();
    let golden = |name: &str| format!("{input}{name}");
    let (places, _) = case.golden.f32(&golden("u")).await?;
    report.close_share(&golden("u"), &ours, &places, 1e-6);
    let levels: Vec<f32> = places.iter().map(|&place| table_sigma(place)).collect();
    let (sigmas, _) = case.golden.f32(&golden("sigmas")).await?;
    report.close_share(&golden("sigmas"), &levels, &sigmas, 1e-6);
    Ok(())
}

/// A micro-batch of flow matching whose names begin with `input`.
pub(super) async fn sample(case: &Case<'_>, input: &str, guidance: f32) -> Fallible<Sample> {
    let name = |name: &str| format!("{input}{name}");
    let latents: Tensor<4> = case.tensor(&name("latents")).await?;
    let noise: Tensor<4> = case.tensor(&name("noise")).await?;
    let conditioning = Conditioning {
        txt: case.tensor(&name("prompt_embeds")).await?,
        vec: case.tensor(&name("pooled")).await?,
    };
    let [batch, _, height, width] = latents.dims();
    let image = latents::image_ids(height / latents::PACK, width / latents::PACK);
    Ok(Sample {
        ids: [latents::text_ids(conditioning.txt.dims()[1]), image].concat(),
        conditioning,
        latents: latents::pack(latents),
        noise: latents::pack(noise),
        sigma: case.golden.f32(&name("sigmas")).await?.0,
        guidance: vec![guidance; batch],
        reference: None,
    })
}

struct Steered<'a, 'b> {
    case: &'a Case<'b>,
    flux: &'a Flux,
    nets: &'a Weights,
    hidden: usize,
    groups: Vec<usize>,
    scale: f32,
    guidance: f32,
}

impl Steered<'_, '_> {
    async fn load(&self, scope: &Scope<'_>) -> Fallible<LightControl> {
        Ok(LightControl::load(scope, self.hidden, &self.groups).await?)
    }

    async fn compare_velocity(
        &self,
        number: usize,
        parameters: Option<&Parameters>,
        name: &str,
        report: &mut Report,
    ) -> Outcome {
        let input = format!("in.{number}.");
        let sample = sample(self.case, &input, self.guidance).await?;
        let hint = self.case.tensor(&format!("{input}hint")).await?;
        let constants = parameters.map(|parameters| parameters.constants(&self.case.device));
        let velocity = match constants.transpose()? {
            None => sample.validate(self.flux, None, Weighting::None).await?.0,
            Some(leaves) => {
                let scope = self.nets.scope(&self.case.device).with_leaves(&leaves);
                let control = self.load(&scope).await?;
                let nets = Nets {
                    nets: &control,
                    leaves: &leaves,
                    scale: self.scale,
                };
                let nets = Some((nets, &hint));
                sample.validate(self.flux, nets, Weighting::None).await?.0
            }
        };
        let (golden, _) = self.case.golden.f32(name).await?;
        let ours = self.case.values(velocity).await?;
        report.close_within(name, &ours, &golden, report.widened(5e-5, 20.0));
        Ok(())
    }
}

impl Micro for Steered<'_, '_> {
    async fn run(
        &mut self,
        number: usize,
        parameters: &Parameters,
        gradients: &mut Gradients,
    ) -> Fallible<f32> {
        let input = format!("in.{number}.");
        let sample = sample(self.case, &input, self.guidance).await?;
        let hint = self.case.tensor(&format!("{input}hint")).await?;
        let leaves = parameters.leaves(&self.case.device)?;
        let scope = self.nets.scope(&self.case.device).with_leaves(&leaves);
        let control = self.load(&scope).await?;
        let nets = Nets {
            nets: &control,
            leaves: &leaves,
            scale: self.scale,
        };
        // Every way back gives the same numbers.
        let checkpoints = [Checkpoints::NONE, Checkpoints::EVERY_BLOCK][number % 2];
        let both = (&sample, &hint);
        let loss = control::step(
            self.flux,
            nets,
            both,
            Weighting::None,
            checkpoints,
            gradients,
        );
        Ok(loss.await?)
    }
}
