//! `x2i bench quality`: the loss of quality by each weight type, for a given model.
//!
//! The model is converted to f32 and to each type; all of them generate the same prompts from the same
//! noise. Two numbers measure the distance to f32: the relative error of the first velocity (L2 norm
//! of the difference, divided by the norm), and the PSNR of the images. Not here: whether a different
//! image is a worse one; a model's own scores tell that.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use burn::tensor::{Device, Tensor};
use clap::ValueEnum;
use serde_json::json;
use x2i_core::flux::latents;
use x2i_core::{Image, InputBits, LoadOptions, Pipeline, Prompt, Request};

use super::comparison::relative_error;
use crate::convert;
use crate::flags::{BenchQualityArgs, ConvertArgs, Quantize};
use crate::terminal::table::{columns, row};
use crate::terminal::{Display, Interrupt, Reporter};
use x2i_engine::device::{self, OpenDevice};
use x2i_engine::host::human_bytes;
use x2i_engine::models::FolderSource;

/// The default prompts: one in each language of X2I's examples.
const PROMPTS: [&str; 8] = [
    "a red apple on a blue background",
    "一只绿色背景上的猫",
    "ein Fisch auf gelbem Hintergrund",
    "une étoile sur fond rose",
    "青い背景の上の花",
    "un perro sobre un fondo blanco",
    "дерево на сером фоне",
    "một quả bóng trên nền đỏ",
];

/// The PSNR of equal images, in dB. It would be infinite, and so would the mean; this is the PSNR of a
/// difference of one grey level in one byte of a megapixel.
const BEST_PSNR: f64 = 113.0;

/// The results of one type for all prompts.
struct Painted {
    bytes: u64,
    /// The first velocities.
    velocities: Vec<Vec<f32>>,
    images: Vec<Image>,
}

/// The distance of one type to f32.
struct Distance {
    /// Mean over the prompts.
    velocity: f64,
    mean_psnr: f64,
    worst_psnr: f64,
}

/// Runs `x2i bench quality`.
///
/// # Errors
/// When the model can't be converted or run.
pub(super) fn run(args: &BenchQualityArgs) -> Result<()> {
    let prompts = prompts(args.prompts.as_deref())?;
    let folder = tempfile::tempdir_in(&args.work)
        .with_context(|| format!("--work: {}: can't be written", args.work.display()))?;
    let device = device::acquire(args.device)?;
    let interrupt = Interrupt::listen()?;
    let paint = |quantize| {
        let model = convert(args, quantize, folder.path(), interrupt.clone())?;
        let painted = paint(args, &model, &device, &prompts, interrupt.clone());
        // Only one converted model at a time is on the disk.
        std::fs::remove_dir_all(&model)?;
        painted
    };
    let reference = paint(Quantize::F32)?;
    let mut out = std::io::stdout();
    let mut rows = vec![row([
        "weights",
        "size",
        "velocity error",
        "PSNR, mean",
        "PSNR, worst",
    ])];
    for &quantize in &args.quantize {
        let painted = paint(quantize)?;
        let distance = distance(&painted, &reference);
        let name = value_name(quantize);
        if args.json {
            let facts = json!({
                "weights": name, "bytes": painted.bytes, "velocity_error": distance.velocity,
                "mean_psnr": distance.mean_psnr, "worst_psnr": distance.worst_psnr,
                "pictures": prompts.len(),
            });
            writeln!(out, "{facts}")?;
        }
        rows.push(row([
            &name,
            &human_bytes(painted.bytes),
            &format!("{:.1e}", distance.velocity),
            &format!("{:.1} dB", distance.mean_psnr),
            &format!("{:.1} dB", distance.worst_psnr),
        ]));
    }
    if !args.json {
        let count = prompts.len();
        writeln!(out, "distance from f32 over {count} images:")?;
        out.write_all(columns(&rows).as_bytes())?;
    }
    Ok(())
}

/// The prompts: the lines of the file that are not empty, else the default ones.
pub(super) fn prompts(file: Option<&Path>) -> Result<Vec<String>> {
    let Some(file) = file else {
        return Ok(PROMPTS.map(str::to_owned).to_vec());
    };
    let shown = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("--prompts: {shown}"))?;
    let lines = text.lines().map(str::trim);
    let lines: Vec<String> = lines
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    ensure!(!lines.is_empty(), "--prompts: {shown} has no prompts");
    Ok(lines)
}

