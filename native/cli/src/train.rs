//! `x2i train`: a run of training on the terminal.

use std::fs;
use std::io::Write;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;
use toml::Table;
use x2i_core::Error;
use x2i_engine::device::{self, DeviceChoice};
use x2i_engine::models::ModelFiles;
use x2i_engine::{Model, OpenDevice};
use x2i_train::align::Align;
use x2i_train::control::Control;
use x2i_train::lora::Lora;
use x2i_train::run::{Alone, Event, Line, Settings, Subject, Trainer, What, World};

use crate::flags::{TrainArgs, TrainCommand};
use crate::terminal::Interrupt;
use crate::terminal::table::{columns, row};

/// The most seconds that are said to be left: 30 years.
const MOST_LEFT: f64 = 1e9;

/// Bytes of a file of settings.
const MOST_SETTINGS: u64 = 1 << 20;

/// What settings without a file are called in messages.
const NO_FILE: &str = "settings";

/// Runs `x2i train`.
///
/// # Errors
/// When the settings, the data or the model can't be used, or the run fails.
pub fn run(command: &TrainCommand) -> Result<()> {
    match command {
        TrainCommand::Align(args) => train(What::Align, args),
        TrainCommand::Control(args) => train(What::Control, args),
        TrainCommand::Lora(args) => train(What::Lora, args),
    }
}

fn settings(what: What, args: &TrainArgs) -> Result<Settings> {
    let given = Table::try_from(&args.settings).context("flags as settings")?;
    let (name, text) = match &args.config {
        None => (NO_FILE.to_owned(), String::new()),
        Some(path) => {
            let name = path.display().to_string();
            let about = fs::metadata(path).with_context(|| name.clone())?;
            anyhow::ensure!(
                about.is_file() && about.len() <= MOST_SETTINGS,
                "{name}: is no file of at most 1 MiB"
            );
            let text = fs::read_to_string(path).with_context(|| name.clone())?;
            (name, text)
        }
    };
    Ok(Settings::read(what, &name, &text, given)?)
}

fn train(what: What, args: &TrainArgs) -> Result<()> {
    let world = world(args.mpi)?;
    let outcome = train_in(what, args, world.as_ref());
    if let Err(error) = &outcome
        && world.size() > 1
        && !matches!(
            error.downcast_ref().map(Error::root),
            Some(Error::Cancelled)
        )
    {
        say(&format!("error: process {}: {error:#}", world.rank()))?;
        world.end_all();
    }
    outcome
}

/// The processes of the run.
#[cfg(feature = "mpi")]
fn world(several: bool) -> Result<Box<dyn World>> {
    Ok(match several {
        true => Box::new(x2i_train::run::Processes::join()?),
        false => Box::new(Alone),
    })
}

/// The processes of the run.
#[cfg(not(feature = "mpi"))]
fn world(several: bool) -> Result<Box<dyn World>> {
    anyhow::ensure!(
        !several,
        "this x2i was built without MPI; build it with `--features mpi`"
    );
    Ok(Box::new(Alone))
}

fn train_in(what: What, args: &TrainArgs, world: &dyn World) -> Result<()> {
    let settings = settings(what, args)?;
    let interrupt = Interrupt::listen()?;
    interrupt.stay(); // an update is finished and saved first
    let model = Model::from_files(ModelFiles::find(settings.model.as_deref())?)?;
    let choice: DeviceChoice = settings.device.parse().map_err(anyhow::Error::msg)?;
    let opened = device::acquire(choice)?;
    let place = [world.size(), world.rank()];
    let mut warn = |line: String| {
        if world.writes() {
            drop(writeln!(std::io::stderr(), "warning: {line}"));
        }
    };
    if settings.warmup >= settings.updates {
        let (warmup, updates) = (settings.warmup, settings.updates);
        warn(format!(
            "a warmup of {warmup} updates is no shorter than the run of {updates}: the rate never becomes whole"
        ));
    }
    let run = Run {
        what,
        args,
        settings: &settings,
        world,
        opened: &opened,
        interrupt: &interrupt,
    };
    let device = &opened.device;
    match what {
        What::Align => {
            let open = || Align::open(&settings, &model, device, place, &mut warn);
            let subject = opened.guard(open)?;
            let needs = subject.needs()?;
            run.run(subject, &needs)
        }
        What::Lora => {
            let open = || Lora::open(&settings, &model, device, place, &mut warn);
            let subject = opened.guard(open)?;
            let needs = subject.needs();
            run.run(subject, &needs)
        }
        What::Control => {
            let open = || Control::open(&settings, &model, device, place, &mut warn);
            let subject = opened.guard(open)?;
            let needs = subject.needs();
            run.run(subject, &needs)
        }
    }
}

/// A run in this process.
struct Run<'a> {
    what: What,
    args: &'a TrainArgs,
    settings: &'a Settings,
    world: &'a dyn World,
    opened: &'a OpenDevice,
    interrupt: &'a Interrupt,
}

