//! Collects errors of one case on one device and says which tensor is worst.

use std::fmt;

use crate::device::F16_TOLERANCE;

struct Line {
    name: String,
    error: f32,
    allowed: f32,
}

/// Results of one case on one device.
pub struct Report {
    case: String,
    device: &'static str,
    tolerance: f32,
    lines: Vec<Line>,
    failures: Vec<String>,
    notes: Vec<String>,
}

impl Report {
    pub(crate) fn new(case: &str, device: &'static str, tolerance: f32) -> Self {
        Self {
            case: case.to_owned(),
            device,
            tolerance,
            lines: vec![],
            failures: vec![],
            notes: vec![],
        }
    }

    /// Compares within the device's tolerance, relative to the largest golden value.
    pub(crate) fn close(&mut self, name: &str, ours: &[f32], golden: &[f32]) {
        self.close_share(name, ours, golden, self.tolerance);
    }

    /// Compares within a tolerance of its own, relative to the largest golden value.
    pub(crate) fn close_share(&mut self, name: &str, ours: &[f32], golden: &[f32], tolerance: f32) {
        let largest = golden
            .iter()
            .fold(0.0f32, |largest, value| largest.max(value.abs()));
        self.compare(
            name,
            ours,
            golden,
            if largest > 0.0 { largest } else { 1.0 },
            tolerance,
        );
    }

    /// Compares two forwards of one device that differ in the order of their sums; in f16 they round other numbers.
    pub(crate) fn close_forwards(
        &mut self,
        name: &str,
        ours: &[f32],
        other: &[f32],
        tolerance: f32,
    ) {
        let tolerance = match self.tolerance >= F16_TOLERANCE {
            true => F16_TOLERANCE,
            false => tolerance,
        };
        self.close_share(name, ours, other, tolerance);
    }

    /// Compares differences of two numbers of a forward, within the device's tolerance; in f16 within five times that,
    /// since both are off, and the largest difference is a fraction of them.
    pub(crate) fn close_difference(&mut self, name: &str, ours: &[f32], golden: &[f32]) {
        let both = if self.tolerance >= F16_TOLERANCE {
            5.0
        } else {
            1.0
        };
        self.close_share(name, ours, golden, both * self.tolerance);
    }

    /// Compares within an absolute tolerance.
    pub(crate) fn close_within(
        &mut self,
        name: &str,
        ours: &[f32],
        golden: &[f32],
        tolerance: f32,
    ) {
        self.compare(name, ours, golden, 1.0, tolerance);
    }

    /// A tolerance of the CPU's, on a GPU `factor` times as wide; where matrices are multiplied in f16 as wide as all is.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn widened(&self, tolerance: f32, factor: f32) -> f32 {
        match self.tolerance {
            exact if exact <= crate::device::CPU_TOLERANCE => tolerance,
            coarse if coarse >= F16_TOLERANCE => coarse.max(tolerance),
            _ => factor * tolerance,
        }
    }

    /// The same for a gradient. It is compared as a share of its own tensor's largest number, which becomes small where
    /// little is left to learn; what f16 loses in the forward does not.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn widened_gradient(&self, tolerance: f32, factor: f32) -> f32 {
        /// Times the tolerance of f16: the largest found is 15 times.
        const F16_GRADIENTS: f32 = 20.0;
        match self.tolerance >= F16_TOLERANCE {
            true => F16_GRADIENTS * self.tolerance,
            false => self.widened(tolerance, factor),
        }
    }

    /// Compares exactly.
    pub(crate) fn equal<T: PartialEq + std::fmt::Debug + ?Sized>(
        &mut self,
        name: &str,
        ours: &T,
        golden: &T,
    ) {
        if ours == golden {
            self.lines.push(Line {
                name: name.into(),
                error: 0.0,
                allowed: 0.0,
            });
        } else {
            let short = |value: &T| format!("{value:?}").chars().take(200).collect::<String>();
            self.failures.push(format!(
                "{name}: ours {} is not {}",
                short(ours),
                short(golden)
            ));
        }
    }

    /// Something a reader should know, for example a sub-case that this golden set lacks.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// A failure that is no number.
    pub fn fail(&mut self, failure: impl Into<String>) {
        self.failures.push(failure.into());
    }

    fn compare(&mut self, name: &str, ours: &[f32], golden: &[f32], scale: f32, allowed: f32) {
        if ours.len() != golden.len() {
            self.failures.push(format!(
                "{name}: {} values, the golden has {}",
                ours.len(),
                golden.len()
            ));
            return;
        }
        // NaN on our side must count as the worst error, and `max` would drop it.
        let error = ours.iter().zip(golden).fold(0.0f32, |worst, (a, b)| {
            let error = (a - b).abs() / scale;
            if error.is_nan() {
                f32::INFINITY
            } else {
                worst.max(error)
            }
        });
        if error > allowed {
            self.failures
                .push(format!("{name}: error {error:.2e} is above {allowed:.0e}"));
        }
        self.lines.push(Line {
            name: name.into(),
            error,
            allowed,
        });
    }

    /// True when something was compared and nothing failed.
    pub fn passed(&self) -> bool {
        self.failures.is_empty() && !self.lines.is_empty()
    }

    /// The error of every comparison, a line each.
    pub fn details(&self) -> String {
        let lines = self.lines.iter();
        lines
            .map(|line| format!("       {:<48} {:.2e}\n", line.name, line.error))
            .collect()
    }
}

impl fmt::Display for Report {
    /// The case's line with the worst tensor, then failures and notes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let worst = self
            .lines
            .iter()
            .filter(|line| line.allowed > 0.0)
            .max_by(|a, b| (a.error / a.allowed).total_cmp(&(b.error / b.allowed)));
        let verdict = if self.passed() { "ok" } else { "FAILED" };
        let worst = worst.map_or_else(
            || "all exact".to_owned(),
            |line| {
                format!(
                    "worst {} {:.1e} (allowed {:.0e})",
                    line.name, line.error, line.allowed
                )
            },
        );
        let (case, device, count) = (&self.case, self.device, self.lines.len());
        writeln!(
            f,
            "{verdict:6} {case} on {device}: {count} comparisons, {worst}"
        )?;
        for failure in &self.failures {
            writeln!(f, "       {failure}")?;
        }
        for note in &self.notes {
            writeln!(f, "       note: {note}")?;
        }
        Ok(())
    }
}
