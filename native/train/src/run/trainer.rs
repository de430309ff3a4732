//! The loop of a run: micro-batches, the sum over all processes, clipping, the update, and what is written.

use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use x2i_core::training::optimizer::{Average, Optimizer};
use x2i_core::training::{Gradients, Parameters};
use x2i_core::{Error, Image, Result};
use x2i_engine::Output;
use x2i_engine::output::create_folder;

use super::checkpoint::{Checkpoint, Position, write_results};
use super::events::Events;
use super::folder::{RunFolder, latest};
use super::journal::{Journal, Line};
use super::page::{Head, Tile, page};
use super::settings::{Settings, What};
use super::subject::{Micro, Subject};
use super::world::World;

/// The page is written again at most this often.
const PAGE_EVERY: Duration = Duration::from_secs(10);
/// Updates that were left out at a run's end from which on it did not end well.
const LOST: u64 = 3;

/// What a caller hears.
#[derive(Debug, Clone)]
pub enum Event<'a> {
    /// The run begins, or goes on after so many updates.
    Begun {
        /// Updates that were made before.
        updates: u64,
        /// How many numbers learn.
        numbers: usize,
        /// Samples that a process takes in an epoch.
        epoch: usize,
    },
    /// An update was made.
    Updated(&'a Line),
    /// A checkpoint was written.
    Saved(PathBuf),
    /// Samples were painted.
    Shown(u64),
}

/// Hears of the run; may end it after an update.
pub type Control<'a> = &'a mut dyn FnMut(Event<'_>) -> ControlFlow<()>;

/// A run.
pub struct Trainer<'a, S> {
    settings: &'a Settings,
    what: What,
    subject: S,
    world: &'a dyn World,
    device: Device,
    /// Of the process that writes.
    desk: Option<Desk>,
}

/// What the process that writes has open.
struct Desk {
    folder: RunFolder,
    journal: Journal,
    events: Events,
    tiles: Vec<Tile>,
    page_at: Option<Instant>,
}

/// What changes from update to update.
struct State {
    position: Position,
    parameters: Parameters,
    average: Option<Average>,
    optimizer: Optimizer,
    /// Updates with numbers that are not finite, one after the other.
    lost: u64,
    /// The caller of this process wants to end; the others hear it with the next update.
    wish: bool,
    since: Instant,
}

impl<'a, S: Subject> Trainer<'a, S> {
    /// Opens the run's folder in the process that writes.
    ///
    /// # Errors
    /// As [`RunFolder::open`].
    pub fn open(
        settings: &'a Settings,
        what: What,
        subject: S,
        world: &'a dyn World,
        device: Device,
    ) -> Result<Self> {
        let desk = match world.writes() {
            true => Some(Desk::open(settings, what)?),
            false => None,
        };
        world.wait()?;
        Ok(Self {
            settings,
            what,
            subject,
            world,
            device,
            desk,
        })
    }

    /// Makes all updates that are left. True when the run has ended, false when `control` ended it before; it has saved
    /// its state then.
    ///
    /// # Errors
    /// What the subject gives; [`Error::Config`] when gradients stay infinite; [`Error::Io`].
    pub fn run(&mut self, control: Control<'_>) -> Result<bool> {
        let mut state = self.begin()?;
        let begun = Event::Begun {
            updates: state.position.updates,
            numbers: state.parameters.numbers(),
            epoch: self.subject.epoch_len(),
        };
        let flow = control(begun);
        let mut flow = self.agreed(&mut state, flow);
        if state.position.updates == 0 && flow.is_continue() {
            let looked = self.look_at(&state, true, true, control)?;
            flow = self.agreed(&mut state, looked);
        }
        while state.position.updates < self.settings.updates && flow.is_continue() {
            flow = self.update(&mut state, control)?;
            let now = state.position.updates;
            let last = now == self.settings.updates;
            if last || now.is_multiple_of(self.settings.checkpoint_every) || flow.is_break() {
                self.save(&state, control)?;
            }
            let shows = last || now.is_multiple_of(self.settings.sample_every);
            let validates = last || now.is_multiple_of(self.settings.validate_every);
            if flow.is_continue() && (shows || validates) {
                let looked = self.look_at(&state, shows, validates, control)?;
                flow = self.agreed(&mut state, looked);
            }
        }
        let ended = state.position.updates >= self.settings.updates;
        self.finish(&state, ended)?;
        let most = 2 * state.lost >= state.position.updates.max(1);
        if ended && (state.lost >= LOST || most) {
            let reason = format!(
                "the last {} updates had numbers that are not finite and were left out: take a lower `learning-rate`",
                state.lost
            );
            return Err(Error::config("training", reason));
        }
        Ok(ended)
    }

