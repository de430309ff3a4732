//! `x2i chat`: a conversation in a terminal. Every answer of the LLM conditions an image.
//!
//! The LLM reads the earlier turns with every new one. Not here: turns without an image.

mod lines;
mod session;
mod typed;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use x2i_core::png::PartRecord;
use x2i_core::{Conditioning, Error};
use x2i_engine::files::{folder_of, sweep};
use x2i_engine::job::random_seed;
use x2i_engine::media::Reading;
use x2i_engine::output::create_folder;
use x2i_engine::{JobSpec, NamedFile, Output, PartSpec, Settings};

use self::lines::{Line, Lines};
use self::session::{Session, TurnRecord};
use self::typed::Typed;
use crate::flags::{ChatArgs, Seed};
use crate::jobs::spec;
use crate::painter::{self, Painter};
use crate::terminal::{Display, Interrupt, printable, summary};

/// The output of `/help`.
const HELP: &str = "\
Type what to paint, or a command:
  /image FILE   add an image to the next turn; /video and /audio likewise
  /seed [N]     set the seed of the next images; without N, a random one
  /undo         remove the added files, or else the last turn (its image file stays)
  /history      print the conversation
  /save [FILE]  save the conversation; x2i chat --session FILE continues it
  /quit         end (so does Ctrl-C twice); Ctrl-C once stops an image";

/// Runs `x2i chat`.
///
/// # Errors
/// Errors from flags, the session file, the model or the device; with input from a pipe, also errors
/// of a turn. [`Error::Cancelled`] on Ctrl-C while the model is being loaded.
pub fn run(args: &ChatArgs) -> Result<()> {
    let terminal = (Display::choose(args.quiet, false), Interrupt::listen()?);
    let model = painter::model(&args.engine, &args.adapters, None, &terminal)?;
    let (_, interrupt) = &terminal;
    let config = model.config();
    let sampling = config.encoder.config.video_sampling();
    let stopped = || interrupt.is_set();
    let reading = Reading {
        cancelled: &stopped,
        ..sampling.into()
    };
    let session = Session::open(args.session.as_deref(), &config.name, &reading);
    let session = session.context("--session")?;
    let turn = every_turn(args)?;
    // This job never runs: it checks the settings before the model is loaded.
    let checked = JobSpec {
        parts: vec![PartSpec::Text("a turn".into())],
        ..turn.clone()
    };
    let checked = checked.job(&model)?;
    let folder = image_folder(args);
    if folder != Path::new("") {
        create_folder(&folder).context("-o")?;
    }
    sweep(&folder.join("."));
    let requests = [checked.request()];
    let interrupt = interrupt.clone();
    let mut painter = Painter::open(&args.engine, model, None, &requests, terminal)?;
    painter.reporter.say_answers();
    painter.reporter.end_picture();
    let chat = Chat {
        painter,
        interrupt,
        session,
        folder,
        turn,
        shown: vec![],
    };
    chat.talk(Lines::open()?)
}

/// The specification of every turn, without its prompt.
fn every_turn(args: &ChatArgs) -> Result<JobSpec> {
    let settings = Settings {
        seed: Some(args.settings.seed.map_or_else(random_seed, Seed::number)),
        conditioning: Some(Conditioning::Answer),
        ..spec::settings(&args.settings)
    };
    let spec = JobSpec {
        settings,
        ..JobSpec::default()
    };
    spec::with_images(&args.adapters, spec)
}

/// The folder of the images: `-o`, else the session file's.
fn image_folder(args: &ChatArgs) -> PathBuf {
    let session_folder = args.session.as_deref().map_or(Path::new("."), folder_of);
    let folder = args.output.as_deref().unwrap_or(session_folder);
    // Printed names are clearer without `./`.
    match folder == Path::new(".") {
        true => PathBuf::new(),
        false => folder.to_owned(),
    }
}

/// A running conversation.
struct Chat {
    painter: Painter,
    interrupt: Interrupt,
    session: Session,
    /// The folder of the images.
    folder: PathBuf,
    /// The specification of every turn, without its prompt.
    turn: JobSpec,
    /// Files for the next turn, each read.
    shown: Vec<PartSpec>,
}

/// What follows a line.
enum Next {
    Turn,
    End,
}

impl Chat {
    fn talk(mut self, mut lines: Lines) -> Result<()> {
        if lines.is_terminal() {
            self.greet()?;
        }
        self.interrupt.stay();
        let mut interrupted = false;
        loop {
            let line = match self.interrupt.take() {
                true => Line::Interrupted,
                false => lines.next()?,
            };
            let line = match line {
                Line::Typed(line) => line,
                Line::Interrupted if !interrupted => {
                    writeln!(std::io::stderr(), "Ctrl-C again, or /quit, ends")?;
                    interrupted = true;
                    continue;
                }
                Line::Interrupted | Line::End => break,
            };
            interrupted = false;
            match self.hear(&line) {
                Ok(Next::Turn) => {}
                Ok(Next::End) => break,
                // A person can try again; a script can't.
                Err(error) if lines.is_terminal() && self.is_healthy() => {
                    self.painter.reporter.clear();
                    writeln!(std::io::stderr(), "{}", crate::words::one_line(&error))?;
                }
                Err(error) => return Err(error),
            }
        }
        if self.session.is_unsaved() && lines.is_terminal() {
            writeln!(
                std::io::stderr(),
                "this conversation was not saved; next time: x2i chat --session FILE, or /save FILE"
            )?;
        }
        Ok(())
    }

