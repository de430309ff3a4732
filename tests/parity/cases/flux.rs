//! The FLUX transformer, dev and schnell: every block's outputs and the velocity; and the velocity
//! with quantized weights, and with LoRAs beside dense and quantized ones.

use burn::tensor::Tensor;
use x2i_core::InputBits;
use x2i_core::config::FluxConfig;
use x2i_core::flux::{Attentions, BlockOutput, Conditions, FluxInput};
use x2i_core::nn::rope::Rope;
use x2i_core::weights::{Component, Weights};

use crate::case::{Case, Fallible, Outcome};
use crate::lora::{self, Naming};
use crate::quantized::{self, TOLERANCE, quantize, relative_error};
use crate::repacked::{Kind, repack};
use crate::report::Report;

pub async fn run(case: &Case<'_>, report: &mut Report) -> Outcome {
    let config: FluxConfig = serde_json::from_value(case.json("config.json").await?)?;
    config.validate("config.json")?;
    let weights = case
        .weights(Component::Flux, &["diffusion_pytorch_model.safetensors"])
        .await?;
    let flux = case.flux(&config, &weights, InputBits::default()).await?;

    let inputs = Inputs::read(case).await?;
    let rope = flux.rope(&inputs.ids);
    report.close(
        "out.rope.cos",
        &case.values(rope.cos.clone()).await?,
        &case.golden.f32("out.rope.cos").await?.0,
    );
    report.close(
        "out.rope.sin",
        &case.values(rope.sin.clone()).await?,
        &case.golden.f32("out.rope.sin").await?.0,
    );

    let conditions = flux.embed(inputs.txt.clone(), inputs.vec.clone(), &inputs.guidance);
    let input = inputs.with(&conditions, &rope);
    let mut outputs = vec![];
    let mut on_block = async |output: BlockOutput<'_>| {
        let mut keep = |name: String, tensor: Option<&Tensor<3>>| {
            outputs.push((name, tensor.expect("it is asked for").clone()));
        };
        match output {
            BlockOutput::Double {
                index,
                img,
                txt,
                img_attn,
                txt_attn,
            } => {
                keep(format!("out.double.{index}.img"), Some(img));
                keep(format!("out.double.{index}.txt"), Some(txt));
                keep(format!("out.double.{index}.attn.img"), img_attn);
                keep(format!("out.double.{index}.attn.txt"), txt_attn);
            }
            BlockOutput::Single { index, x, attn } => {
                keep(format!("out.single.{index}"), Some(x));
                keep(format!("out.single.{index}.attn"), attn);
            }
            BlockOutput::Skipped { .. } => {}
        }
        Ok(())
    };
    let velocity = flux.forward(input, &mut on_block).await?;
    outputs.push(("out.sample".into(), velocity));
    for (name, ours) in outputs {
        report.close(
            &name,
            &case.values(ours).await?,
            &case.golden.f32(&name).await?.0,
        );
    }
    quantized_velocities(case, &config, &weights, report).await?;
    repacked_velocities(case, &config, &weights, report).await?;
    adapted_velocities(case, &config, &weights, report).await
}

/// What the transformer is given.
pub(super) struct Inputs {
    pub(super) img: Tensor<3>,
    pub(super) txt: Tensor<3>,
    pub(super) vec: Tensor<2>,
    pub(super) guidance: Vec<f32>,
    sigma: Vec<f32>,
    pub(super) ids: Vec<[f32; 3]>,
}

impl Inputs {
    pub(super) async fn read(case: &Case<'_>) -> Fallible<Self> {
        let (sigma, _) = case.golden.f32("in.timestep").await?;
        Ok(Self {
            img: case.tensor("in.hidden_states").await?,
            txt: case.tensor("in.encoder_hidden_states").await?,
            vec: case.tensor("in.pooled_projections").await?,
            guidance: match case.golden.contains("in.guidance") {
                true => case.golden.f32("in.guidance").await?.0,
                false => vec![0.0; sigma.len()],
            },
            sigma,
            ids: [
                ids(case, "in.txt_ids").await?,
                ids(case, "in.img_ids").await?,
            ]
            .concat(),
        })
    }

    pub(super) fn with<'a>(&'a self, conditions: &'a Conditions, rope: &'a Rope) -> FluxInput<'a> {
        FluxInput {
            img: self.img.clone(),
            conditions,
            sigma: &self.sigma,
            rope,
            attentions: Attentions::Kept,
        }
    }

    /// The velocity that a transformer of these weights predicts.
    async fn velocity(
        &self,
        case: &Case<'_>,
        config: &FluxConfig,
        weights: &Weights,
        input_bits: InputBits,
    ) -> Fallible<Vec<f32>> {
        let flux = case.flux(config, weights, input_bits).await?;
        let rope = flux.rope(&self.ids);
        let conditions = flux.embed(self.txt.clone(), self.vec.clone(), &self.guidance);
        let input = FluxInput {
            attentions: Attentions::Dropped, // as a picture does
            ..self.with(&conditions, &rope)
        };
        let velocity = flux.forward(input, &mut async |_| Ok(())).await?;
        case.values(velocity).await
    }
}