    fn begin(&mut self) -> Result<State> {
        let parameters = self.subject.start()?;
        let rule = self.settings.rule();
        // Every process reads the same files.
        let found = latest(&self.settings.out, &parameters, rule)?;
        let (position, parameters, average, optimizer) = match found {
            Some(found) => (
                found.position,
                found.parameters,
                found.average,
                found.optimizer,
            ),
            None => (Position::default(), parameters, None, Optimizer::new(rule)),
        };
        let decay = self.settings.ema as f32;
        let average = (decay > 0.0).then(|| {
            let start = average.unwrap_or_else(|| parameters.clone());
            Average::new(&start, decay)
        });
        if let Some(desk) = &mut self.desk {
            desk.journal = Journal::open(desk.folder.path("log.jsonl"), position.updates)?;
            desk.read_tiles(position.updates, &self.settings.sample_prompts)?;
        }
        Ok(State {
            position,
            parameters,
            average,
            optimizer,
            lost: 0,
            wish: false,
            since: Instant::now(),
        })
    }

    /// One update.
    fn update(&mut self, state: &mut State, control: Control<'_>) -> Result<ControlFlow<()>> {
        let (batch, accumulation) = (self.settings.batch, self.settings.accumulation);
        let world = self.world.size();
        let per_update = (batch * accumulation * world) as u64;
        let first = state.position.samples / world as u64;
        let (mut gradients, mut micros) = (Gradients::default(), vec![]);
        for micro in 0..accumulation as u64 {
            let start = first + micro * batch as u64;
            let samples = start..start + batch as u64;
            let found = self
                .subject
                .micro_batch(&state.parameters, samples, &mut gradients);
            micros.push(found?);
        }
        let (mut line, ends, spoiled) = self.gather(&mut gradients, micros, state.wish)?;
        gradients.scale(1.0 / (accumulation * world) as f32);
        let factor = self.settings.schedule().factor(state.position.updates);
        let norm = gradients.norm();
        if self.change(state, gradients, factor, spoiled)? {
            line.note = Some("a gradient was not finite; the update was left out".to_owned());
        }
        state.position.updates += 1;
        state.position.samples += per_update;
        state.position.steps = state.optimizer.updates();
        if let Some(average) = &mut state.average {
            average.update(&state.parameters, state.position.updates);
        }
        state.position.seconds += state.since.elapsed().as_secs_f64();
        state.since = Instant::now();
        line.update = state.position.updates;
        line.rate = Some(self.settings.learning_rate * factor);
        line.norm = norm.is_finite().then_some(norm);
        line.samples = state.position.samples;
        line.seconds = state.position.seconds;
        if let Some(desk) = &mut self.desk {
            desk.note(&line)?;
            desk.write_page(self.settings, self.what, state.position.updates, false)?;
        }
        let flow = control(Event::Updated(&line));
        Ok(match ends {
            true => ControlFlow::Break(()),
            false => self.agreed(state, flow),
        })
    }

    /// Changes the parameters; true where a gradient is not finite, and nothing changes. `spoiled`: terms of the loss were
    /// left out.
    fn change(
        &self,
        state: &mut State,
        mut gradients: Gradients,
        factor: f64,
        spoiled: bool,
    ) -> Result<bool> {
        let finite = gradients.norm().is_finite();
        state.lost = match finite && !spoiled {
            true => 0,
            false => state.lost + 1,
        };
        if state.lost > self.settings.nan_limit {
            let reason = format!(
                "{} updates one after the other had numbers that are not finite; go on from an older checkpoint, or take a \
                 lower `learning-rate`",
                state.lost
            );
            return Err(Error::config("training", reason));
        }
        if !finite {
            return Ok(true);
        }
        if self.settings.clip > 0.0 {
            gradients.clip(self.settings.clip);
        }
        let optimizer = &mut state.optimizer;
        let change = optimizer.update(&mut state.parameters, &gradients, factor, &self.device);
        pollster::block_on(change)?;
        Ok(false)
    }