/// Converts the model to this type, into a folder inside `folder`.
fn convert(
    args: &BenchQualityArgs,
    quantize: Quantize,
    folder: &Path,
    interrupt: Interrupt,
) -> Result<PathBuf> {
    let destination = folder.join(value_name(quantize));
    let conversion = ConvertArgs {
        source: args.model.clone(),
        destination: destination.clone(),
        quantize,
        overrides: Vec::new(),
        force: false,
        verify: false,
        quiet: true,
    };
    convert::convert(&conversion, interrupt)?;
    Ok(destination)
}

fn paint(
    args: &BenchQualityArgs,
    model: &Path,
    device: &OpenDevice,
    prompts: &[String],
    interrupt: Interrupt,
) -> Result<Painted> {
    let source = FolderSource::open(model)?;
    let options = LoadOptions {
        input_bits: match args.exact {
            true => InputBits::Sixteen,
            false => InputBits::AsWeights,
        },
        ..LoadOptions::default()
    };
    let quiet = Display::choose(true, false);
    let mut reporter = Reporter::new(quiet, interrupt);
    let mut on_progress = async |progress| reporter.hear(progress);
    let load = Pipeline::load_with(&options, &source, &device.device, &mut on_progress);
    let pipeline = pollster::block_on(load)?;
    let config = pipeline.config();
    let mut painted = Painted {
        bytes: config.files.values().map(|record| record.bytes).sum(),
        velocities: Vec::new(),
        images: Vec::new(),
    };
    for (seed, prompt) in (1..).zip(prompts) {
        let request = Request {
            seed,
            ..Request::new(Prompt::text(prompt), config)
        };
        let first = Request {
            steps: 1,
            ..request.clone()
        };
        let first = pollster::block_on(pipeline.generate(&first, &mut on_progress))?;
        let velocity = velocity(seed, first.latents, &device.device)?;
        painted.velocities.push(velocity);
        let whole = pollster::block_on(pipeline.generate(&request, &mut on_progress))?;
        painted.images.push(whole.image);
    }
    Ok(painted)
}

/// The velocity of the only step, from noise to `latents`: their difference.
fn velocity(seed: u64, latents: Tensor<4>, device: &Device) -> Result<Vec<f32>> {
    let [_, channels, height, width] = latents.dims();
    let noise = latents::noise(seed, [channels, height, width], device);
    let data = (noise - latents).into_data().try_to_vec();
    data.map_err(|error| anyhow!("the first velocity can't be read: {error:?}"))
}

fn distance(painted: &Painted, reference: &Painted) -> Distance {
    let velocities = painted.velocities.iter().zip(&reference.velocities);
    let errors = velocities.map(|(ours, theirs)| relative_error(ours, theirs));
    let images = painted.images.iter().zip(&reference.images);
    let psnrs: Vec<f64> = images
        .map(|(ours, theirs)| psnr(ours.pixels(), theirs.pixels()))
        .collect();
    Distance {
        velocity: errors.sum::<f64>() / painted.velocities.len() as f64,
        mean_psnr: psnrs.iter().sum::<f64>() / psnrs.len() as f64,
        worst_psnr: psnrs.iter().copied().fold(f64::INFINITY, f64::min),
    }
}

/// The PSNR of 8-bit images, in dB.
pub(super) fn psnr(ours: &[u8], reference: &[u8]) -> f64 {
    let squares = ours.iter().zip(reference).map(|(a, b)| {
        let difference = f64::from(a.abs_diff(*b));
        difference * difference
    });
    let mean = squares.sum::<f64>() / reference.len() as f64;
    (10.0 * (255.0 * 255.0 / mean).log10()).min(BEST_PSNR)
}

fn value_name(quantize: Quantize) -> String {
    let value = quantize.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn psnr_of_one_grey_level_is_48_db_and_of_equal_pictures_finite() {
        assert!((psnr(&[1, 2, 3], &[2, 3, 4]) - 48.13).abs() < 0.01);
        assert_eq!(psnr(&[7; 12], &[7; 12]), BEST_PSNR);
        assert_eq!(psnr(&[0], &[255]), 0.0);
    }
}
