//! The FLUX transformer, dev and schnell: every block's outputs and the velocity.

use x2i_core::config::FluxConfig;
use x2i_core::flux::{BlockOutput, Flux, FluxInput};
use x2i_core::weights::Component;

use crate::case::{Case, Outcome};
use crate::report::Report;

pub async fn run(case: &Case<'_>, report: &mut Report) -> Outcome {
    let config: FluxConfig = serde_json::from_value(case.json("config.json").await?)?;
    config.validate("config.json")?;
    let weights = case
        .weights(Component::Flux, &["diffusion_pytorch_model.safetensors"])
        .await?;
    let flux = Flux::load(&config, &weights.scope(&case.device)).await?;

    let ids = [
        ids(case, "in.txt_ids").await?,
        ids(case, "in.img_ids").await?,
    ]
    .concat();
    let rope = flux.rope(&ids);
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

    let (sigma, _) = case.golden.f32("in.timestep").await?;
    let guidance = if case.golden.contains("in.guidance") {
        case.golden.f32("in.guidance").await?.0
    } else {
        vec![0.0; sigma.len()]
    };
    let conditions = flux.embed(
        case.tensor("in.encoder_hidden_states").await?,
        case.tensor("in.pooled_projections").await?,
        &guidance,
    );
    let input = FluxInput {
        img: case.tensor("in.hidden_states").await?,
        conditions: &conditions,
        sigma: &sigma,
        rope: &rope,
    };
    let mut outputs = vec![];
    let mut on_block = async |output: BlockOutput<'_>| {
        match output {
            BlockOutput::Double {
                index,
                img,
                txt,
                img_attn,
                txt_attn,
            } => outputs.extend([
                (format!("out.double.{index}.img"), img.clone()),
                (format!("out.double.{index}.txt"), txt.clone()),
                (format!("out.double.{index}.attn.img"), img_attn.clone()),
                (format!("out.double.{index}.attn.txt"), txt_attn.clone()),
            ]),
            BlockOutput::Single { index, x, attn } => outputs.extend([
                (format!("out.single.{index}"), x.clone()),
                (format!("out.single.{index}.attn"), attn.clone()),
            ]),
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
    Ok(())
}

async fn ids(case: &Case<'_>, name: &str) -> Result<Vec<[f32; 3]>, Box<dyn std::error::Error>> {
    let (values, _) = case.golden.f32(name).await?;
    Ok(values
        .chunks_exact(3)
        .map(|id| [id[0], id[1], id[2]])
        .collect())
}
