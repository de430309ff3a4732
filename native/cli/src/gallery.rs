//! `x2i gallery`: every task once, on one page, inputs and outputs side by side.
//!
//! What the model can't read is on the page too, with the models that can.

mod page;
mod samples;
mod tasks;

use std::path::Path;

use anyhow::{Context, Result, bail};
use x2i_core::png;
use x2i_core::{Error, Prompt, Request, model};

use self::page::{Card, Outcome};
use self::samples::Samples;
use self::tasks::Scene;
use crate::adapters::Adapters;
use crate::flags::GalleryArgs;
use x2i_engine::device::{self, DeviceKind};
use crate::engine::Engine;
use crate::generate::{check_memory, warn};
use x2i_engine::host;
use crate::job;
use x2i_engine::output::Output;
use crate::progress::{Display, Interrupt, Reporter};
use x2i_engine::models::Model;

/// Runs `x2i gallery`.
///
/// # Errors
/// Whatever a flag, a file, the model or the device does; [`Error::Cancelled`] on Ctrl-C. When a task
/// failed, once the page is written.
pub fn run(args: &GalleryArgs) -> Result<()> {
    let interrupt = Interrupt::listen()?;
    let model = Model::find(args.engine.model.as_deref())?;
    let config = pollster::block_on(model::read_config(&model))?;
    let mut request = Request::new(Prompt::text("what is shown"), &config);
    request.seed = args.seed;
    job::apply(&mut request, args.size, args.steps, None, None);
    request.validate()?;
    let adapters = Adapters::open(&args.adapters, None)?;
    let request = adapters.added_to(request);
    let samples = Samples::read(args, &config)?;
    let output = Output::File(args.output.clone());
    output.check().context("-o")?;
    let device = device::acquire(args.engine.device.unwrap_or_default())?;
    if device.entry.kind == DeviceKind::Cpu
        && let Some(memory) = host::memory()
    {
        check_memory(&request, &config, memory.available)?;
    }
    let display = Display::choose(args.quiet, false);
    warn(display, &adapters.warnings());
    let mut reporter = Reporter::new(display, interrupt, device.health.clone());
    reporter.begin_picture(1, 1);
    let mut engine = Engine::load(
        &args.engine,
        &adapters,
        model,
        config,
        device,
        &mut reporter,
    )?;
    let samples = samples.complete(&request, &engine, &mut reporter)?;
    let scenes = tasks::scenes(&args.tasks, &samples);
    let mut cards = Vec::with_capacity(scenes.len());
    for (index, scene) in scenes.iter().enumerate() {
        reporter.begin_picture(index + 1, scenes.len());
        cards.push(perform(
            scene,
            &request,
            &adapters,
            &mut engine,
            &mut reporter,
        )?);
    }
    let failed = cards
        .iter()
        .filter(|card| card.outcome.is_failure())
        .count();
    let page = page::render(&engine.config().name, &cards);
    output.write(page.as_bytes()).context("-o")?;
    if !args.quiet {
        tell(&args.output, &cards)?;
    }
    match failed {
        0 => Ok(()),
        n => bail!(
            "{n} of {} tasks failed, see {}",
            cards.len(),
            output.shown()
        ),
    }
}

/// One task, whatever becomes of it; an error only when nothing else can follow.
fn perform(
    scene: &Scene,
    request: &Request,
    adapters: &Adapters,
    engine: &mut Engine,
    reporter: &mut Reporter,
) -> Result<Card> {
    let mut prompt = scene.prompt.clone();
    let most = engine.config().defaults.earlier_turns.unwrap_or(usize::MAX);
    let forgotten = prompt.earlier.len().saturating_sub(most);
    prompt.earlier.drain(..forgotten);
    let request = Request {
        prompt,
        conditioning: scene.conditioning.unwrap_or(request.conditioning),
        ..request.clone()
    };
    let painted = engine.paint(&request, reporter);
    let seconds = reporter.end_picture().total();
    let outcome = match painted {
        Ok(painting) => {
            let metadata = engine.metadata(scene.records(), &request, &painting)?;
            let metadata = adapters.recorded_in(metadata);
            Outcome::Painted {
                png: png::encode(&painting.image, &metadata)?,
                answer: painting.answer,
                seconds,
            }
        }
        Err(error) => match error.downcast_ref() {
            Some(Error::Modality { .. }) => Outcome::Refused(error.to_string()),
            Some(Error::Cancelled | Error::Device { .. }) => return Err(error),
            _ => Outcome::Failed(crate::one_line(&error)),
        },
    };
    Ok(Card {
        task: scene.task,
        shown: scene.shown.clone(),
        outcome,
    })
}

/// A line a task, and where the page is.
fn tell(path: &Path, cards: &[Card]) -> Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout();
    for card in cards {
        writeln!(out, "{}: {}", card.task, card.outcome)?;
    }
    writeln!(out, "{}", path.display())?;
    Ok(())
}
