//! AutoencoderKL: encode and decode with intermediates, and the picture in bytes.

use burn::tensor::Tensor;
use x2i_core::config::VaeConfig;
use x2i_core::image;
use x2i_core::vae::{Bands, Tiling, Vae, VaeEncoder};
use x2i_core::weights::Component;

use crate::case::{Case, Outcome};
use crate::report::Report;

/// The golden picture is of this share of the decoded values, to keep them off the clamp.
const PICTURE_GAIN: f32 = 0.35;

/// Bands that a picture is decoded in besides: rows alone, a few rows that need not divide it, most of it.
const BANDS: [usize; 3] = [1, 200, 1500];

pub async fn run(case: &Case<'_>, report: &mut Report) -> Outcome {
    let config: VaeConfig = serde_json::from_value(case.json("config.json").await?)?;
    config.validate("config.json")?;
    let weights = case
        .weights(Component::Vae, &["diffusion_pytorch_model.safetensors"])
        .await?;
    let scope = weights.scope(&case.device);
    let encoder = VaeEncoder::load(&config, &scope).await?;
    encode(case, report, &encoder).await?;
    let vae = Vae::load_decoder(&config, &scope).await?;
    decode(case, report, &vae, config.block_out_channels.len()).await
}

async fn encode(case: &Case<'_>, report: &mut Report, vae: &VaeEncoder) -> Outcome {
    let mut parts = vec![];
    let mut on_part = async |part: &str, x: &Bands| {
        parts.push((format!("out.enc.{part}"), x.clone().join()));
        Ok(())
    };
    let latents = vae
        .encode(case.tensor("in.image").await?, &mut on_part)
        .await?;
    report.equal("parts of the encoder", &parts.len(), &vae.parts());
    compare_parts(case, report, parts, |name| {
        name.replace("mid.attn_1", "mid.attn")
    })
    .await?;
    let std = (latents.log_variance.clone() * 0.5).exp();
    let outputs = [
        ("out.mean", latents.mean.clone()),
        ("out.logvar", latents.log_variance),
        ("out.std", std),
        ("out.model_latent", vae.scale(latents.mean)),
    ];
    for (name, ours) in outputs {
        report.close(
            name,
            &case.values(ours).await?,
            &case.golden.f32(name).await?.0,
        );
    }
    Ok(())
}

async fn decode(case: &Case<'_>, report: &mut Report, vae: &Vae, levels: usize) -> Outcome {
    let latents: Tensor<4> = case.tensor("in.latents").await?;
    let raw = vae
        .decode(latents.clone(), &mut async |_, _| Ok(()))
        .await?;
    report.close(
        "out.decode_raw",
        &case.values(raw).await?,
        &case.golden.f32("out.decode_raw").await?.0,
    );

    for pixels in BANDS {
        let tiling = Tiling::Bands { pixels };
        let decoded = vae
            .decode_in(tiling, latents.clone(), &mut async |_, _| Ok(()))
            .await?;
        report.close(
            &format!("out.decode_raw in bands of {pixels} pixels"),
            &case.values(decoded).await?,
            &case.golden.f32("out.decode_raw").await?.0,
        );
    }

    let mut parts = vec![];
    let mut on_part = async |part: &str, x: &Bands| {
        parts.push((format!("out.dec.{part}"), x.clone().join()));
        Ok(())
    };
    let decoded = vae.decode(vae.unscale(latents), &mut on_part).await?;
    // BFL counts up levels from the finest, diffusers from the coarsest.
    let diffusers_name = |name: &str| match name
        .strip_prefix("out.dec.up.")
        .and_then(|index| index.parse::<usize>().ok())
    {
        Some(index) => format!("out.dec.up.{}", levels - 1 - index),
        None => name.replace("mid.attn_1", "mid.attn"),
    };
    compare_parts(case, report, parts, diffusers_name).await?;
    report.close(
        "out.decode_scaled",
        &case.values(decoded.clone()).await?,
        &case.golden.f32("out.decode_scaled").await?.0,
    );

    let pictures = image::to_rgb8(decoded * PICTURE_GAIN).await?;
    let ours: Vec<f32> = pictures
        .iter()
        .flat_map(|picture| picture.pixels())
        .map(|&byte| f32::from(byte))
        .collect();
    let golden: Vec<f32> = case
        .golden
        .u8("out.decoded_uint8")
        .await?
        .0
        .into_iter()
        .map(f32::from)
        .collect();
    report.close_within("out.decoded_uint8", &ours, &golden, 1.0);
    Ok(())
}

/// Compares those parts that the golden set holds.
async fn compare_parts(
    case: &Case<'_>,
    report: &mut Report,
    parts: Vec<(String, Tensor<4>)>,
    rename: impl Fn(&str) -> String,
) -> Outcome {
    for (name, ours) in parts {
        let name = rename(&name);
        if case.golden.contains(&name) {
            report.close(
                &name,
                &case.values(ours).await?,
                &case.golden.f32(&name).await?.0,
            );
        }
    }
    Ok(())
}
