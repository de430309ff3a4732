//! The whole path on tiny models: prompt to picture, with a dynamic and a static shift; and how far
//! pictures of quantized weights are from the golden one.

use burn::tensor::Tensor;
use x2i_core::align_net::{AlignNet, Conditioning as Conditioned};
use x2i_core::config::{
    AlignNetConfig, FluxConfig, Padding, PaddingSide, PromptFormat, SchedulerConfig, VaeConfig,
};
use x2i_core::encoders::{EncodeOptions, Encoder};
use x2i_core::flux::{Attentions, Flux, FluxInput, latents};
use x2i_core::request::{Conditioning, Prompt};
use x2i_core::sampler::FlowMatchEuler;
use x2i_core::vae::Vae;
use x2i_core::weights::Component;
use x2i_core::{InputBits, image, model};

use crate::case::{Case, Fallible, Outcome};
use crate::quantized::{self, Quantized, quantize};
use crate::report::Report;

/// The README's share of bytes that may differ by more than one grey level.
const PICTURE_SHARE: f32 = 0.005;

pub async fn run(case: &Case<'_>, report: &mut Report) -> Outcome {
    let description = case.json("case.json").await?;
    let number = |key: &str| {
        description[key]
            .as_u64()
            .map(|number| number as usize)
            .ok_or(format!("case.json has no {key}"))
    };
    let (width, height, steps) = (number("width")?, number("height")?, number("steps")?);
    let guidance = description["guidance"]
        .as_f64()
        .ok_or("case.json has no guidance")? as f32;

    let hidden_states = encode(case, &description, number("max_length")?).await?;
    report.close(
        "mllm.hidden_states_in",
        &case.values(hidden_states.clone()).await?,
        &case.golden.f32("out.mllm.hidden_states_in").await?.0,
    );

    let weights = case
        .weights(Component::AlignNet, &["proj/diffusion_pytorch_model.bin"])
        .await?;
    let config = AlignNetConfig::from_shapes(
        "proj",
        Some(&case.json("proj/config.json").await?),
        |name| weights.shape(name),
    )?;
    let conditioning = AlignNet::load(&config, &weights.scope(&case.device))
        .await?
        .forward(hidden_states);
    report.close(
        "prompt_embeds",
        &case.values(conditioning.txt.clone()).await?,
        &case.golden.f32("out.prompt_embeds").await?.0,
    );
    report.close(
        "pooled_prompt_embeds",
        &case.values(conditioning.vec.clone()).await?,
        &case.golden.f32("out.pooled_prompt_embeds").await?.0,
    );

    let config: FluxConfig =
        serde_json::from_value(case.json("flux/transformer/config.json").await?)?;
    let flux_weights = case
        .weights(
            Component::Flux,
            &["flux/transformer/diffusion_pytorch_model.safetensors"],
        )
        .await?;
    let flux_config = config;
    let flux = case
        .flux(&flux_config, &flux_weights, InputBits::default())
        .await?;
    let config: VaeConfig = serde_json::from_value(case.json("flux/vae/config.json").await?)?;
    let weights = case
        .weights(
            Component::Vae,
            &["flux/vae/diffusion_pytorch_model.safetensors"],
        )
        .await?;
    let vae = Vae::load_decoder(&config, &weights.scope(&case.device)).await?;

    let noise: Tensor<4> = case.tensor("in.noise").await?;
    let packed = latents::pack(noise);
    report.equal(
        "packed_noise",
        &case.values(packed.clone()).await?,
        &case.golden.f32("out.packed_noise").await?.0,
    );
    let dynamic: SchedulerConfig =
        serde_json::from_value(case.json("flux/scheduler/scheduler_config.json").await?)?;
    let fixed = SchedulerConfig {
        shift: 1.0,
        use_dynamic_shifting: false,
        ..dynamic.clone()
    };

    for (tag, scheduler) in [("dev", dynamic), ("schnell_sched", fixed)] {
        let (rows, columns) = (height / 16, width / 16);
        let schedule = FlowMatchEuler::new(scheduler).schedule(steps, rows * columns);
        report.close(
            &format!("{tag}.sigmas"),
            &schedule.sigmas,
            &case.golden.f32(&format!("out.{tag}.sigmas")).await?.0,
        );
        let rope = flux.rope(
            &[
                latents::text_ids(conditioning.txt.dims()[1]),
                latents::image_ids(rows, columns),
            ]
            .concat(),
        );
        let (txt, vec) = (conditioning.txt.clone(), conditioning.vec.clone());
        let conditions = flux.embed(txt, vec, &[guidance]);
        let (mut velocities, mut trajectory) = (vec![], vec![]);
        let mut img = packed.clone();
        for levels in schedule.sigmas.windows(2) {
            let input = FluxInput {
                img: img.clone(),
                conditions: &conditions,
                sigma: &levels[..1],
                rope: &rope,
                attentions: Attentions::Dropped,
            };
            let velocity = flux.forward(input, &mut async |_| Ok(())).await?;
            velocities.extend(case.values(velocity.clone()).await?);
            img = FlowMatchEuler::step(img, velocity, levels[0], levels[1]);
            trajectory.extend(case.values(img.clone()).await?);
        }
        report.close(
            &format!("{tag}.noise_pred"),
            &velocities,
            &case.golden.f32(&format!("out.{tag}.noise_pred")).await?.0,
        );
        let name = format!("out.{tag}.latents_after_step");
        report.close(&name, &trajectory, &case.golden.f32(&name).await?.0);

        let unpacked = latents::unpack(img, height / 8, width / 8);
        report.close(
            &format!("{tag}.unpacked"),
            &case.values(unpacked.clone()).await?,
            &case.golden.f32(&format!("out.{tag}.unpacked")).await?.0,
        );
        let unscaled = vae.unscale(unpacked);
        let decoded = vae.decode(unscaled, &mut async |_, _| Ok(())).await?;
        report.close(
            &format!("{tag}.decoded"),
            &case.values(decoded.clone()).await?,
            &case.golden.f32(&format!("out.{tag}.decoded")).await?.0,
        );
        picture(case, report, tag, decoded).await?;
        let painting = Painting {
            tag,
            sigmas: schedule.sigmas,
            noise: packed.clone(),
            conditioning: conditioning.clone(),
            guidance,
            size: [height, width],
        };
        for &stored in quantized::types(case.effort) {
            let both = quantize(&flux_weights, Component::Flux, stored).await?;
            if let Some(Quantized { blocks, .. }) = both {
                let flux = case
                    .flux(&flux_config, &blocks, InputBits::default())
                    .await?;
                let psnr = painting.psnr(case, &flux, &vae).await?;
                report.note(format!(
                    "{tag}: {psnr:.1} dB from the golden picture with {stored} weights"
                ));
            }
        }
    }
    Ok(())
}

