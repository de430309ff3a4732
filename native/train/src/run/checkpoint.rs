//! A checkpoint: all that a run needs to go on exactly, in a folder that is there whole or not at all.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use x2i_core::training::optimizer::{Optimizer, Rule, StateTensor, StateValues};
use x2i_core::training::{Parameters, published};
use x2i_core::weights::safetensors::{OutTensor, encode};
use x2i_core::weights::{CHECKPOINT_KEY, StoredType, WeightFile};
use x2i_core::{Error, Result};
use x2i_engine::Output;
use x2i_engine::files::io_error;
use x2i_engine::models::MappedFile;

/// The parameters.
const MODEL: &str = "model.safetensors";
/// Their moving average.
const AVERAGE: &str = "average.safetensors";
/// The optimizer's states.
const OPTIMIZER: &str = "optimizer.safetensors";
/// Where the run is.
const STATE: &str = "state.json";

/// Where a run is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Updates that were made.
    pub updates: u64,
    /// Samples that were taken, of all processes together.
    pub samples: u64,
    /// Updates of the optimizer: those with a finite gradient.
    pub steps: u64,
    /// Seconds of all processes' work so far, of the one that writes.
    pub seconds: f64,
}

/// A run's state.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// Where it is.
    pub position: Position,
    /// The parameters.
    pub parameters: Parameters,
    /// Their moving average, of a run that has one.
    pub average: Option<Parameters>,
    /// The optimizer.
    pub optimizer: Optimizer,
}

impl Checkpoint {
    /// Writes it as the folder `place`, which is not there yet, with `results`: the names and bytes of what inference reads.
    ///
    /// # Errors
    /// [`Error::Io`]; nothing is left then.
    pub fn write(&self, place: &Path, results: &[(String, Vec<u8>)]) -> Result<()> {
        let name = place.display().to_string();
        let part = beside(place);
        let _ = fs::remove_dir_all(&part);
        let written = self.write_into(&part, results).and_then(|()| {
            fs::rename(&part, place).map_err(|error| io_error(&name, error))?;
            sync_folder(place.parent().unwrap_or(place));
            Ok(())
        });
        if written.is_err() {
            let _ = fs::remove_dir_all(&part);
        }
        written
    }

    fn write_into(&self, folder: &Path, results: &[(String, Vec<u8>)]) -> Result<()> {
        fs::create_dir_all(folder)
            .map_err(|error| io_error(&folder.display().to_string(), error))?;
        let write = |file: &str, bytes: &[u8]| Output::File(folder.join(file)).write(bytes);
        let parameters = |parameters: &Parameters| {
            let metadata = [(CHECKPOINT_KEY.to_owned(), "parameters".to_owned())];
            encode(published::plain(parameters), &metadata.into())
        };
        write(MODEL, &parameters(&self.parameters))?;
        if let Some(average) = &self.average {
            write(AVERAGE, &parameters(average))?;
        }
        let states = self.optimizer.tensors().into_iter().map(stored).collect();
        write(OPTIMIZER, &encode(states, &Default::default()))?;
        let state = serde_json::to_vec_pretty(&self.position)
            .map_err(|error| Error::config(STATE, error.to_string()))?;
        write(STATE, &state)?;
        write_results(folder, results)
    }

    /// Reads the folder `place`; `like` are the parameters that the run has at its start.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Format`], [`Error::MissingTensor`] or [`Error::Shape`] naming the file.
    pub fn read(place: &Path, like: &Parameters, rule: Rule) -> Result<Self> {
        let state = place.join(STATE);
        let name = state.display().to_string();
        let json = fs::read(&state).map_err(|error| io_error(&name, error))?;
        let position: Position = serde_json::from_slice(&json)
            .map_err(|error| Error::config(&name, error.to_string()))?;
        let parameters = read_parameters(&place.join(MODEL), like)?;
        let average = place.join(AVERAGE);
        let average = match average.is_file() {
            true => Some(read_parameters(&average, like)?),
            false => None,
        };
        let file = place.join(OPTIMIZER);
        let name = file.display().to_string();
        let states = read_states(&file)?;
        let optimizer = Optimizer::restore(rule, position.steps, &parameters, states, &name)?;
        Ok(Self {
            position,
            parameters,
            average,
            optimizer,
        })
    }
}

/// Writes what inference reads into a folder.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn write_results(folder: &Path, results: &[(String, Vec<u8>)]) -> Result<()> {
    for (name, bytes) in results {
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent)
            .map_err(|error| io_error(&parent.display().to_string(), error))?;
        Output::File(path).write(bytes)?;
    }
    Ok(())
}

/// The folder in which a checkpoint is made.
fn beside(place: &Path) -> PathBuf {
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    place.with_file_name(format!(".{name}.part"))
}

/// Makes names of the folder last; a disk that can't is none that the run should fail for.
fn sync_folder(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}

fn stored(tensor: StateTensor) -> OutTensor {
    match tensor.values {
        StateValues::Floats(values) => OutTensor::floats(tensor.name, vec![values.len()], &values),
        StateValues::Bytes(bytes) => OutTensor {
            name: tensor.name,
            stored: StoredType::U8,
            shape: vec![bytes.len()],
            bytes,
        },
    }
}

fn open(path: &Path) -> Result<WeightFile> {
    let file = MappedFile::open(path)?;
    pollster::block_on(WeightFile::open(Arc::new(file)))
}

fn read_parameters(path: &Path, like: &Parameters) -> Result<Parameters> {
    let file = open(path)?;
    let mut read = Parameters::default();
    for (name, expected) in like.iter() {
        let Some(info) = file.tensors().get(name) else {
            return Err(Error::MissingTensor {
                file: file.name().to_owned(),
                name: name.to_owned(),
            });
        };
        if info.shape != expected.shape {
            return Err(Error::Shape {
                file: file.name().to_owned(),
                name: name.to_owned(),
                expected: expected.shape.clone(),
                found: info.shape.clone(),
            });
        }
        let tensor = pollster::block_on(file.read(name))?;
        read.insert(name, expected.shape.clone(), tensor.to_f32());
    }
    Ok(read)
}

fn read_states(path: &Path) -> Result<Vec<StateTensor>> {
    let file = open(path)?;
    let states = file.tensors().keys().map(|name| {
        let tensor = pollster::block_on(file.read(name))?;
        let values = match tensor.stored {
            StoredType::U8 => StateValues::Bytes(tensor.bytes.to_vec()),
            _ => StateValues::Floats(tensor.to_f32()),
        };
        Ok(StateTensor {
            name: name.clone(),
            values,
        })
    });
    states.collect()
}
