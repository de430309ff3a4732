//! Runs the sides of a comparison in turn, and reports the results.
//!
//! Alternating runs have the same load from other programs, so that their ratio is valid on a busy
//! machine too. CPU seconds are printed in addition to wall seconds for the same reason.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::folder::read_floats;
use super::numbers::{median, seconds};
use super::process::{Pass, Process};
use crate::flags::Peer;
use crate::terminal::table::{columns, row};
use x2i_engine::host::{self, human_bytes};

/// The measurements of one side.
pub(super) struct Row {
    pub versions: String,
    pub passes: Vec<Pass>,
    /// L2 norm of the difference to the exact result, divided by the norm of that result.
    pub error: Option<f64>,
}

/// Starts every side, compares its result with `exact`, and runs `runs` rounds of all sides.
///
/// # Errors
/// When a process fails.
pub(super) fn in_turn(
    starts: impl Iterator<Item = Result<Process>>,
    exact: &[f32],
    runs: u32,
) -> Result<Vec<Row>> {
    let folder = tempfile::tempdir()?;
    let output = folder.path().join("result.f32");
    let mut processes = Vec::new();
    let mut rows = Vec::new();
    for start in starts {
        let mut process = start?;
        process.output(&output)?;
        rows.push(Row {
            versions: process.ready.versions.clone(),
            passes: Vec::new(),
            error: Some(relative_error(&read_floats(&output)?, exact)),
        });
        processes.push(process);
    }
    for _ in 0..runs {
        for (row, process) in rows.iter_mut().zip(&mut processes) {
            row.passes.push(process.forward()?);
        }
    }
    Ok(rows)
}

/// The same with one side in memory at a time: in every round each side starts, makes its first pass, and is measured in
/// a second one.
///
/// # Errors
/// When a process fails.
pub(super) fn alone_in_turn<S>(
    sides: &[S],
    start: impl Fn(&S) -> Result<Process>,
    exact: &[f32],
    runs: u32,
) -> Result<Vec<Row>> {
    let folder = tempfile::tempdir()?;
    let output = folder.path().join("result.f32");
    let mut rows: Vec<Row> = Vec::new();
    for _ in 0..runs {
        for (index, side) in sides.iter().enumerate() {
            let mut process = start(side)?;
            if rows.len() == index {
                process.output(&output)?;
                rows.push(Row {
                    versions: process.ready.versions.clone(),
                    passes: Vec::new(),
                    error: Some(relative_error(&read_floats(&output)?, exact)),
                });
            }
            rows[index].passes.push(process.forward()?);
        }
    }
    Ok(rows)
}

/// The exact result: from the file `path` of an earlier run, else from the process that `start`
/// starts.
///
/// # Errors
/// When the process fails.
pub(super) fn exact_result(
    path: &Path,
    start: impl FnOnce() -> Result<Process>,
) -> Result<Vec<f32>> {
    if !path.exists() {
        let part = path.with_extension("f32.part");
        start()?.output(&part)?;
        std::fs::rename(&part, path).with_context(|| path.display().to_string())?;
    }
    read_floats(path)
}

/// L2 norm of the difference, divided by the norm of the exact numbers; NaN when the counts differ.
pub(super) fn relative_error(found: &[f32], exact: &[f32]) -> f64 {
    if found.len() != exact.len() {
        return f64::NAN;
    }
    let square = |x: f64| x * x;
    let pairs = found.iter().zip(exact);
    let difference: f64 = pairs
        .map(|(&a, &b)| square(f64::from(a) - f64::from(b)))
        .sum();
    let norm: f64 = exact.iter().map(|&b| square(f64::from(b))).sum();
    (difference / norm).sqrt()
}

/// The facts of a report besides its rows.
pub(super) struct Report<'a> {
    /// The unit of work that a row's time is for.
    pub what: &'a str,
    /// The line above the table.
    pub headline: String,
    /// The size of the image.
    pub size: Value,
    pub runs: u32,
    /// Threads of each side, if they were given.
    pub threads: Option<u32>,
    /// Operations of a pass, in billions.
    pub gflop: f64,
}

impl Report<'_> {
    /// Prints a table, or JSON.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn print(&self, rows: &[Row], as_json: bool) -> Result<()> {
        let mut facts = Vec::new();
        let mut table = vec![row([
            "",
            "wall",
            "CPU",
            "GFLOP per CPU-s",
            "peak",
            "error",
            "times the CPU of the first",
        ])];
        for found in rows {
            let wall = median(found.passes.iter().map(|pass| pass.wall));
            let cpu = median(found.passes.iter().map(|pass| pass.cpu));
            let peak = found.passes.iter().map(|pass| pass.peak).max().unwrap_or(0);
            // A ratio per round, since all runs of a round had the same load.
            let rounds = || found.passes.iter().zip(&rows[0].passes);
            let ratio_cpu = median(rounds().map(|(own, first)| own.cpu / first.cpu));
            let ratio_wall = median(rounds().map(|(own, first)| own.wall / first.wall));
            table.push(row([
                &found.versions,
                &seconds(wall),
                &seconds(cpu),
                &format!("{:.1}", self.gflop / cpu),
                &human_bytes(peak),
                &found
                    .error
                    .map_or("-".into(), |error| format!("{error:.2e}")),
                &format!("{ratio_cpu:.2}"),
            ]));
            facts.push(json!({
                "versions": found.versions,
                "wall": wall,
                "cpu": cpu,
                "peak_memory": peak,
                "error": found.error,
                "ratio": {"wall": ratio_wall, "cpu": ratio_cpu},
                "passes": found.passes,
            }));
        }
        let mut out = std::io::stdout();
        if !as_json {
            writeln!(out, "{}", self.headline)?;
            return Ok(out.write_all(columns(&table).as_bytes())?);
        }
        let facts = json!({
            "what": self.what,
            "machine": host::facts(),
            "command": std::env::args().skip(1).collect::<Vec<_>>().join(" "),
            "size": self.size,
            "runs": self.runs,
            "threads": self.threads.map_or_else(host::threads, |threads| threads as usize),
            "gflop": self.gflop,
            "sides": facts,
        });
        Ok(writeln!(out, "{facts}")?)
    }
}

impl Peer {
    /// The program in the folder of peers: the peer's name plus the `ending` of the benchmark.
    pub(super) fn program(&self, peers: &Path, ending: &str) -> Result<PathBuf> {
        let program = peers.join(format!("{}{ending}", self.name));
        if !program.is_file() {
            bail!(
                "--compare: {} not found; scripts/bench-peers makes it",
                program.display()
            );
        }
        Ok(program)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_relative_to_the_exact_result() {
        assert_eq!(relative_error(&[3.0, 4.0], &[3.0, 4.0]), 0.0);
        assert_eq!(relative_error(&[0.0, 0.0], &[3.0, 4.0]), 1.0);
        assert_eq!(relative_error(&[3.0, 4.5], &[3.0, 4.0]), 0.1);
        assert!(relative_error(&[3.0], &[3.0, 4.0]).is_nan());
    }
}
