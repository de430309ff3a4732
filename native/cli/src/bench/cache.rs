//! `x2i bench cache`: what first-block caching saves, and how far its images are from those without.
//!
//! The same prompts are painted from the same noise without a cache and at each threshold. The seconds are
//! those of the transformer's steps alone. Not here: whether a different image is a worse one.

use std::io::Write;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::json;
use x2i_core::{Cache, Image, LoadOptions, Memory, Phase, Pipeline, Progress, Prompt, Request};

use super::quality::{prompts, psnr};
use crate::flags::{BenchCacheArgs, ByteSize, Size};
use crate::terminal::table::{columns, row};
use crate::terminal::{Display, Interrupt, Reporter};
use x2i_engine::device;
use x2i_engine::host::cpu_seconds;
use x2i_engine::models::ModelFiles;

/// What was painted with one cache, over all prompts.
#[derive(Default)]
struct Painted {
    images: Vec<Image>,
    skipped: usize,
    time: Time,
}

/// Seconds of the steps.
#[derive(Debug, Clone, Copy, Default)]
struct Time {
    wall: f64,
    cpu: f64,
}

/// Runs `x2i bench cache`.
///
/// # Errors
/// When the model can't be loaded or run.
pub(super) fn run(args: &BenchCacheArgs) -> Result<()> {
    let prompts = prompts(args.prompts.as_deref())?;
    let mut reporter = Reporter::new(Display::choose(true, false), Interrupt::listen()?);
    let pipeline = open(args, &mut reporter)?;
    let mut paint = |cache| paint(args, &pipeline, &prompts, cache, &mut reporter);
    let plain = paint(Cache::Off)?;
    let mut rows = vec![
        row([
            "cache",
            "steps skipped",
            "PSNR, mean",
            "PSNR, worst",
            "seconds",
            "CPU seconds",
        ]),
        line(Cache::Off, &plain, None),
    ];
    let mut out = std::io::stdout();
    let mut tell = |cache: Cache, painted: &Painted, psnr: Option<[f64; 2]>| -> Result<()> {
        if args.json {
            let count = painted.images.len();
            let facts = json!({
                "cache": cache.to_string(), "steps": count * args.steps, "skipped_steps": painted.skipped,
                "mean_psnr": psnr.map(|[mean, _]| mean), "worst_psnr": psnr.map(|[_, worst]| worst),
                "seconds": painted.time.wall, "cpu_seconds": painted.time.cpu, "pictures": count,
            });
            writeln!(out, "{facts}")?;
        }
        Ok(())
    };
    tell(Cache::Off, &plain, None)?;
    for &cache in &args.cache {
        let painted = paint(cache)?;
        let distance = distance(&painted.images, &plain.images);
        tell(cache, &painted, Some(distance))?;
        rows.push(line(cache, &painted, Some(distance)));
    }
    if !args.json {
        let (count, steps) = (prompts.len(), args.steps);
        writeln!(
            out,
            "{count} images in {steps} steps, seconds of the steps of one:"
        )?;
        out.write_all(columns(&rows).as_bytes())?;
    }
    Ok(())
}

fn open(args: &BenchCacheArgs, reporter: &mut Reporter) -> Result<Pipeline> {
    let files = ModelFiles::find(args.model.as_deref())?;
    let device = device::acquire(args.device)?;
    let options = LoadOptions {
        memory: match args.max_device_memory {
            Some(_) => Memory::Low,
            None => Memory::High,
        },
        max_device_memory: args.max_device_memory.map(|ByteSize(bytes)| bytes),
        ..LoadOptions::default()
    };
    let mut on_progress = async |progress| reporter.hear(progress);
    let load = Pipeline::load_with(&options, &files, &device.device, &mut on_progress);
    Ok(pollster::block_on(load)?)
}

/// Paints all prompts; prompt n has seed n.
fn paint(
    args: &BenchCacheArgs,
    pipeline: &Pipeline,
    prompts: &[String],
    cache: Cache,
    reporter: &mut Reporter,
) -> Result<Painted> {
    let mut painted = Painted::default();
    for (seed, prompt) in (1..).zip(prompts) {
        let mut request = Request {
            seed,
            cache,
            steps: args.steps,
            ..Request::new(Prompt::text(prompt), pipeline.config())
        };
        if let Some(Size { width, height }) = args.size {
            (request.width, request.height) = (width, height);
        }
        let mut clock = Clock::default();
        let mut on_progress = async |progress: Progress| {
            clock.hear(&progress);
            reporter.hear(progress)
        };
        let one = pollster::block_on(pipeline.generate(&request, &mut on_progress))?;
        painted.time += clock.time().context("the system tells no CPU time")?;
        painted.skipped += one.skipped_steps;
        painted.images.push(one.image);
    }
    Ok(painted)
}

/// From the first event of the steps to the last.
#[derive(Default)]
struct Clock {
    first: Option<(Instant, Option<f64>)>,
    last: Option<(Instant, Option<f64>)>,
}

impl Clock {
    fn hear(&mut self, progress: &Progress) {
        if progress.phase == Phase::Denoise {
            self.last = Some((Instant::now(), cpu_seconds()));
            self.first = self.first.or(self.last);
        }
    }

    fn time(&self) -> Option<Time> {
        let ((began, cpu_began), (ended, cpu_ended)) = self.first.zip(self.last)?;
        Some(Time {
            wall: (ended - began).as_secs_f64(),
            cpu: cpu_ended? - cpu_began?,
        })
    }
}

impl std::ops::AddAssign for Time {
    fn add_assign(&mut self, other: Self) {
        self.wall += other.wall;
        self.cpu += other.cpu;
    }
}

fn line(cache: Cache, painted: &Painted, psnr: Option<[f64; 2]>) -> Vec<String> {
    let count = painted.images.len() as f64;
    let db = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.1} dB"));
    row([
        &cache.to_string(),
        &format!("{:.1}", painted.skipped as f64 / count),
        &db(psnr.map(|[mean, _]| mean)),
        &db(psnr.map(|[_, worst]| worst)),
        &format!("{:.2}", painted.time.wall / count),
        &format!("{:.2}", painted.time.cpu / count),
    ])
}

/// The mean and the worst PSNR.
fn distance(images: &[Image], plain: &[Image]) -> [f64; 2] {
    let pairs = images.iter().zip(plain);
    let psnrs: Vec<f64> = pairs
        .map(|(ours, plain)| psnr(ours.pixels(), plain.pixels()))
        .collect();
    let mean = psnrs.iter().sum::<f64>() / psnrs.len() as f64;
    [mean, psnrs.iter().copied().fold(f64::INFINITY, f64::min)]
}