impl Run<'_> {
    fn run(&self, subject: impl Subject, needs: &[(&'static str, u64)]) -> Result<()> {
        let Self {
            settings,
            world,
            opened,
            ..
        } = *self;
        if self.args.dry_run {
            return match world.writes() {
                true => dry_run(settings, subject.epoch_len(), needs, opened, world),
                false => Ok(()),
            };
        }
        let mut trainer = opened.guard(|| {
            let device = opened.device.clone();
            Trainer::open(settings, self.what, subject, world, device)
        })?;
        let mut terminal = Terminal::new(self.args.json, settings.updates);
        let ended = opened.guard(|| {
            trainer.run(&mut |event| {
                if world.writes() {
                    terminal.tell(&event);
                }
                match self.interrupt.is_set() {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            })
        })?;
        let out = settings.out.display();
        match ended {
            true if world.writes() => say(&format!("the run has ended: {out}")),
            true => Ok(()),
            false => {
                if world.writes() {
                    say(&format!("saved in {out}; the same command goes on"))?;
                }
                Err(Error::Cancelled.into())
            }
        }
    }
}

fn say(line: &str) -> Result<()> {
    Ok(writeln!(std::io::stderr(), "{line}")?)
}

/// Prints what a run would do and need.
fn dry_run(
    settings: &Settings,
    epoch: usize,
    needs: &[(&'static str, u64)],
    opened: &OpenDevice,
    world: &dyn World,
) -> Result<()> {
    let per_update = settings.batch * settings.accumulation;
    let mut rows = vec![
        ("device", opened.entry.name.clone()),
        ("processes", world.size().to_string()),
        ("samples of each", epoch.to_string()),
        ("batch", settings.batch.to_string()),
        ("accumulation", settings.accumulation.to_string()),
        ("updates", settings.updates.to_string()),
        (
            "epochs",
            format!(
                "{:.2}",
                settings.updates as f64 * per_update as f64 / epoch.max(1) as f64
            ),
        ),
    ];
    rows.extend(needs.iter().map(|(part, bytes)| (*part, gibibytes(*bytes))));
    rows.push((
        "weights and optimizer",
        gibibytes(needs.iter().map(|(_, bytes)| bytes).sum()),
    ));
    let rows = rows.into_iter().map(|(name, value)| row([name, &value]));
    Ok(writeln!(
        std::io::stdout(),
        "{}",
        columns(&rows.collect::<Vec<_>>())
    )?)
}

fn gibibytes(bytes: u64) -> String {
    match bytes {
        0..=1_073_741_823 => format!("{:.1} MiB", bytes as f64 / f64::from(1u32 << 20)),
        _ => format!("{:.2} GiB", bytes as f64 / f64::from(1u32 << 30)),
    }
}

/// Tells of a run, a line for each event.
struct Terminal {
    json: bool,
    total: u64,
    begun: Instant,
    /// Updates that were made before this process.
    before: u64,
    /// The mean loss of the latest updates.
    mean: Option<f64>,
    shown: Option<Instant>,
}

/// Lines of updates are printed at most this often.
const LINE_EVERY: Duration = Duration::from_secs(2);

impl Terminal {
    fn new(json: bool, total: u64) -> Self {
        Self {
            json,
            total,
            begun: Instant::now(),
            before: 0,
            mean: None,
            shown: None,
        }
    }

    fn tell(&mut self, event: &Event<'_>) {
        let line = match event {
            Event::Begun {
                updates,
                numbers,
                epoch,
            } => {
                self.before = *updates;
                self.begun = Instant::now();
                match self.json {
                    true => Some(json!({"type": "begun", "updates": updates, "total": self.total, "numbers": numbers, "epoch": epoch}).to_string()),
                    false => Some(format!("{numbers} numbers learn from {epoch} samples an epoch; {updates} of {} updates are made", self.total)),
                }
            }
            Event::Updated(line) => self.updated(line),
            Event::Saved(path) => Some(self.event("saved", &path.display().to_string())),
            Event::Shown(update) => Some(self.event("samples", &format!("after update {update}"))),
        };
        if let Some(line) = line {
            let written = match self.json {
                true => writeln!(std::io::stdout(), "{line}"),
                false => writeln!(std::io::stderr(), "{line}"),
            };
            // A closed pipe ends no run.
            drop(written);
        }
    }

    fn event(&self, kind: &str, text: &str) -> String {
        match self.json {
            true => json!({"type": kind, "text": text}).to_string(),
            false => format!("{kind}: {text}"),
        }
    }

    fn updated(&mut self, line: &Line) -> Option<String> {
        if let Some(loss) = line.loss {
            let mean = self.mean.unwrap_or(loss);
            self.mean = Some(0.95 * mean + 0.05 * loss);
        }
        if self.json {
            let mut json = serde_json::to_value(line).ok()?;
            json["type"] = "update".into();
            return Some(json.to_string());
        }
        if let Some(loss) = line.validation {
            return Some(format!("update {}: validation loss {loss:.5}", line.update));
        }
        let waits = self.shown.is_some_and(|at| at.elapsed() < LINE_EVERY);
        if waits && line.update != self.total && line.note.is_none() {
            return None;
        }
        self.shown = Some(Instant::now());
        let made = (line.update - self.before).max(1);
        let each = self.begun.elapsed().as_secs_f64() / made as f64;
        let left =
            Duration::from_secs_f64((each * (self.total - line.update) as f64).min(MOST_LEFT));
        let note = line
            .note
            .as_ref()
            .map_or(String::new(), |note| format!("; {note}"));
        Some(format!(
            "update {} of {}: loss {:.5} (mean {:.5}), norm {:.3}, rate {:.2e}, {each:.2} s an update, {} left{note}",
            line.update,
            self.total,
            line.loss.unwrap_or(f64::NAN),
            self.mean.unwrap_or(f64::NAN),
            line.norm.unwrap_or(f64::NAN),
            line.rate.unwrap_or(f64::NAN),
            clock(left),
        ))
    }
}

/// Hours, minutes and seconds.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!(
        "{}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command};

    use super::*;
    use crate::flags::SettingFlags;

    #[test]
    fn every_key_is_a_flag_and_every_flag_a_key() {
        let command = SettingFlags::augment_args(Command::new("train"));
        let mut flags: Vec<String> = command
            .get_arguments()
            .filter_map(|argument| argument.get_long().map(str::to_owned))
            .collect();
        let mut keys = Settings::keys();
        flags.sort_unstable();
        keys.sort_unstable();
        assert_eq!(flags, keys);
    }
}
