//! `x2i chat`: a dialogue in a terminal, in which every answer paints a picture.
//!
//! The LLM is shown the earlier turns with every new one. Left out: turns that are answered in words
//! alone.

mod lines;
mod session;
mod typed;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use x2i_core::png::{self, PartRecord};
use x2i_core::{Conditioning, Error, Part, Prompt, Request, model};

use self::lines::{Line, Lines};
use self::session::{Session, TurnRecord};
use self::typed::Typed;
use crate::adapters::Adapters;
use crate::flags::ChatArgs;
use x2i_engine::device::{self, DeviceKind, Health};
use crate::engine::Engine;
use crate::generate::{check_memory, printable, summary, warn};
use x2i_engine::host;
use crate::job::{self, random_seed};
use x2i_engine::output::{Output, create_folder, folder_of};
use crate::parts;
use crate::progress::{Display, Interrupt, Reporter};
use x2i_engine::models::Model;

/// What can be typed besides words.
const HELP: &str = "\
Say what to paint. Besides words:
  /image FILE   show a picture with the next turn; /video and /audio likewise
  /seed [N]     the noise of the next pictures; a random one without N
  /undo         forget the last turn (its picture stays)
  /history      what was said
  /save [FILE]  keep the conversation; x2i chat --session FILE goes on with it
  /quit         end (so does Ctrl-C twice); Ctrl-C once stops a picture";

/// Runs `x2i chat`.
///
/// # Errors
/// Whatever a flag, the session's file, the model or the device does; from a pipe also what a turn
/// does. [`Error::Cancelled`] on Ctrl-C while the model is loaded.
pub fn run(args: &ChatArgs) -> Result<()> {
    let interrupt = Interrupt::listen()?;
    let model = Model::find(args.engine.model.as_deref())?;
    let config = pollster::block_on(model::read_config(&model))?;
    let sampling = config.encoder.config.video_sampling();
    let session =
        Session::open(args.session.as_deref(), &config.name, sampling).context("--session")?;
    let adapters = Adapters::open(&args.adapters, None)?;
    let mut request = Request::new(Prompt::text("what is said"), &config);
    request.conditioning = Conditioning::Answer;
    request.seed = args.seed.unwrap_or_else(random_seed);
    job::apply(&mut request, args.size, args.steps, args.guidance, None);
    let request = adapters.added_to(request);
    request.validate()?;
    let folder = picture_folder(args);
    if folder != Path::new("") {
        create_folder(&folder).context("-o")?;
    }
    let device = device::acquire(args.engine.device.unwrap_or_default())?;
    if device.entry.kind == DeviceKind::Cpu
        && let Some(memory) = host::memory()
    {
        check_memory(&request, &config, memory.available)?;
    }
    let health = device.health.clone();
    let display = Display::choose(args.quiet, false);
    warn(display, &adapters.warnings());
    let mut reporter = Reporter::new(display, interrupt.clone(), health.clone());
    reporter.say_answers();
    reporter.begin_picture(1, 1);
    let engine = Engine::load(
        &args.engine,
        &adapters,
        model,
        config,
        device,
        &mut reporter,
    )?;
    reporter.end_picture();
    let chat = Chat {
        engine,
        adapters,
        reporter,
        interrupt,
        health,
        session,
        folder,
        request,
        shown: vec![],
    };
    chat.talk(Lines::open())
}

/// `-o`, else where the session's file is.
fn picture_folder(args: &ChatArgs) -> PathBuf {
    let beside = args.session.as_deref().map_or(Path::new("."), folder_of);
    let folder = args.output.as_deref().unwrap_or(beside);
    // Names read better without `./`.
    match folder == Path::new(".") {
        true => PathBuf::new(),
        false => folder.to_owned(),
    }
}

/// A conversation that is going on.
struct Chat {
    engine: Engine,
    adapters: Adapters,
    reporter: Reporter,
    interrupt: Interrupt,
    health: Health,
    session: Session,
    /// Where pictures go.
    folder: PathBuf,
    /// What every turn asks for, but for its prompt.
    request: Request,
    /// What the next turn shows beside its words.
    shown: Vec<(PartRecord, Part)>,
}

/// Whether the conversation goes on.
enum Next {
    Turn,
    End,
}

impl Chat {
    fn talk(mut self, mut lines: Lines) -> Result<()> {
        if lines.is_terminal() {
            self.greet()?;
        }
        let mut interrupted = false;
        loop {
            let line = match lines.next()? {
                Line::Typed(line) => line,
                Line::Interrupted if !interrupted => {
                    writeln!(std::io::stderr(), "\nCtrl-C again, or /quit, ends")?;
                    interrupted = true;
                    self.interrupt.reset();
                    continue;
                }
                Line::Interrupted | Line::End => break,
            };
            interrupted = false;
            self.interrupt.reset();
            match self.hear(&line) {
                Ok(Next::Turn) => {}
                Ok(Next::End) => break,
                // Who types can try again; a script can't.
                Err(error) if lines.is_terminal() && self.health.failure().is_none() => {
                    self.reporter.clear();
                    writeln!(std::io::stderr(), "{}", crate::one_line(&error))?;
                }
                Err(error) => return Err(error),
            }
        }
        if self.session.is_unsaved() && lines.is_terminal() {
            writeln!(
                std::io::stderr(),
                "this conversation was not kept; next time: x2i chat --session FILE, or /save FILE"
            )?;
        }
        Ok(())
    }

