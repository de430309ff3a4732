//! AutoencoderKL: encode and decode with intermediates, and the picture in bytes.

use burn::tensor::Tensor;
use x2i_core::config::VaeConfig;
use x2i_core::image;
use x2i_core::vae::Vae;
use x2i_core::weights::Component;

use crate::case::{Case, Outcome};
use crate::report::Report;

/// The golden picture is of this share of the decoded values, to keep them off the clamp.
const PICTURE_GAIN: f32 = 0.35;

pub fn run(case: &Case, report: &mut Report) -> Outcome {
    let config: VaeConfig = serde_json::from_value(case.json("config.json")?)?;
    config.validate("config.json")?;
    let weights = case.weights(Component::Vae, &["diffusion_pytorch_model.safetensors"])?;
    let vae = pollster::block_on(Vae::load(&config, &weights.scope(&case.device)))?;
    encode(case, report, &vae)?;
    decode(case, report, &vae, config.block_out_channels.len())
}

fn encode(case: &Case, report: &mut Report, vae: &Vae) -> Outcome {
    let mut parts = vec![];
    let mut on_part = async |part: &str, x: &Tensor<4>| {
        parts.push((format!("out.enc.{part}"), x.clone()));
        Ok(())
    };
    let latents = pollster::block_on(vae.encode(case.tensor("in.image")?, &mut on_part))?;
    compare_parts(case, report, parts, |name| {
        name.replace("mid.attn_1", "mid.attn")
    })?;
    let std = (latents.log_variance.clone() * 0.5).exp();
    let outputs = [
        ("out.mean", latents.mean.clone()),
        ("out.logvar", latents.log_variance),
        ("out.std", std),
        ("out.model_latent", vae.scale(latents.mean)),
    ];
    for (name, ours) in outputs {
        report.close(name, &case.values(ours)?, &case.golden.f32(name)?.0);
    }
    Ok(())
}

fn decode(case: &Case, report: &mut Report, vae: &Vae, levels: usize) -> Outcome {
    let latents: Tensor<4> = case.tensor("in.latents")?;
    let raw = pollster::block_on(vae.decode(latents.clone(), &mut async |_, _| Ok(())))?;
    report.close(
        "out.decode_raw",
        &case.values(raw)?,
        &case.golden.f32("out.decode_raw")?.0,
    );

    let mut parts = vec![];
    let mut on_part = async |part: &str, x: &Tensor<4>| {
        parts.push((format!("out.dec.{part}"), x.clone()));
        Ok(())
    };
    let decoded = pollster::block_on(vae.decode(vae.unscale(latents), &mut on_part))?;
    // BFL counts up levels from the finest, diffusers from the coarsest.
    let diffusers_name = |name: &str| match name
        .strip_prefix("out.dec.up.")
        .and_then(|index| index.parse::<usize>().ok())
    {
        Some(index) => format!("out.dec.up.{}", levels - 1 - index),
        None => name.replace("mid.attn_1", "mid.attn"),
    };
    compare_parts(case, report, parts, diffusers_name)?;
    report.close(
        "out.decode_scaled",
        &case.values(decoded.clone())?,
        &case.golden.f32("out.decode_scaled")?.0,
    );

    let pictures = pollster::block_on(image::to_rgb8(decoded * PICTURE_GAIN))?;
    let ours: Vec<f32> = pictures
        .iter()
        .flat_map(|picture| picture.pixels())
        .map(|&byte| f32::from(byte))
        .collect();
    let golden: Vec<f32> = case
        .golden
        .u8("out.decoded_uint8")?
        .0
        .into_iter()
        .map(f32::from)
        .collect();
    report.close_within("out.decoded_uint8", &ours, &golden, 1.0);
    Ok(())
}

/// Compares those parts that the golden set holds.
fn compare_parts(
    case: &Case,
    report: &mut Report,
    parts: Vec<(String, Tensor<4>)>,
    rename: impl Fn(&str) -> String,
) -> Outcome {
    for (name, ours) in parts {
        let name = rename(&name);
        if case.golden.contains(&name) {
            report.close(&name, &case.values(ours)?, &case.golden.f32(&name)?.0);
        }
    }
    Ok(())
}
