//! The samples of a run: which one is the next, and which are not trained on.

use std::ops::ControlFlow;

use x2i_core::Result;

use crate::data::{DataSpec, Dataset, Keys, Order, SplitMix64, Task, source};
use crate::run::Settings;

/// What noise of validation follows from, so that it never changes.
const VALIDATION_SEED: u64 = 0x5eed;

/// The data of one of a run's processes.
pub(crate) struct Inputs {
    /// What is trained on.
    pub(crate) data: Dataset,
    order: Order,
    world: u64,
    rank: u64,
    seed: u64,
    validation: Option<Dataset>,
    /// The most samples of it.
    validation_samples: usize,
}

/// A sample that is taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// In its data set.
    pub(crate) index: usize,
    /// Counted over all processes, so that the same samples are the same in any world.
    pub(crate) number: u64,
    /// What its noise follows from.
    pub(crate) seed: u64,
}

impl Inputs {
    /// Opens the data of the settings for one of `[world, rank]` processes. `warn` hears what can't be used, a line each.
    pub(crate) fn open(
        settings: &Settings,
        task: Task,
        [world, rank]: [usize; 2],
        warn: &mut dyn FnMut(String),
    ) -> Result<Self> {
        let data = open_data(&settings.data, settings, task, warn)?;
        let validation = match settings.validation_data.is_empty() {
            true => None,
            false => Some(open_data(&settings.validation_data, settings, task, warn)?),
        };
        Ok(Self {
            order: Order::new(data.len(), settings.seed, world, rank)?,
            data,
            world: world as u64,
            rank: rank as u64,
            seed: settings.seed,
            validation,
            validation_samples: settings.validation_samples.max(1),
        })
    }

    /// Samples that this process takes in an epoch.
    pub(crate) fn epoch_len(&self) -> usize {
        self.order.epoch_len()
    }

    /// Sample `k` of this process.
    pub(crate) fn at(&mut self, k: u64) -> Place {
        let number = k * self.world + self.rank;
        Place {
            index: self.order.at(k),
            number,
            seed: mixed(self.seed, number),
        }
    }

    /// The mean of `loss` over the samples that are not trained on; `None` without any.
    pub(crate) fn validate(
        &self,
        loss: impl Fn(&Dataset, Place) -> Result<f64>,
    ) -> Result<Option<f64>> {
        let Some(data) = &self.validation else {
            return Ok(None);
        };
        let count = data.len().min(self.validation_samples);
        let mut sum = 0.0;
        for index in 0..count {
            let number = index as u64;
            let seed = mixed(VALIDATION_SEED, number);
            sum += loss(
                data,
                Place {
                    index,
                    number,
                    seed,
                },
            )?;
        }
        Ok(Some(sum / count as f64))
    }
}

/// One number of a seed and a count, without a pattern.
fn mixed(seed: u64, number: u64) -> u64 {
    let seed = SplitMix64::new(seed).draw();
    SplitMix64::new(seed ^ number).draw()
}

fn open_data(
    words: &[String],
    settings: &Settings,
    task: Task,
    warn: &mut dyn FnMut(String),
) -> Result<Dataset> {
    let specs: Vec<DataSpec> = words
        .iter()
        .map(|word| DataSpec {
            keys: Keys {
                caption: settings.caption_key.clone(),
                ..Keys::default()
            },
            ..DataSpec::new(source(word))
        })
        .collect();
    let data = Dataset::open(&specs, task, &mut |_, _| ControlFlow::Continue(()))?;
    for note in data.notes() {
        warn(note.to_string());
    }
    Ok(data)
}
