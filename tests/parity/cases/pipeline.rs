//! The whole path on tiny models: prompt to picture, with a dynamic and a static shift.

use burn::tensor::Tensor;
use x2i::source::FolderSource;
use x2i_core::align_net::AlignNet;
use x2i_core::config::{
    AlignNetConfig, FluxConfig, Padding, PaddingSide, PromptFormat, SchedulerConfig, VaeConfig,
};
use x2i_core::encoders::{EncodeOptions, Encoder};
use x2i_core::flux::{Flux, FluxInput, latents};
use x2i_core::request::{Conditioning, Prompt};
use x2i_core::sampler::FlowMatchEuler;
use x2i_core::vae::Vae;
use x2i_core::weights::Component;
use x2i_core::{image, model};

use crate::case::{Case, Outcome};
use crate::report::Report;

/// The README's share of bytes that may differ by more than one grey level.
const PICTURE_SHARE: f32 = 0.005;

pub fn run(case: &Case, report: &mut Report) -> Outcome {
    let description = case.json("case.json")?;
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

    let hidden_states = encode(case, &description, number("max_length")?)?;
    report.close(
        "mllm.hidden_states_in",
        &case.values(hidden_states.clone())?,
        &case.golden.f32("out.mllm.hidden_states_in")?.0,
    );

    let weights = case.weights(Component::AlignNet, &["proj/diffusion_pytorch_model.bin"])?;
    let config =
        AlignNetConfig::from_shapes("proj", Some(&case.json("proj/config.json")?), |name| {
            weights.shape(name)
        })?;
    let conditioning = pollster::block_on(AlignNet::load(&config, &weights.scope(&case.device)))?
        .forward(hidden_states);
    report.close(
        "prompt_embeds",
        &case.values(conditioning.txt.clone())?,
        &case.golden.f32("out.prompt_embeds")?.0,
    );
    report.close(
        "pooled_prompt_embeds",
        &case.values(conditioning.vec.clone())?,
        &case.golden.f32("out.pooled_prompt_embeds")?.0,
    );

    let config: FluxConfig = serde_json::from_value(case.json("flux/transformer/config.json")?)?;
    let weights = case.weights(
        Component::Flux,
        &["flux/transformer/diffusion_pytorch_model.safetensors"],
    )?;
    let flux = pollster::block_on(Flux::load(&config, &weights.scope(&case.device)))?;
    let config: VaeConfig = serde_json::from_value(case.json("flux/vae/config.json")?)?;
    let weights = case.weights(
        Component::Vae,
        &["flux/vae/diffusion_pytorch_model.safetensors"],
    )?;
    let vae = pollster::block_on(Vae::load_decoder(&config, &weights.scope(&case.device)))?;

    let noise: Tensor<4> = case.tensor("in.noise")?;
    let packed = latents::pack(noise);
    report.equal(
        "packed_noise",
        &case.values(packed.clone())?,
        &case.golden.f32("out.packed_noise")?.0,
    );
    let dynamic: SchedulerConfig =
        serde_json::from_value(case.json("flux/scheduler/scheduler_config.json")?)?;
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
            &case.golden.f32(&format!("out.{tag}.sigmas"))?.0,
        );
        let rope = flux.rope(
            &[
                latents::text_ids(conditioning.txt.dims()[1]),
                latents::image_ids(rows, columns),
            ]
            .concat(),
        );
        let (mut velocities, mut trajectory) = (vec![], vec![]);
        let mut img = packed.clone();
        for levels in schedule.sigmas.windows(2) {
            let input = FluxInput {
                img: img.clone(),
                txt: conditioning.txt.clone(),
                vec: conditioning.vec.clone(),
                sigma: &levels[..1],
                guidance: &[guidance],
                rope: &rope,
            };
            let velocity = pollster::block_on(flux.forward(input, &mut async |_| Ok(())))?;
            velocities.extend(case.values(velocity.clone())?);
            img = FlowMatchEuler::step(img, velocity, levels[0], levels[1]);
            trajectory.extend(case.values(img.clone())?);
        }
        report.close(
            &format!("{tag}.noise_pred"),
            &velocities,
            &case.golden.f32(&format!("out.{tag}.noise_pred"))?.0,
        );
        let name = format!("out.{tag}.latents_after_step");
        report.close(&name, &trajectory, &case.golden.f32(&name)?.0);

        let unpacked = latents::unpack(img, height / 8, width / 8);
        report.close(
            &format!("{tag}.unpacked"),
            &case.values(unpacked.clone())?,
            &case.golden.f32(&format!("out.{tag}.unpacked"))?.0,
        );
        let unscaled = vae.unscale(unpacked);
        let decoded = pollster::block_on(vae.decode(unscaled, &mut async |_, _| Ok(())))?;
        report.close(
            &format!("{tag}.decoded"),
            &case.values(decoded.clone())?,
            &case.golden.f32(&format!("out.{tag}.decoded"))?.0,
        );
        picture(case, report, tag, decoded)?;
    }
    Ok(())
}

fn encode(
    case: &Case,
    description: &serde_json::Value,
    max_length: usize,
) -> Result<Tensor<4>, Box<dyn std::error::Error>> {
    let text = |key: &str| {
        description[key]
            .as_str()
            .ok_or(format!("case.json has no {key}"))
    };
    // A folder of parts, as a user would have it: the LLM stands elsewhere.
    let source = FolderSource::open(case.sibling(text("mllm")?))?;
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
    };
    pollster::block_on(async {
        let part = model::read_encoder(&source, "").await?;
        let weights = model::open_weights(&source, Component::Qwen2_5Vl, &part.weights).await?;
        let tokenizer = model::read_tokenizer(&source, &part).await?;
        let encoder = Encoder::load(&part, tokenizer, &weights.scope(&case.device)).await?;
        let prompt = Prompt::text(text("prompt")?);
        let encoded = encoder
            .encode(&prompt, &options, &mut async |_| {
                std::ops::ControlFlow::Continue(())
            })
            .await?;
        Ok(encoded.hidden_states)
    })
}

/// The final picture, within one grey level.
fn picture(case: &Case, report: &mut Report, tag: &str, decoded: Tensor<4>) -> Outcome {
    let pictures = pollster::block_on(image::to_rgb8(decoded))?;
    let ours = pictures.first().ok_or("no picture")?.pixels().to_vec();
    let (golden, _) = case.golden.u8(&format!("out.{tag}.image_uint8"))?;
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