    /// What all processes do: one that is alone does what its caller says; of several each makes one more update, with
    /// which the others hear of the wish.
    fn agreed(&self, state: &mut State, flow: ControlFlow<()>) -> ControlFlow<()> {
        if self.world.size() == 1 {
            return flow;
        }
        state.wish |= flow.is_break();
        ControlFlow::Continue(())
    }

    /// The mean of the micro-batches of all processes, whether one of them wants to end, and whether terms of the loss were
    /// left out; gradients become the sum.
    fn gather(
        &self,
        gradients: &mut Gradients,
        micros: Vec<Micro>,
        wish: bool,
    ) -> Result<(Line, bool, bool)> {
        let count = micros.len() as f64;
        let mut names: Vec<String> = vec![];
        for micro in &micros {
            let new = micro.parts.keys().filter(|name| !names.contains(name));
            let new: Vec<String> = new.cloned().collect();
            names.extend(new);
        }
        let mean = |of: &dyn Fn(&Micro) -> f64| micros.iter().map(of).sum::<f64>() / count;
        let mut numbers = vec![
            mean(&|micro| micro.loss),
            mean(&|micro| micro.left_out as f64) * count,
            f64::from(u8::from(wish)),
        ];
        for name in &names {
            numbers.push(mean(&|micro| micro.parts.get(name).copied().unwrap_or(0.0)));
        }
        let world = self.world.size() as f64;
        self.world.sum(gradients)?;
        self.world.sum_numbers(&mut numbers)?;
        let [loss, left_out, wishes, parts @ ..] = &numbers[..] else {
            unreachable!("there are three numbers at least");
        };
        let parts = names.into_iter().zip(parts.iter().map(|part| part / world));
        let mut notes: Vec<String> = micros.into_iter().flat_map(|micro| micro.notes).collect();
        if *left_out > 0.0 {
            notes.push(format!(
                "{left_out} terms were no finite numbers and were left out"
            ));
        }
        let line = Line {
            loss: Some(loss / world),
            parts: parts.collect(),
            note: (!notes.is_empty()).then(|| notes.join("; ")),
            ..Line::default()
        };
        Ok((line, *wishes > 0.0, *left_out > 0.0))
    }

    /// The parameters that are saved for inference and shown.
    fn shown(state: &State) -> &Parameters {
        match &state.average {
            Some(average) => average.parameters(),
            None => &state.parameters,
        }
    }

    fn save(&mut self, state: &State, control: Control<'_>) -> Result<()> {
        if let Some(desk) = &self.desk {
            let checkpoint = Checkpoint {
                position: state.position.clone(),
                parameters: state.parameters.clone(),
                average: state.average.as_ref().map(|a| a.parameters().clone()),
                optimizer: state.optimizer.clone(),
            };
            let results = self.subject.file(Self::shown(state))?;
            let keep = self.settings.keep;
            let place = desk.folder.save(&checkpoint, &results, keep)?;
            // The caller hears it; a wish to end is heard after the next update.
            let _ = control(Event::Saved(place));
        }
        self.world.wait()
    }

    fn look_at(
        &mut self,
        state: &State,
        shows: bool,
        validates: bool,
        control: Control<'_>,
    ) -> Result<ControlFlow<()>> {
        let update = state.position.updates;
        let parameters = Self::shown(state);
        let mut flow = ControlFlow::Continue(());
        let Some(desk) = &mut self.desk else {
            self.world.wait()?;
            return Ok(flow);
        };
        if validates && let Some(loss) = self.subject.validate(parameters)? {
            let line = Line {
                update,
                validation: Some(loss),
                samples: state.position.samples,
                seconds: state.position.seconds,
                ..Line::default()
            };
            desk.note(&line)?;
            flow = control(Event::Updated(&line));
        }
        if shows {
            let shown = self.subject.show(parameters)?;
            for (number, shown) in shown.into_iter().enumerate() {
                desk.add_sample(update, number, shown.prompt, &shown.image)?;
            }
            if flow.is_continue() {
                flow = control(Event::Shown(update));
            }
        }
        desk.page_at = None;
        desk.write_page(self.settings, self.what, update, false)?;
        self.world.wait()?;
        Ok(flow)
    }