/// All that another transformer needs to paint the golden picture.
struct Painting<'a> {
    tag: &'a str,
    sigmas: Vec<f32>,
    noise: Tensor<3>,
    conditioning: Conditioned,
    guidance: f32,
    size: [usize; 2],
}

impl Painting<'_> {
    /// How near this transformer's picture is to the golden one, in dB.
    async fn psnr(&self, case: &Case<'_>, flux: &Flux, vae: &Vae) -> Fallible<f64> {
        let [height, width] = self.size;
        let Conditioned { txt, vec } = self.conditioning.clone();
        let ids = [
            latents::text_ids(txt.dims()[1]),
            latents::image_ids(height / 16, width / 16),
        ];
        let rope = flux.rope(&ids.concat());
        let conditions = flux.embed(txt, vec, &[self.guidance]);
        let mut img = self.noise.clone();
        for levels in self.sigmas.windows(2) {
            let input = FluxInput {
                img: img.clone(),
                conditions: &conditions,
                sigma: &levels[..1],
                rope: &rope,
                attentions: Attentions::Dropped,
            };
            let velocity = flux.forward(input, &mut async |_| Ok(())).await?;
            img = FlowMatchEuler::step(img, velocity, levels[0], levels[1]);
        }
        let unpacked = latents::unpack(img, height / 8, width / 8);
        let decoded = vae
            .decode(vae.unscale(unpacked), &mut async |_, _| Ok(()))
            .await?;
        let pictures = image::to_rgb8(decoded).await?;
        let ours = pictures.first().ok_or("no picture")?.pixels();
        let (golden, _) = case
            .golden
            .u8(&format!("out.{}.image_uint8", self.tag))
            .await?;
        let squares = ours
            .iter()
            .zip(&golden)
            .map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2));
        let mean = squares.sum::<f64>() / golden.len() as f64;
        Ok(10.0 * (255.0 * 255.0 / mean).log10())
    }
}

async fn encode(
    case: &Case<'_>,
    description: &serde_json::Value,
    max_length: usize,
) -> Result<Tensor<4>, Box<dyn std::error::Error>> {
    let text = |key: &str| {
        description[key]
            .as_str()
            .ok_or(format!("case.json has no {key}"))
    };
    // A folder of parts, as a user would have it: the LLM stands elsewhere.
    let source = case.folder(text("mllm")?);
    let side = if text("padding_side")? == "left" {
        PaddingSide::Left
    } else {
        PaddingSide::Right
    };
    let options = EncodeOptions {
        conditioning: Conditioning::Prompt,
        prompt_format: PromptFormat::Plain,
        padding: Some(Padding { max_length, side }),
        input_image_size: None,
        max_new_tokens: 1,
        seed: 0,
        certainty: None,
        unknown: None,
    };
    let part = model::read_encoder(&source, "").await?;
    let weights = model::open_weights(&source, Component::Qwen2_5Vl, &part.weights).await?;
    let tokenizer = model::read_tokenizer(&source, &part).await?;
    let encoder = Encoder::load(&part, tokenizer, &weights.scope(&case.device)).await?;
    let prompt = Prompt::text(text("prompt")?);
    let mut go = async |_| std::ops::ControlFlow::Continue(());
    let encoded = encoder.encode(&prompt, &options, &mut go).await?;
    Ok(encoded.hidden_states)
}

/// The final picture, within one grey level.
async fn picture(case: &Case<'_>, report: &mut Report, tag: &str, decoded: Tensor<4>) -> Outcome {
    let pictures = image::to_rgb8(decoded).await?;
    let ours = pictures.first().ok_or("no picture")?.pixels().to_vec();
    let (golden, _) = case.golden.u8(&format!("out.{tag}.image_uint8")).await?;
    let off = ours
        .iter()
        .zip(&golden)
        .filter(|(a, b)| a.abs_diff(**b) > 1)
        .count();
    let share = off as f32 / golden.len() as f32;
    if ours.len() != golden.len() {
        report.fail(format!(
            "{tag}: the picture has {} bytes, not {}",
            ours.len(),
            golden.len()
        ));
    }
    report.close_within(
        &format!("{tag}.image_uint8 share over one grey level"),
        &[share],
        &[0.0],
        PICTURE_SHARE,
    );
    Ok(())
}
