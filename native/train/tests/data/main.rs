//! Data sets as the reference's loaders read them (golden `webdataset_tiny`), and what is wrong with some.

mod caches;
mod faults;
mod golden;
mod hints;
mod remote;
mod speed;
mod tar;

use std::ops::ControlFlow;
use std::path::PathBuf;

use x2i_train::data::{DataSource, DataSpec, Dataset, Task};

/// The golden folder; `X2I_GOLDENS` names another set.
fn golden() -> PathBuf {
    let own = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens");
    let root = std::env::var_os("X2I_GOLDENS").map_or_else(own, PathBuf::from);
    root.join("webdataset_tiny")
}

fn shards(patterns: impl Into<String>) -> DataSpec {
    DataSpec::new(DataSource::Shards(patterns.into()))
}

fn open(spec: DataSpec, task: Task) -> x2i_core::Result<Dataset> {
    Dataset::open(&[spec], task, &mut |_, _| ControlFlow::Continue(()))
}

/// The message of a data set that has no sample.
fn refusal(spec: DataSpec, task: Task) -> String {
    match open(spec, task) {
        Ok(set) => panic!("{} samples were found", set.len()),
        Err(error) => error.to_string(),
    }
}

/// Keys and words of the notes.
fn words(set: &Dataset) -> Vec<(Option<&str>, &'static str)> {
    let notes = set.notes().iter();
    notes
        .map(|note| (note.key.as_deref(), note.problem.word()))
        .collect()
}