    fn greet(&self) -> Result<()> {
        let turns = self.session.turns().len();
        let resumed = match turns {
            0 => String::new(),
            1 => ", 1 turn so far".into(),
            n => format!(", {n} turns so far"),
        };
        let name = &self.engine.config().name;
        writeln!(
            std::io::stdout(),
            "{name}{resumed}, seed {}; say what to paint, /help lists the rest",
            self.request.seed
        )?;
        Ok(())
    }

    fn hear(&mut self, line: &str) -> Result<Next> {
        let mut out = std::io::stdout();
        match Typed::parse(line)? {
            Typed::Nothing if self.shown.is_empty() => {}
            Typed::Nothing => self.turn(None)?,
            Typed::Words(words) => self.turn(Some(words))?,
            Typed::Show(kind, path) => {
                // The conversation may go on from another folder.
                let file = std::path::absolute(&path)?;
                let sampling = self.engine.config().encoder.config.video_sampling();
                self.shown.push(parts::read_shown(kind, &file, sampling)?);
                writeln!(out, "shown with the next turn: {}", path.display())?;
            }
            Typed::Seed(seed) => {
                self.request.seed = seed.unwrap_or_else(random_seed);
                writeln!(out, "seed {}", self.request.seed)?;
            }
            Typed::Undo => self.undo()?,
            Typed::History => self.history()?,
            Typed::Save(path) => {
                let path = self.session.save_as(path)?;
                writeln!(out, "kept in {}", path.display())?;
            }
            Typed::Help => writeln!(out, "{HELP}")?,
            Typed::Quit => return Ok(Next::End),
        }
        Ok(Next::Turn)
    }

    /// What is forgotten first is what waits to be shown, then the last turn.
    fn undo(&mut self) -> Result<()> {
        let forgotten = match (self.shown.is_empty(), self.session.undo()?) {
            (false, _) => {
                self.shown.clear();
                "what was to be shown".to_owned()
            }
            (true, Some(turn)) => format!("{}; {} stays", said(&turn.parts), turn.picture),
            (true, None) => bail!("/undo: nothing was said yet"),
        };
        writeln!(std::io::stdout(), "forgotten: {forgotten}")?;
        Ok(())
    }

    fn history(&self) -> Result<()> {
        let mut out = std::io::stdout();
        for turn in self.session.turns() {
            writeln!(out, "> {}", said(&turn.parts))?;
            writeln!(out, "{}", printable(&turn.answer))?;
            writeln!(out, "{}, seed {}", turn.picture, turn.seed)?;
        }
        Ok(())
    }

    /// One turn: the LLM answers, the answer paints, the picture and the session are written.
    fn turn(&mut self, words: Option<String>) -> Result<()> {
        let (mut records, mut parts): (Vec<PartRecord>, Vec<Part>) =
            self.shown.iter().cloned().unzip();
        if let Some(words) = words {
            records.push(PartRecord::Text(words.clone()));
            parts.push(Part::Text(words));
        }
        let most = self.engine.config().defaults.earlier_turns;
        let request = Request {
            prompt: Prompt {
                earlier: self.session.latest(most),
                parts: parts.clone(),
            },
            ..self.request.clone()
        };
        let output = self.next_output()?;
        self.reporter.begin_picture(1, 1);
        let painted = self.engine.paint(&request, &mut self.reporter);
        let seconds = self.reporter.end_picture();
        let painting = match painted {
            Err(error) if is_cancelled(&error) => bail!("stopped; this turn is forgotten"),
            Err(error) if matches!(error.downcast_ref(), Some(Error::Modality { .. })) => {
                // Shown again it would be refused again.
                self.shown.clear();
                return Err(error);
            }
            painted => painted?,
        };
        let metadata = self.engine.metadata(records.clone(), &request, &painting)?;
        let metadata = self.adapters.recorded_in(metadata);
        output.write(&png::encode(&painting.image, &metadata)?)?;
        writeln!(
            std::io::stdout(),
            "{}",
            summary(&output, &metadata, seconds)
        )?;
        self.shown.clear();
        let record = TurnRecord {
            parts: records,
            answer: painting.answer.unwrap_or_default(),
            picture: output.shown(),
            seed: request.seed,
        };
        self.session.push(record, parts)
    }

    /// The first `chat-NNN.png` that is free, so that no picture is lost.
    fn next_output(&self) -> Result<Output> {
        let name = self.session.stem();
        let paths = (self.session.turns().len() + 1..)
            .map(|number| self.folder.join(format!("{name}-{number:03}.png")));
        let free = paths.into_iter().find(|path| !path.exists());
        let output = Output::File(free.unwrap_or_default());
        output.check()?;
        Ok(output)
    }
}

fn is_cancelled(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(Error::Cancelled))
}

/// A turn's parts in one line.
fn said(parts: &[PartRecord]) -> String {
    let parts = parts.iter().map(|part| match part {
        PartRecord::Text(text) => printable(text),
        PartRecord::Image { file, .. }
        | PartRecord::Video { file, .. }
        | PartRecord::Audio { file, .. } => format!("[{}]", printable(file)),
    });
    parts.collect::<Vec<_>>().join(" ")
}
