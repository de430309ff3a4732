//! `x2i bench quality`: the loss of quality by each weight type, for a given model.
//!
//! The model is converted to f32 and to each type; all of them generate the same prompts from the same
//! noise, and so do folders that hold the model as other programs quantize it. Two numbers measure the
//! distance to f32: the relative error of the first velocity (L2 norm of the difference, divided by the
//! norm), and the PSNR of the images. Not here: whether a different image is a worse one; a model's own
//! scores tell that.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use burn::tensor::{Device, Tensor};
use clap::ValueEnum;
use serde_json::json;
use x2i_core::flux::latents;
use x2i_core::model::read_config;
use x2i_core::{Image, InputBits, LoadOptions, ModelConfig, Pipeline, Prompt, Request};

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
    for folder in &args.compare {
        check_same_model(&args.model, folder)?;
    }
    let folder = tempfile::tempdir_in(&args.work)
        .with_context(|| format!("--work: {}: can't be written", args.work.display()))?;
    let device = device::acquire(args.device)?;
    let interrupt = Interrupt::listen()?;
    let paint = |folder: &Path| paint(args, folder, &device, &prompts, interrupt.clone());
    let paint_converted = |quantize| {
        let model = convert(args, quantize, folder.path(), interrupt.clone())?;
        let painted = paint(&model);
        // Only one converted model at a time is on the disk.
        std::fs::remove_dir_all(&model)?;
        painted
    };
    let reference = paint_converted(Quantize::F32)?;
    let mut table = Table::new(args.json, prompts.len());
    for &quantize in &args.quantize {
        table.add(
            &value_name(quantize),
            &paint_converted(quantize)?,
            &reference,
        )?;
    }
    for folder in &args.compare {
        table.add(&file_name(folder), &paint(folder)?, &reference)?;
    }
    table.finish()
}

/// Fails unless both folders paint images of one size with transformers of the same sizes.
fn check_same_model(model: &Path, compared: &Path) -> Result<()> {
    let read = |folder: &Path| -> Result<ModelConfig> {
        let source = FolderSource::open(folder)?;
        Ok(pollster::block_on(read_config(&source))?)
    };
    let (ours, theirs) = (read(model)?, read(compared)?);
    let size = |config: &ModelConfig| (config.defaults.width, config.defaults.height);
    ensure!(
        ours.flux.config == theirs.flux.config && size(&ours) == size(&theirs),
        "--compare: {} holds another model than --model",
        compared.display()
    );
    Ok(())
}

/// What is printed: JSON at once, or a table at the end.
struct Table {
    json: bool,
    images: usize,
    rows: Vec<Vec<String>>,
}

impl Table {
    fn new(json: bool, images: usize) -> Self {
        let head = row([
            "weights",
            "size",
            "velocity error",
            "PSNR, mean",
            "PSNR, worst",
        ]);
        let rows = vec![head];
        Self { json, images, rows }
    }

    fn add(&mut self, name: &str, painted: &Painted, reference: &Painted) -> Result<()> {
        let distance = distance(painted, reference);
        if self.json {
            let facts = json!({
                "weights": name, "bytes": painted.bytes, "velocity_error": distance.velocity,
                "mean_psnr": distance.mean_psnr, "worst_psnr": distance.worst_psnr,
                "pictures": self.images,
            });
            writeln!(std::io::stdout(), "{facts}")?;
        }
        self.rows.push(row([
            name,
            &human_bytes(painted.bytes),
            &format!("{:.1e}", distance.velocity),
            &format!("{:.1} dB", distance.mean_psnr),
            &format!("{:.1} dB", distance.worst_psnr),
        ]));
        Ok(())
    }

    fn finish(self) -> Result<()> {
        if !self.json {
            let mut out = std::io::stdout();
            writeln!(out, "distance from f32 over {} images:", self.images)?;
            out.write_all(columns(&self.rows).as_bytes())?;
        }
        Ok(())
    }
}

/// The folder's own name, for the table.
fn file_name(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or(folder.as_os_str());
    name.to_string_lossy().into_owned()
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
    let recorded: u64 = config.files.values().map(|record| record.bytes).sum();
    let mut painted = Painted {
        bytes: match config.files.is_empty() {
            true => bytes_in(model)?,
            false => recorded,
        },
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

/// The bytes of all files of a folder.
fn bytes_in(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        bytes += match path.is_dir() {
            true => bytes_in(&path)?,
            false => path.metadata()?.len(),
        };
    }
    Ok(bytes)
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
