//! The samples of a run: which one is the next, and which are not trained on.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::{ControlFlow, Range};

use x2i_core::{Error, Result};

use crate::data::{DataSpec, Dataset, Keys, Order, SplitMix64, Task, source};
use crate::run::Settings;

/// What noise of validation follows from, so that it never changes.
const VALIDATION_SEED: u64 = 0x5eed;

/// What is to be said of samples that can't be used.
#[derive(Default)]
struct Unread {
    known: BTreeSet<String>,
    notes: Vec<String>,
}

impl Unread {
    fn add(&mut self, data: &Dataset, index: usize, error: &Error) {
        let text = match error.root() {
            Error::Request { .. } => format!("sample {}: {error}; it is left out", data.key(index)),
            _ => error.to_string(),
        };
        if self.known.insert(text.clone()) {
            self.notes.push(text);
        }
    }
}

/// True for what is wrong with one sample: a picture or a field that can't be read, a prompt that is too long.
fn of_sample(error: &Error) -> bool {
    matches!(error.root(), Error::Image { .. } | Error::Request { .. })
}

/// The data of one of a run's processes.
pub(crate) struct Inputs {
    /// What is trained on.
    data: Dataset,
    unread: RefCell<Unread>,
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
            unread: RefCell::default(),
            world: world as u64,
            rank: rank as u64,
            seed: settings.seed,
            validation,
            validation_samples: settings.validation_samples.max(1),
        })
    }

    /// Where the first samples of the data are, `most` of them.
    pub(crate) fn first(&self, most: usize) -> Vec<Place> {
        let place = |index| Place {
            index,
            number: index as u64,
            seed: self.seed,
        };
        (0..self.data.len().min(most)).map(place).collect()
    }

    /// Samples that this process takes in an epoch.
    pub(crate) fn epoch_len(&self) -> usize {
        self.order.epoch_len()
    }

    /// Whether a sample, also of those that are not trained on, is a pair with an instruction.
    pub(crate) fn has_pairs(&self) -> bool {
        let others = self.validation.as_ref().map_or(0, Dataset::pairs);
        self.data.pairs() + others > 0
    }

    /// Sample `k` of this process.
    fn at(&mut self, k: u64) -> Place {
        let number = k * self.world + self.rank;
        Place {
            index: self.order.at(k),
            number,
            seed: mixed(self.seed, number),
        }
    }

    /// Where these samples are.
    pub(crate) fn places(&mut self, samples: Range<u64>) -> Vec<Place> {
        samples.map(|k| self.at(k)).collect()
    }

    /// What `take` makes of the sample at each place.
    pub(crate) fn each<T>(
        &self,
        places: Vec<Place>,
        take: impl Fn(&Dataset, Place) -> Result<T>,
    ) -> Result<Vec<T>> {
        let places = places.into_iter();
        places.map(|place| self.read(place, &take)).collect()
    }

    /// What `take` makes of the sample at a place. The next sample of the data stands in for one that can't be
    /// used, which follows from the data alone.
    fn read<T>(&self, place: Place, take: &impl Fn(&Dataset, Place) -> Result<T>) -> Result<T> {
        let mut last = None;
        for offset in 0..self.data.len() {
            let index = (place.index + offset) % self.data.len();
            match take(&self.data, Place { index, ..place }) {
                Err(error) if of_sample(&error) => {
                    self.unread.borrow_mut().add(&self.data, index, &error);
                    last = Some(error);
                }
                taken => return taken,
            }
        }
        Err(last.expect("a data set has a sample"))
    }

    /// What there is to say of samples that can't be used, once of each.
    pub(crate) fn notes(&self) -> Vec<String> {
        std::mem::take(&mut self.unread.borrow_mut().notes)
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
        let (mut sum, mut read) = (0.0, 0);
        for index in 0..count {
            let number = index as u64;
            let place = Place {
                index,
                number,
                seed: mixed(VALIDATION_SEED, number),
            };
            match loss(data, place) {
                Err(error) if of_sample(&error) => {
                    self.unread.borrow_mut().add(data, index, &error);
                }
                found => {
                    sum += found?;
                    read += 1;
                }
            }
        }
        Ok((read > 0).then(|| sum / f64::from(read)))
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
