//! Looks at every number of a model once: NaN or an infinity in a weight is in every image.
//!
//! A part whose files did not change since its numbers were found finite is not read again
//! ([`Remembered`]). The embedded model is a part of the program, and is not looked at. A source of the
//! caller's own may be far away: it is read with [`Verify::Always`] only.

use std::ops::ControlFlow;
use std::path::PathBuf;

use rayon::prelude::*;
use x2i_core::model::open_weights;
use x2i_core::weights::{Component, Weights};
use x2i_core::{Error, ModelConfig, Result};

use super::files::ModelFiles;
use super::hashes::{Verify, stamp_of, unmapped};
use super::meter::Meter;
use crate::files::{Remembered, Stamp};

/// A part to look at.
struct Part {
    component: Component,
    weights: Weights,
    stamps: Vec<(PathBuf, Stamp)>,
}

/// The parts of a model to look at.
pub(super) struct Numbers {
    parts: Vec<Part>,
    remembered: Remembered,
}

impl Numbers {
    /// Opens the parts whose numbers are not known to be finite.
    ///
    /// # Errors
    /// As [`open_weights`].
    pub fn of(files: &ModelFiles, config: &ModelConfig, verify: Verify) -> Result<Self> {
        let mut numbers = Self {
            parts: vec![],
            remembered: Remembered::open(),
        };
        match (files, verify) {
            (ModelFiles::Embedded(_), _) => return Ok(numbers),
            (ModelFiles::Custom(_), Verify::WhenNew) => return Ok(numbers),
            _ => {}
        }
        let files = unmapped(files.clone());
        for (component, names) in parts(config) {
            let stamps = names.iter().filter_map(|name| stamp_of(&files, name));
            let stamps: Vec<_> = stamps.collect();
            let part = component.to_string();
            let finite = |(_, stamp): &(_, Stamp)| numbers.remembered.is_finite(stamp, &part);
            let known = stamps.len() == names.len() && stamps.iter().all(finite);
            if known && verify == Verify::WhenNew {
                continue;
            }
            numbers.parts.push(Part {
                component,
                weights: pollster::block_on(open_weights(&files, component, names))?,
                stamps,
            });
        }
        Ok(numbers)
    }

    /// Bytes that have to be read.
    pub fn bytes(&self) -> u64 {
        let parts = self.parts.iter();
        parts.map(|part| part.weights.byte_len("")).sum()
    }

    /// The first problem of each part.
    pub fn problems(mut self, meter: &Meter) -> Vec<Error> {
        let mut problems = vec![];
        for part in &self.parts {
            match part.check(meter) {
                Ok(()) => {
                    for (path, stamp) in &part.stamps {
                        let part = part.component.to_string();
                        self.remembered.learn_finite(path, stamp, &part);
                    }
                    self.remembered.save();
                }
                Err(Error::Cancelled) => return vec![Error::Cancelled],
                Err(error) => problems.push(error),
            }
        }
        problems
    }
}

impl Part {
    /// Fails with the first tensor that holds a number which is not finite.
    fn check(&self, meter: &Meter) -> Result<()> {
        let names: Vec<&str> = self.weights.names().collect();
        let check = |name: &&str| self.check_tensor(name, meter).err();
        names.par_iter().find_map_first(check).map_or(Ok(()), Err)
    }

    fn check_tensor(&self, name: &str, meter: &Meter) -> Result<()> {
        let mut heard = |bytes| match meter.read(bytes) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        };
        match pollster::block_on(self.weights.is_finite(name, &mut heard))? {
            true => Ok(()),
            false => {
                let reason = format!(
                    "tensor `{name}` holds NaN or an infinity; the file is damaged: get it again"
                );
                Err(Error::format(self.weights.file_of(name), reason))
            }
        }
    }
}

fn parts(config: &ModelConfig) -> [(Component, &[String]); 4] {
    [
        (config.encoder.config.component(), &config.encoder.weights),
        (Component::AlignNet, &config.align_net.weights),
        (Component::Flux, &config.flux.weights),
        (Component::Vae, &config.vae.weights),
    ]
}
