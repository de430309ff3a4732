//! First-block caching: which steps of whole pictures are skipped, and the velocity of every step.

use burn::tensor::Tensor;
use x2i_core::InputBits;
use x2i_core::config::FluxConfig;
use x2i_core::flux::{Attentions, BlockOutput, FirstBlockCache, Flux, FluxInput};
use x2i_core::sampler::FlowMatchEuler;
use x2i_core::weights::Component;

use super::flux::Inputs;
use crate::case::{Case, Fallible, Outcome};
use crate::report::Report;

pub async fn run(case: &Case<'_>, report: &mut Report) -> Outcome {
    let description = case.json("case.json").await?;
    let model = description["model"].as_str().ok_or("no model")?;
    let model = case.other(model).await?;
    let config: FluxConfig = serde_json::from_value(model.json("config.json").await?)?;
    config.validate("config.json")?;
    let files = ["diffusion_pytorch_model.safetensors"];
    let weights = model.weights(Component::Flux, &files).await?;
    let painter = Painter {
        flux: case.flux(&config, &weights, InputBits::default()).await?,
        inputs: Inputs::read(&model).await?,
        sigmas: case.golden.f32("in.sigmas").await?.0,
    };

    let (plain, _) = painter.paint(case, None).await?;
    let golden = case.golden.f32("out.off.velocities").await?.0;
    report.close("off.velocities", &plain, &golden);
    for picture in description["pictures"].as_array().ok_or("no pictures")? {
        let threshold = picture["threshold"].as_f64().ok_or("no threshold")?;
        let skipped: Vec<bool> = serde_json::from_value(picture["skipped"].clone())?;
        let cache = FirstBlockCache::new(threshold);
        let (ours, decided) = painter.paint(case, Some(cache)).await?;
        let tag = format!("threshold_{threshold:?}");
        report.equal(&format!("{tag}.skipped"), &decided, &skipped);
        let golden = case.golden.f32(&format!("out.{tag}.velocities")).await?.0;
        report.close(&format!("{tag}.velocities"), &ours, &golden);
    }
    Ok(())
}

struct Painter {
    flux: Flux,
    inputs: Inputs,
    sigmas: Vec<f32>,
}

impl Painter {
    /// The velocities of all steps, one after the other, and which of the steps were skipped.
    async fn paint(
        &self,
        case: &Case<'_>,
        mut cache: Option<FirstBlockCache>,
    ) -> Fallible<(Vec<f32>, Vec<bool>)> {
        let Self {
            flux,
            inputs,
            sigmas,
        } = self;
        let rope = flux.rope(&inputs.ids);
        let (txt, vec) = (inputs.txt.clone(), inputs.vec.clone());
        let conditions = flux.embed(txt, vec, &inputs.guidance);
        let (mut velocities, mut skipped) = (vec![], vec![]);
        let mut img: Tensor<3> = inputs.img.clone();
        for levels in sigmas.windows(2) {
            let (mut told, mut skips) = (0, false);
            let mut on_block = async |output: BlockOutput<'_>| {
                told += output.blocks();
                skips |= matches!(output, BlockOutput::Skipped { .. });
                Ok(())
            };
            let input = FluxInput {
                img: img.clone(),
                conditions: &conditions,
                sigma: &vec![levels[0]; inputs.guidance.len()],
                rope: &rope,
                attentions: Attentions::Dropped,
            };
            let velocity = flux
                .forward_cached(input, &|_| None, cache.as_mut(), &mut on_block)
                .await?;
            if told != flux.blocks() {
                return Err(format!("{told} of {} blocks were told of", flux.blocks()).into());
            }
            skipped.push(skips);
            velocities.extend(case.values(velocity.clone()).await?);
            img = FlowMatchEuler::step(img, velocity, levels[0], levels[1]);
        }
        let count = skipped.iter().filter(|&&skips| skips).count();
        match cache.is_none_or(|cache| cache.skipped_steps() == count) {
            true => Ok((velocities, skipped)),
            false => Err("the cache counts other steps than it skips".into()),
        }
    }
}
