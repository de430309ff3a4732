//! Progress of the engine becomes news of a job, and the wish to cancel becomes a break.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use x2i_core::Phase;

use super::desk::{Desk, News, Task};
use super::encoder::{Encoder, Made};
use crate::job::{Preview, Progress, Stage};
use crate::measure;

/// Events of counting alone are not told more often.
const PAUSE: Duration = Duration::from_millis(100);
/// The share of the work that is left when the transformer has finished.
const DECODING: f64 = 0.05;

/// Hears the engine while it works on a job.
pub(super) struct Hearing<'a> {
    pub task: &'a Task,
    pub desk: &'a dyn Desk,
    pub encoder: &'a Encoder,
    /// The number of the image, from 0, and of all.
    pub image: usize,
    pub images: usize,
    told: Option<Instant>,
    /// The phase that runs, since when.
    phase: Option<(Phase, Instant)>,
    /// Finished steps, since when.
    step: (usize, Instant),
}

impl<'a> Hearing<'a> {
    pub(super) fn new(task: &'a Task, desk: &'a dyn Desk, encoder: &'a Encoder) -> Self {
        Self {
            task,
            desk,
            encoder,
            image: 0,
            images: task.order.images.get(),
            told: None,
            phase: None,
            step: (0, Instant::now()),
        }
    }

    /// Hears one event; breaks when the job was cancelled.
    pub(super) fn hear(&mut self, event: x2i_core::Progress) -> ControlFlow<()> {
        let changed = self.measure(&event);
        self.tell(event, changed);
        match self.task.is_cancelled() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    /// Ends the measurement of the last phase.
    pub(super) fn end(&mut self) {
        if let Some((phase, since)) = self.phase.take()
            && phase != Phase::Load
        {
            measure::stage(stage_name(phase), since.elapsed());
        }
        self.told = None;
        self.step = (0, Instant::now());
    }

    /// Measures phases and steps; true when one of them ended.
    fn measure(&mut self, event: &x2i_core::Progress) -> bool {
        let mut changed = false;
        if self.phase.is_none_or(|(phase, _)| phase != event.phase) {
            self.end();
            self.phase = Some((event.phase, Instant::now()));
            changed = true;
        }
        if let Some(steps) = event.steps
            && steps.done != self.step.0
        {
            if steps.done > self.step.0 {
                measure::step(self.step.1.elapsed());
            }
            self.step = (steps.done, Instant::now());
            changed = true;
        }
        changed
    }

    fn tell(&mut self, event: x2i_core::Progress, changed: bool) {
        let job = self.task.id;
        let steps = event.steps;
        let (step, all) = steps.map_or((0, 0), |steps| (steps.done, steps.total));
        if let Some(answer) = event.answer {
            self.desk.tell(job, News::Answer(answer));
        }
        if let Some(tokens) = event.prompt_tokens {
            self.desk.tell(job, News::PromptTokens(tokens.read));
        }
        if let Some(image) = event.preview {
            let preview = Preview {
                image: self.image,
                step,
                steps: all,
                png: vec![].into(),
            };
            self.encoder.hand(Made::Preview(job, image, preview));
        }
        if changed || self.told.is_none_or(|told| told.elapsed() >= PAUSE) {
            self.told = Some(Instant::now());
            let done = share(event.phase, event.done, event.total);
            let progress = Progress {
                value: (self.image as f64 + done) / self.images as f64,
                step,
                steps: all,
                image: self.image,
                stage: stage(event.phase),
            };
            self.desk.tell(job, News::Progress(progress));
        }
    }
}

/// The share of an image that is done.
fn share(phase: Phase, done: u64, total: u64) -> f64 {
    let done = done as f64 / total.max(1) as f64;
    match phase {
        Phase::Load | Phase::Encode => 0.0,
        Phase::Denoise => done * (1.0 - DECODING),
        Phase::Decode => 1.0 - DECODING + done * DECODING,
    }
}

fn stage(phase: Phase) -> Stage {
    match phase {
        Phase::Load => Stage::Load,
        Phase::Encode => Stage::Encode,
        Phase::Denoise => Stage::Denoise,
        Phase::Decode => Stage::Decode,
    }
}

fn stage_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Load => "load",
        Phase::Encode => "encode",
        Phase::Denoise => "denoise",
        Phase::Decode => "decode",
    }
}
