//! `log.jsonl`: one line of JSON for each update, validation and event of a run.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use x2i_core::{Error, Result};
use x2i_engine::Output;
use x2i_engine::files::io_error;

/// What an update gave.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Its number, from 1.
    pub update: u64,
    /// The loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// Parts of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<String, f64>,
    /// The loss of samples that are not trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<f64>,
    /// The rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// The norm of all gradients, before clipping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub norm: Option<f64>,
    /// Samples so far.
    #[serde(default)]
    pub samples: u64,
    /// Seconds so far.
    #[serde(default)]
    pub seconds: f64,
    /// What happened, in words: an update that was left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// The file.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    lines: Vec<Line>,
}

impl Journal {
    /// Opens the file for a run that has made so many updates; later lines are of updates that will be made again, and
    /// go.
    pub(super) fn open(path: PathBuf, updates: u64) -> Result<Self> {
        let name = path.display().to_string();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(io_error(&name, error)),
        };
        // The last line of a run that was killed may be cut.
        let lines = text
            .lines()
            .map_while(|line| serde_json::from_str(line).ok());
        let lines: Vec<Line> = lines.filter(|line: &Line| line.update <= updates).collect();
        let mut kept = String::new();
        for line in &lines {
            kept += &json(line)?;
        }
        if kept != text {
            Output::File(path.clone()).write(kept.as_bytes())?;
        }
        Ok(Self { path, lines })
    }

    /// Adds a line.
    pub(super) fn add(&mut self, line: Line) -> Result<()> {
        let name = self.path.display().to_string();
        let text = json(&line)?;
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|error| io_error(&name, error))?;
        self.lines.push(line);
        Ok(())
    }

    /// All lines.
    pub(super) fn lines(&self) -> &[Line] {
        &self.lines
    }
}

fn json(line: &Line) -> Result<String> {
    let json = serde_json::to_string(line);
    let json = json.map_err(|error| Error::config("log.jsonl", error.to_string()))?;
    Ok(json + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_goes_on_drops_what_it_will_write_again_and_a_line_that_was_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let mut journal = Journal::open(path.clone(), 0).unwrap();
        for update in 1..=5 {
            let loss = Some(1.0 / update as f64);
            let line = Line {
                update,
                loss,
                ..Line::default()
            };
            journal.add(line).unwrap();
        }
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"update\":6,\"lo").unwrap();
        let journal = Journal::open(path.clone(), 3).unwrap();
        assert_eq!(journal.lines().len(), 3);
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 3);
    }
}