    /// Writes the files that inference reads, and the page.
    fn finish(&mut self, state: &State, ended: bool) -> Result<()> {
        let Some(desk) = &mut self.desk else {
            return self.world.wait();
        };
        let results = self.subject.file(Self::shown(state))?;
        write_results(&desk.folder.path(""), &results)?;
        desk.page_at = None;
        desk.write_page(self.settings, self.what, state.position.updates, ended)?;
        self.world.wait()
    }
}

impl Desk {
    fn open(settings: &Settings, what: What) -> Result<Self> {
        let folder = RunFolder::open(settings, what)?;
        let journal = Journal::open(folder.path("log.jsonl"), u64::MAX)?;
        let events = Events::create(&folder.path("tensorboard"))?;
        create_folder(&folder.path("samples"))?;
        Ok(Self {
            folder,
            journal,
            events,
            tiles: vec![],
            page_at: None,
        })
    }

    fn note(&mut self, line: &Line) -> Result<()> {
        self.journal.add(line.clone())?;
        let numbers = [
            ("loss/train", line.loss),
            ("loss/validation", line.validation),
            ("optimizer/rate", line.rate),
            ("optimizer/norm", line.norm),
        ];
        for (name, number) in numbers {
            if let Some(number) = number {
                self.events.scalar(line.update, name, number)?;
            }
        }
        for (name, number) in &line.parts {
            self.events
                .scalar(line.update, &format!("loss/{name}"), *number)?;
        }
        Ok(())
    }

    fn add_sample(
        &mut self,
        update: u64,
        number: usize,
        prompt: String,
        image: &Image,
    ) -> Result<()> {
        let png = png_of(image)?;
        let path = self
            .folder
            .path(&format!("samples/{update:06}-{number}.png"));
        Output::File(path).write(&png)?;
        let size = [image.width(), image.height()];
        self.events
            .picture(update, &format!("samples/{number}"), size, &png)?;
        self.tiles.push(Tile {
            update,
            number,
            prompt,
            png,
        });
        Ok(())
    }

    /// The samples of a run that goes on.
    fn read_tiles(&mut self, updates: u64, prompts: &[String]) -> Result<()> {
        let folder = self.folder.path("samples");
        let name = folder.display().to_string();
        let failed = |error| x2i_engine::files::io_error(&name, error);
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let file = entry.file_name().to_string_lossy().into_owned();
            let numbers = file
                .strip_suffix(".png")
                .and_then(|stem| stem.split_once('-'));
            let numbers = numbers.and_then(|(update, number)| {
                Some((update.parse::<u64>().ok()?, number.parse::<usize>().ok()?))
            });
            let Some((update, number)) = numbers.filter(|(update, _)| *update <= updates) else {
                continue;
            };
            self.tiles.push(Tile {
                update,
                number,
                prompt: prompts.get(number).cloned().unwrap_or_default(),
                png: fs::read(entry.path()).map_err(failed)?,
            });
        }
        Ok(())
    }

    fn write_page(
        &mut self,
        settings: &Settings,
        what: What,
        updates: u64,
        ended: bool,
    ) -> Result<()> {
        if self.page_at.is_some_and(|at| at.elapsed() < PAGE_EVERY) {
            return Ok(());
        }
        self.page_at = Some(Instant::now());
        let head = Head {
            title: &format!("x2i train {what}: {}", settings.out.display()),
            updates,
            total: settings.updates,
            ended,
            settings: &settings.of(what).to_string(),
        };
        let html = page(&head, self.journal.lines(), &self.tiles);
        Output::File(self.folder.path("index.html")).write(html.as_bytes())
    }
}

/// A picture as a PNG file without a record.
fn png_of(image: &Image) -> Result<Vec<u8>> {
    let failed = |error: png::EncodingError| Error::image("a sample", error.to_string());
    let mut bytes = vec![];
    let mut encoder = png::Encoder::new(&mut bytes, image.width() as u32, image.height() as u32);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(image.pixels()).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(bytes)
}
