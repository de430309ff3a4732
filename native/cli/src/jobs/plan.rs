//! The images of one run, in order. The files of one job at a time are in memory.

use anyhow::{Context, Result};
use x2i_core::Request;
use x2i_engine::job::{Finished, Outline};
use x2i_engine::{EngineOptions, Job, Model, Output};

/// The images of one run: those to generate, and those that are there already.
#[derive(Default)]
pub struct Plan {
    /// The job whose files are in memory.
    current: Option<Job>,
    items: Vec<Item>,
    skipped: Vec<Output>,
}

/// An image to generate.
struct Item {
    source: Source,
    output: Output,
}

/// Where a job comes from.
enum Source {
    /// The current job with this seed.
    Seed(u64),
    /// A line of a batch.
    Line(Box<CheckedLine>),
}

/// A checked line of a batch.
pub struct CheckedLine {
    /// The file and the number of the line, for messages.
    pub place: String,
    /// Its job, without the content of files.
    pub outline: Outline,
    /// The seed that the line or a flag gives; `None` is a random one.
    pub seed: Option<u64>,
}

impl Plan {
    /// One job with several seeds.
    pub fn of_seeds(job: Job, images: impl Iterator<Item = (u64, Output)>) -> Self {
        let item = |(seed, output)| Item {
            source: Source::Seed(seed),
            output,
        };
        Self {
            current: Some(job),
            items: images.map(item).collect(),
            skipped: vec![],
        }
    }

    /// Adds a line of a batch.
    pub fn push(&mut self, line: CheckedLine, output: Output) {
        let source = Source::Line(Box::new(line));
        self.items.push(Item { source, output });
    }

    /// How many images there are to generate.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is nothing to generate.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The images that are there already.
    pub fn skipped(&self) -> &[Output] {
        &self.skipped
    }

    /// The outputs of the images to generate.
    pub fn outputs(&self) -> impl Iterator<Item = &Output> {
        self.items.iter().map(|item| &item.output)
    }

    /// The requests; those of a batch are without the content of files.
    pub fn requests(&self) -> Vec<&Request> {
        let current = self.current.as_ref().map(Job::request);
        let requests = self.items.iter().map(|item| match &item.source {
            Source::Line(line) => Some(line.outline.request()),
            Source::Seed(_) => current,
        });
        requests.flatten().collect()
    }

    /// The job of an image, by its place from 0. Reads its files, until `cancelled` says so.
    ///
    /// # Errors
    /// For a broken file, naming the line.
    pub fn job(
        &mut self,
        index: usize,
        model: &Model,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<&Job> {
        let before = self.current.take(); // its files leave memory before others are read
        let Item { source, output } = self.items.get(index).context("there is no such image")?;
        let job = match (source, before) {
            (Source::Line(line), before) => {
                drop(before);
                let job = line.outline.job_unless(model, cancelled);
                job.with_context(|| line.place.clone()).context("--batch")?
            }
            (Source::Seed(seed), before) => {
                before.context("there is no such image")?.with_seed(*seed)
            }
        };
        Ok(self.current.insert(job.with_output(output.clone())))
    }

    /// The output of an image, by its place from 0.
    pub fn output(&self, index: usize) -> &Output {
        self.items
            .get(index)
            .map_or(&Output::None, |item| &item.output)
    }

    /// What came of an image, with the line of a batch in an error.
    ///
    /// # Errors
    /// The one in it.
    pub fn placed<T>(&self, index: usize, outcome: Result<T>) -> Result<T> {
        match self.items.get(index).map(|item| &item.source) {
            Some(Source::Line(line)) => outcome
                .with_context(|| line.place.clone())
                .context("--batch"),
            _ => outcome,
        }
    }

    /// The plan without the images of a batch that are finished.
    ///
    /// # Errors
    /// When a file of a line or of the model can't be hashed.
    pub fn without_finished(mut self, model: &Model, options: &EngineOptions) -> Result<Self> {
        let mut finished = Finished::new(model, options);
        for item in std::mem::take(&mut self.items) {
            let is_finished = match (&item.source, &item.output) {
                (Source::Line(line), Output::File(path)) => finished
                    .is(path, &line.outline, line.seed)
                    .with_context(|| line.place.clone())?,
                _ => false,
            };
            match is_finished {
                true => self.skipped.push(item.output),
                false => self.items.push(item),
            }
        }
        Ok(self)
    }
}
