//! `x2i bench peak`: how many operations a CPU second can hold, for each instruction that kernels multiply with.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use x2i_core::{PEAKS, Peak};
use x2i_engine::host;

use crate::flags::BenchPeakArgs;
use crate::terminal::table::{columns, row};

/// CPU seconds of a run, enough for a clock that ticks a hundred times a second.
const SECONDS: f64 = 0.5;

/// Rounds between two looks at the clock: some milliseconds.
const ROUNDS: usize = 1 << 20;

/// Runs `x2i bench peak`.
///
/// # Errors
/// On a system that does not tell CPU seconds.
pub(super) fn run(args: &BenchPeakArgs) -> Result<()> {
    let mut measured = Vec::with_capacity(PEAKS.len());
    for peak in PEAKS {
        measured.push((peak, best(peak, args.runs)?));
    }
    match args.json {
        true => println!("{}", json(&measured)),
        false => print(&measured),
    }
    Ok(())
}

/// Operations per CPU second of the fastest run, in 1e9; `None` where the machine lacks the instruction.
fn best(peak: &Peak, runs: u32) -> Result<Option<f64>> {
    let mut best: f64 = 0.0;
    for _ in 0..runs {
        let (mut operations, start) = (0, seconds()?);
        while seconds()? - start < SECONDS {
            match peak.run(ROUNDS) {
                Some(done) => operations += done,
                None => return Ok(None),
            }
        }
        let rate = operations as f64 / (seconds()? - start);
        best = best.max(rate / 1e9);
    }
    Ok(Some(best))
}

fn seconds() -> Result<f64> {
    host::cpu_seconds().context("this system does not tell the CPU seconds of a process")
}

fn print(measured: &[(&Peak, Option<f64>)]) {
    println!("the fastest that one thread multiplies, G operations per CPU-s:");
    let head = row(["instruction", "numbers", "peak"]);
    let rows = measured.iter().map(|(peak, rate)| {
        let rate = rate.map_or_else(|| "not here".to_owned(), |rate| format!("{rate:.0}"));
        row([peak.instruction, peak.numbers, &rate])
    });
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    print!("{}", columns(&rows));
}

fn json(measured: &[(&Peak, Option<f64>)]) -> Value {
    let rows = measured.iter().map(|(peak, rate)| {
        json!({
            "instruction": peak.instruction,
            "numbers": peak.numbers,
            "gops_per_cpu_second": rate,
        })
    });
    json!({"machine": host::facts(), "peaks": rows.collect::<Vec<_>>()})
}
