//! Counts the outcomes by kind, and prints a Markdown table.

use std::collections::BTreeMap;
use std::io::Write;

use crate::case::{Case, Outcome};

#[derive(Default)]
struct Row {
    cases: usize,
    refused: usize,
    same: usize,
    other: usize,
    faults: usize,
}

#[derive(Default)]
pub struct Report {
    rows: BTreeMap<&'static str, Row>,
    faults: Vec<String>,
    /// Cases that paint another image, to be looked at.
    others: Vec<String>,
}

impl Report {
    pub fn add(&mut self, case: &Case, outcome: Outcome) {
        let row = self.rows.entry(case.kind).or_default();
        row.cases += 1;
        match outcome {
            Outcome::Refused => row.refused += 1,
            Outcome::Painted { same: Some(false) } => {
                row.other += 1;
                self.others.push(format!("{}: {}", case.kind, case.what));
            }
            Outcome::Painted { .. } => row.same += 1,
            Outcome::Fault(fault) => {
                row.faults += 1;
                self.faults
                    .push(format!("{}: {}: {fault}", case.kind, case.what));
            }
        }
    }

    /// Prints the table.
    ///
    /// # Panics
    /// When there are faults: the message lists all of them.
    pub fn finish(self) {
        let mut out = std::io::stdout().lock();
        let mut line = |text: String| writeln!(out, "{text}").expect("standard output");
        line("\n| kind | cases | refused | the same image | another image | faults |".into());
        line("|---|---:|---:|---:|---:|---:|".into());
        for (kind, row) in &self.rows {
            let Row {
                cases,
                refused,
                same,
                other,
                faults,
            } = row;
            line(format!(
                "| {kind} | {cases} | {refused} | {same} | {other} | {faults} |"
            ));
        }
        for other in &self.others {
            line(format!("another image: {other}"));
        }
        assert!(
            self.faults.is_empty(),
            "{} faults:\n{}",
            self.faults.len(),
            self.faults.join("\n")
        );
    }
}