    fn is_healthy(&self) -> bool {
        self.painter.engine.device().health.failure().is_none()
    }

    fn seed(&self) -> u64 {
        self.turn.settings.seed.unwrap_or_default()
    }

    fn greet(&self) -> Result<()> {
        let turns = self.session.turns().len();
        let resumed = match turns {
            0 => String::new(),
            1 => ", 1 turn so far".into(),
            n => format!(", {n} turns so far"),
        };
        let name = printable(&self.painter.engine.config().name);
        writeln!(
            std::io::stdout(),
            "{name}{resumed}, seed {}; say what to paint, /help lists the rest",
            self.seed()
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
                // The conversation may be continued in another folder.
                let part = PartSpec::File {
                    kind,
                    file: NamedFile::new(std::path::absolute(&path)?),
                    fps: None,
                };
                let model = self.painter.engine.model();
                let read =
                    part.read_unless(model, &self.turn.settings, &|| self.interrupt.is_set());
                if matches!(&read, Err(error) if matches!(error.root(), Error::Cancelled)) {
                    self.interrupt.take();
                    bail!("{}: stopped; it is not added", path.display());
                }
                self.shown.push(read?);
                let name = printable(&path.display().to_string());
                writeln!(out, "added to the next turn: {name}")?;
            }
            Typed::Seed(seed) => {
                self.turn.settings.seed = Some(seed.unwrap_or_else(random_seed));
                writeln!(out, "seed {}", self.seed())?;
            }
            Typed::Undo => self.undo()?,
            Typed::History => self.history()?,
            Typed::Save(path) => {
                let path = self.session.save_as(path)?;
                let name = printable(&path.display().to_string());
                writeln!(out, "saved to {name}")?;
            }
            Typed::Help => writeln!(out, "{HELP}")?,
            Typed::Quit => return Ok(Next::End),
        }
        Ok(Next::Turn)
    }

    /// Removes the files for the next turn if there are any, else the last turn.
    fn undo(&mut self) -> Result<()> {
        let removed = if !self.shown.is_empty() {
            self.shown.clear();
            "the files for the next turn".to_owned()
        } else if let Some(turn) = self.session.undo()? {
            format!("{}; {} stays", said(&turn.parts), printable(&turn.picture))
        } else {
            bail!("/undo: there is no turn yet")
        };
        writeln!(std::io::stdout(), "removed: {removed}")?;
        Ok(())
    }

    fn history(&self) -> Result<()> {
        let mut out = std::io::stdout();
        for turn in self.session.turns() {
            writeln!(out, "> {}", said(&turn.parts))?;
            writeln!(out, "{}", printable(&turn.answer))?;
            writeln!(out, "{}, seed {}", printable(&turn.picture), turn.seed)?;
        }
        Ok(())
    }

    /// One turn: generates an image from the LLM's answer, and writes it and the session file.
    fn turn(&mut self, words: Option<String>) -> Result<()> {
        let mut parts = self.shown.clone();
        parts.extend(words.map(PartSpec::Text));
        let spec = JobSpec {
            parts,
            earlier: self.session.conversation().to_vec(),
            ..self.turn.clone()
        };
        self.next_output()?; // known before the work
        let interrupt = self.interrupt.clone();
        let painted = spec.job_unless(self.painter.engine.model(), &|| interrupt.is_set());
        let painted = painted.map_err(anyhow::Error::from).and_then(|job| {
            let painted = self.painter.paint(&job, 1, 1)?;
            Ok((job, painted))
        });
        let (job, (painted, seconds)) = match painted {
            Err(error) => match error.downcast_ref().map(Error::root) {
                Some(Error::Cancelled) => {
                    self.interrupt.take();
                    bail!("stopped; this turn is discarded")
                }
                Some(Error::Modality { .. }) => {
                    // The next turn would fail in the same way.
                    self.shown.clear();
                    return Err(error);
                }
                _ => return Err(error),
            },
            Ok(painted) => painted,
        };
        let output = self.write(&painted.png()?)?;
        let line = summary(&output, &painted, seconds);
        writeln!(std::io::stdout(), "{line}")?;
        self.shown.clear();
        let record = TurnRecord {
            parts: job.parts().to_vec(),
            answer: painted.metadata.answer.unwrap_or_default(),
            picture: output.shown(),
            seed: job.request().seed,
        };
        self.session
            .push(record, job.request().prompt.parts.clone())
    }

    /// Writes an image under the next free name. Another chat may have taken that meanwhile.
    fn write(&self, png: &[u8]) -> Result<Output> {
        loop {
            let output = self.next_output()?;
            if output.create(png).context("-o")? {
                return Ok(output);
            }
        }
    }

    /// The first `chat-NNN.png` that does not exist, so that no image is overwritten.
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