/// With blocks the velocity is that of their values; the report notes how far it is from the golden.
async fn quantized_velocities(
    case: &Case<'_>,
    config: &FluxConfig,
    weights: &Weights,
    report: &mut Report,
) -> Outcome {
    let inputs = Inputs::read(case).await?;
    let (golden, _) = case.golden.f32("out.sample").await?;
    for &stored in quantized::types(case.effort) {
        let Some(both) = quantize(weights, Component::Flux, stored).await? else {
            report.note(format!(
                "no rows of this model divide into blocks of {stored}"
            ));
            continue;
        };
        let exact = inputs
            .velocity(case, config, &both.values, InputBits::Sixteen)
            .await?;
        let ours = inputs
            .velocity(case, config, &both.blocks, InputBits::Sixteen)
            .await?;
        report.close_share(&format!("{stored} velocity"), &ours, &exact, TOLERANCE);
        let ours = inputs
            .velocity(case, config, &both.blocks, InputBits::AsWeights)
            .await?;
        let [exact, ours] = [exact, ours].map(|values| relative_error(&values, &golden));
        report.note(format!(
            "{stored}: {exact:.1e} from the golden velocity in f32, {ours:.1e} as computed by default"
        ));
    }
    Ok(())
}

/// The same with blocks of tables and of other libraries' whole numbers; and with a LoRA beside them.
async fn repacked_velocities(
    case: &Case<'_>,
    config: &FluxConfig,
    weights: &Weights,
    report: &mut Report,
) -> Outcome {
    let inputs = Inputs::read(case).await?;
    let sixteen = InputBits::Sixteen;
    for &kind in Kind::all(case.effort) {
        let mut both = repack(weights, kind).await?;
        let exact = inputs.velocity(case, config, &both.values, sixteen).await?;
        let ours = inputs.velocity(case, config, &both.blocks, sixteen).await?;
        report.close_share(&format!("{kind:?} velocity"), &ours, &exact, TOLERANCE);
        let merged = lora::merged(config, &both.values, Naming::Diffusers).await?;
        let exact = inputs.velocity(case, config, &merged, sixteen).await?;
        let file = lora::file(config, weights, Naming::Diffusers).await?;
        both.blocks.adapt(&[file])?;
        let ours = inputs.velocity(case, config, &both.blocks, sixteen).await?;
        let name = format!("{kind:?} velocity with a LoRA");
        report.close_share(&name, &ours, &exact, TOLERANCE);
    }
    Ok(())
}

/// A LoRA beside the matrices gives the velocity of matrices that it was merged into, whatever names
/// its file has; and so it does beside blocks.
async fn adapted_velocities(
    case: &Case<'_>,
    config: &FluxConfig,
    weights: &Weights,
    report: &mut Report,
) -> Outcome {
    let inputs = Inputs::read(case).await?;
    let (plain, _) = case.golden.f32("out.sample").await?;
    let sixteen = InputBits::Sixteen;
    for naming in Naming::ALL {
        let merged = lora::merged(config, weights, naming).await?;
        let exact = inputs.velocity(case, config, &merged, sixteen).await?;
        let mut adapted = case
            .weights(Component::Flux, &["diffusion_pytorch_model.safetensors"])
            .await?;
        adapted.adapt(&[lora::file(config, weights, naming).await?])?;
        let ours = inputs.velocity(case, config, &adapted, sixteen).await?;
        let name = format!("{naming:?} LoRA velocity");
        report.close_forwards(&name, &ours, &exact, lora::TOLERANCE);
        if relative_error(&exact, &plain) < 100.0 * lora::TOLERANCE {
            report.fail(format!("{name}: the changes are too small to be seen"));
        }
    }
    for &stored in quantized::types(case.effort) {
        let Some(mut both) = quantize(weights, Component::Flux, stored).await? else {
            continue;
        };
        let merged = lora::merged(config, &both.values, Naming::Diffusers).await?;
        let exact = inputs.velocity(case, config, &merged, sixteen).await?;
        let file = lora::file(config, weights, Naming::Diffusers).await?;
        both.blocks.adapt(&[file])?;
        let ours = inputs.velocity(case, config, &both.blocks, sixteen).await?;
        let name = format!("{stored} velocity with a LoRA");
        report.close_share(&name, &ours, &exact, TOLERANCE);
    }
    Ok(())
}

async fn ids(case: &Case<'_>, name: &str) -> Fallible<Vec<[f32; 3]>> {
    let (values, _) = case.golden.f32(name).await?;
    Ok(values
        .chunks_exact(3)
        .map(|id| [id[0], id[1], id[2]])
        .collect())
}
