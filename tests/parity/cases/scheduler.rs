//! Noise levels, Euler steps, and packing of latents.

use burn::tensor::Tensor;
use x2i_core::config::SchedulerConfig;
use x2i_core::flux::latents;
use x2i_core::sampler::FlowMatchEuler;

use crate::case::{Case, Outcome};
use crate::report::Report;

/// Relative, as the README asks.
const TOLERANCE: f32 = 1e-6;

pub async fn run(case: &Case<'_>, report: &mut Report) -> Outcome {
    for name in case.golden.names().map(str::to_owned).collect::<Vec<_>>() {
        let Some(key) = name.strip_prefix("out.") else {
            continue;
        };
        let parts: Vec<&str> = key.split('.').collect();
        match parts[..] {
            ["mu", size] => {
                let (golden, _) = case.golden.f32(&name).await?;
                let mu = sampler(case, "dev").await?.mu(image_tokens(size)?) as f32;
                report.close_within(&name, &[mu], &golden, TOLERANCE);
            }
            ["euler", config, "trajectory"] => trajectory(case, report, config).await?,
            ["euler", ..] => {}
            ["train_table", config, _] => train_table(case, report, config).await?,
            ["packed" | "unpacked" | "image_ids"] => {}
            // own_grid_mu0.8.<config>.n<steps>.sigmas: the number holds a dot.
            [head, mu, config, steps, "sigmas"] if head.starts_with("own_grid_mu") => {
                let mu: f64 = format!("{}.{mu}", head.trim_start_matches("own_grid_mu")).parse()?;
                let schedule = sampler(case, config).await?.own_schedule(count(steps)?, mu);
                let (golden, _) = case.golden.f32(&name).await?;
                report.close_within(&name, &schedule.sigmas, &golden, TOLERANCE);
            }
            [config, size, steps, kind] => {
                let schedule = sampler(case, config)
                    .await?
                    .schedule(count(steps)?, image_tokens(size)?);
                let (golden, _) = case.golden.f32(&name).await?;
                match kind {
                    "sigmas" => report.close_within(&name, &schedule.sigmas, &golden, TOLERANCE),
                    _ => {
                        report.close_within(&name, &schedule.timesteps, &golden, TOLERANCE * 1000.0)
                    }
                }
            }
            _ => report.note(format!("{name}: unknown key")),
        }
    }
    packing(case, report).await
}

async fn sampler(
    case: &Case<'_>,
    config: &str,
) -> Result<FlowMatchEuler, Box<dyn std::error::Error>> {
    let config: SchedulerConfig = serde_json::from_value(
        case.json(&format!("{config}/scheduler_config.json"))
            .await?,
    )?;
    Ok(FlowMatchEuler::new(config))
}

/// Packed tokens of a size such as `h512w768`.
fn image_tokens(size: &str) -> Result<usize, Box<dyn std::error::Error>> {
    let (height, width) = size
        .strip_prefix('h')
        .and_then(|rest| rest.split_once('w'))
        .ok_or("no size")?;
    Ok((height.parse::<usize>()? / 16) * (width.parse::<usize>()? / 16))
}

fn count(steps: &str) -> Result<usize, Box<dyn std::error::Error>> {
    Ok(steps.trim_start_matches('n').parse()?)
}

/// Euler steps from the stored noise along the stored velocities.
async fn trajectory(case: &Case<'_>, report: &mut Report, config: &str) -> Outcome {
    let (sigmas, _) = case
        .golden
        .f32(&format!("out.euler.{config}.sigmas"))
        .await?;
    let velocity: Tensor<4> = case.tensor("in.velocity").await?;
    let mut latents: Tensor<3> = case.tensor("in.noise").await?;
    let mut ours = vec![];
    for (step, levels) in sigmas.windows(2).enumerate() {
        let velocity = velocity.clone().narrow(0, step, 1).squeeze_dim::<3>(0);
        latents = FlowMatchEuler::step(latents, velocity, levels[0], levels[1]);
        ours.extend(case.values(latents.clone()).await?);
    }
    let name = format!("out.euler.{config}.trajectory");
    let (golden, _) = case.golden.f32(&name).await?;
    report.close(&name, &ours, &golden);
    Ok(())
}

async fn train_table(case: &Case<'_>, report: &mut Report, config: &str) -> Outcome {
    let name = format!("out.train_table.{config}.sigmas");
    let (golden, _) = case.golden.f32(&name).await?;
    report.close_within(
        &name,
        &sampler(case, config).await?.train_sigmas(),
        &golden,
        TOLERANCE,
    );
    Ok(())
}

async fn packing(case: &Case<'_>, report: &mut Report) -> Outcome {
    let unpacked: Tensor<4> = case.tensor("in.latents").await?;
    let [_, _, height, width] = unpacked.dims();
    let packed = latents::pack(unpacked);
    report.equal(
        "out.packed",
        &case.values(packed.clone()).await?,
        &case.golden.f32("out.packed").await?.0,
    );
    let unpacked = latents::unpack(packed, height, width);
    report.equal(
        "out.unpacked",
        &case.values(unpacked).await?,
        &case.golden.f32("out.unpacked").await?.0,
    );
    let ids = latents::image_ids(height / latents::PACK, width / latents::PACK).concat();
    report.equal(
        "out.image_ids",
        &ids,
        &case.golden.f32("out.image_ids").await?.0,
    );
    Ok(())
}
