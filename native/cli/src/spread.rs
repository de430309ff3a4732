//! Paints the images of a plan on several devices, each of which has the whole model.
//!
//! Every device has a thread, and takes the next image when it has finished one. Files are written at once,
//! results are told in the plan's order. The first failure, or Ctrl-C, stops all devices.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use indicatif::MultiProgress;
use x2i_engine::stack::STACK;
use x2i_engine::{EngineOptions, Job, Model, OpenDevice, Output, Painted, Record};

use crate::jobs::Plan;
use crate::painter::Painter;
use crate::terminal::{Display, Interrupt, Reporter, Seconds, tell};

/// What all devices have in common.
pub struct Spread<'a> {
    /// The model that each of them loads.
    pub model: &'a Model,
    /// The record that is repeated.
    pub record: Option<&'a Record>,
    /// The quality of JPEGs, from 1 to 100.
    pub quality: u8,
    /// The kind of output.
    pub display: Display,
    /// Ctrl-C.
    pub interrupt: Interrupt,
}

/// The images, and what came of them.
struct State {
    plan: Plan,
    /// The number from 0 of the image that is painted next.
    next: usize,
    /// What is painted and not told yet, by number.
    painted: BTreeMap<usize, (Painted, Seconds)>,
    /// The number of the image that is told next.
    told: usize,
    failure: Option<anyhow::Error>,
}

impl Spread<'_> {
    /// Paints all images of a plan, on devices with their options.
    ///
    /// # Errors
    /// The first failure of a device, of an image or of telling.
    pub fn paint(&self, plan: Plan, devices: Vec<(OpenDevice, EngineOptions)>) -> Result<()> {
        let state = Mutex::new(State {
            plan,
            next: 0,
            painted: BTreeMap::new(),
            told: 0,
            failure: None,
        });
        let bars = MultiProgress::new();
        std::thread::scope(|scope| {
            for (number, (device, options)) in devices.into_iter().enumerate() {
                let (state, bars) = (&state, &bars);
                let work = move || {
                    let device = (number, device, options);
                    if let Err(error) = self.work(device, state, bars) {
                        locked(state).failure.get_or_insert(error);
                        self.interrupt.set(); // the other devices stop between two blocks
                    }
                };
                let name = format!("x2i-{number}");
                let thread = std::thread::Builder::new().name(name).stack_size(STACK);
                let started = thread.spawn_scoped(scope, work);
                if let Err(error) = started {
                    locked(state).failure.get_or_insert(error.into());
                    self.interrupt.set();
                }
            }
        });
        let mut state = state.into_inner().unwrap_or_else(PoisonError::into_inner);
        // Behind an image that failed: they are written.
        while let Some((number, painted)) = state.painted.pop_first() {
            self.tell(state.plan.output(number), &painted, &bars)?;
        }
        state.failure.map_or(Ok(()), Err)
    }

    /// Paints on one device until no image is left.
    fn work(
        &self,
        (number, device, options): (usize, OpenDevice, EngineOptions),
        state: &Mutex<State>,
        bars: &MultiProgress,
    ) -> Result<()> {
        let count = locked(state).plan.len();
        let reporter = Reporter::new(self.display, self.interrupt.clone()).among(bars);
        let (devices, model) = (vec![device], self.model.clone());
        let mut painter = Painter::on(devices, model, &options, reporter, (number + 1, count))?;
        painter.quality = self.quality;
        while let Some((index, job)) = self.next(state)? {
            let painted = painter.paint(&job, index + 1, count);
            let painted = locked(state).plan.placed(index, painted)?;
            if let (0, Some(record)) = (index, self.record) {
                let warning = record.model_warning(painter.engine.hashes()?);
                self.display.warn(warning);
            }
            self.finish(state, (index, painted), bars)?;
        }
        Ok(())
    }

    /// The next image and its number.
    fn next(&self, state: &Mutex<State>) -> Result<Option<(usize, Job)>> {
        let mut state = locked(state);
        let index = state.next;
        if index == state.plan.len() || state.failure.is_some() {
            return Ok(None);
        }
        state.next += 1;
        let cancelled = || self.interrupt.is_set();
        let job = state.plan.job(index, self.model, &cancelled)?;
        Ok(Some((index, job.clone())))
    }

    /// Tells what can be told in order.
    fn finish(
        &self,
        state: &Mutex<State>,
        (index, painted): (usize, (Painted, Seconds)),
        bars: &MultiProgress,
    ) -> Result<()> {
        let mut state = locked(state);
        state.painted.insert(index, painted);
        while let Some(painted) = {
            let told = state.told;
            state.painted.remove(&told)
        } {
            self.tell(state.plan.output(state.told), &painted, bars)?;
            state.told += 1;
        }
        Ok(())
    }

    fn tell(
        &self,
        output: &Output,
        (painted, seconds): &(Painted, Seconds),
        bars: &MultiProgress,
    ) -> Result<()> {
        let tell = || tell(self.display, output, painted, *seconds);
        match self.display {
            Display::Bar => bars.suspend(tell),
            Display::Lines | Display::Json | Display::Quiet => tell(),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
