//! `x2i gallery`: runs every task once and writes one page with inputs and results.
//!
//! A task whose input the model can't read is on the page too, with the names of models that can.

mod page;
mod samples;
mod tasks;

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use x2i_core::Error;
use x2i_engine::{JobSpec, Output, PartSpec, Settings};

use self::page::{Card, Outcome};
use self::samples::Samples;
use self::tasks::Scene;
use crate::flags::{GalleryArgs, Seed};
use crate::jobs::spec;
use crate::painter::{self, Painter};
use crate::terminal::{Display, Interrupt, printable};
use crate::words::one_line;

/// The seed of all tasks if none is given: the page is then the same every time.
const SEED: u64 = 7;

/// Runs `x2i gallery`.
///
/// # Errors
/// Errors from flags, files, the model or the device; [`Error::Cancelled`] on Ctrl-C; an error after
/// the page is written when a task failed.
pub fn run(args: &GalleryArgs) -> Result<()> {
    let terminal = (Display::choose(args.quiet, false), Interrupt::listen()?);
    let model = painter::model(&args.engine, &args.adapters, None, &terminal)?;
    let every = every_task(args)?;
    let interrupt = terminal.1.clone();
    let stopped = || interrupt.is_set();
    let samples = Samples::read(args, model.config(), &stopped)?;
    let output = Output::File(args.output.clone());
    Output::check_all([&output]).context("-o")?;
    let job = samples.first_job(&every).job_unless(&model, &stopped)?;
    let requests = [job.request()];
    let mut painter = Painter::open(&args.engine, model, None, &requests, terminal)?;
    let samples = samples.complete(&every, &mut painter)?;
    let scenes = tasks::scenes(&args.tasks, &samples);
    let mut cards = Vec::with_capacity(scenes.len());
    for (index, scene) in scenes.iter().enumerate() {
        let outcome = perform(scene, &every, &mut painter, (index + 1, scenes.len()))?;
        cards.push(Card {
            task: scene.task,
            shown: scene.shown.clone(),
            outcome,
        });
    }
    let page = page::render(&painter.engine.config().name, &cards);
    output.write(page.as_bytes()).context("-o")?;
    if !args.quiet {
        tell(&args.output, &cards)?;
    }
    let failed = cards.iter().filter(|card| card.outcome.is_failure());
    match failed.count() {
        0 => Ok(()),
        n => bail!(
            "{n} of {} tasks failed, see {}",
            cards.len(),
            output.shown()
        ),
    }
}

/// The specification of every task, without its prompt.
fn every_task(args: &GalleryArgs) -> Result<JobSpec> {
    let settings = Settings {
        seed: Some(args.settings.seed.map_or(SEED, Seed::number)),
        ..spec::settings(&args.settings)
    };
    let spec = JobSpec {
        settings,
        ..JobSpec::default()
    };
    spec::with_images(&args.adapters, spec)
}

/// Runs one task. Returns its outcome, or an error when the other tasks can't run either.
fn perform(
    scene: &Scene,
    every: &JobSpec,
    painter: &mut Painter,
    (number, count): (usize, usize),
) -> Result<Outcome> {
    let parts = scene.prompt.parts.iter().cloned().map(PartSpec::made);
    let spec = JobSpec {
        parts: parts.collect(),
        earlier: scene.prompt.earlier.clone(),
        settings: Settings {
            conditioning: scene.conditioning,
            ..Settings::default()
        }
        .or(every.settings.clone()),
        ..every.clone()
    };
    let job = spec.job(painter.engine.model());
    let painted = job.map_err(anyhow::Error::from);
    match painted.and_then(|job| painter.paint(&job, number, count)) {
        Ok((painted, seconds)) => Ok(Outcome::Painted {
            png: painted.png()?,
            answer: painted.metadata.answer,
            seconds: seconds.total(),
        }),
        Err(error) => match error.downcast_ref().map(Error::root) {
            Some(Error::Modality { .. }) => Ok(Outcome::Refused(one_line(&error))),
            Some(Error::Cancelled | Error::Device { .. }) => Err(error),
            _ => Ok(Outcome::Failed(one_line(&error))),
        },
    }
}

/// Prints one line per task, and the path of the page.
fn tell(path: &Path, cards: &[Card]) -> Result<()> {
    let mut out = std::io::stdout();
    for card in cards {
        writeln!(
            out,
            "{}: {}",
            card.task,
            printable(&card.outcome.to_string())
        )?;
    }
    writeln!(out, "{}", printable(&path.display().to_string()))?;
    Ok(())
}
