//! The data of a run, as its settings name them, and the seeds of its samples.

use std::ops::ControlFlow;

use x2i_core::Result;

use crate::data::{DataSpec, Dataset, Keys, SplitMix64, Task, source};
use crate::run::Settings;

/// One number of a seed and a count, without a pattern.
pub(crate) fn mixed(seed: u64, number: u64) -> u64 {
    let seed = SplitMix64::new(seed).draw();
    SplitMix64::new(seed ^ number).draw()
}

/// Opens sources; `warn` hears what can't be used, a line each.
pub(crate) fn open_data(
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
