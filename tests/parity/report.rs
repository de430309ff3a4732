//! Collects errors of one case on one device and says which tensor is worst.

use crate::case::DeviceUnderTest;

/// Largest error on the CPU in f32, as a share of the golden tensor's largest value.
const CPU_TOLERANCE: f32 = 1e-4;
/// The same on a GPU, whose `exp`, `sin` and summation order differ.
const WGPU_TOLERANCE: f32 = 1e-3;

struct Line {
    name: String,
    error: f32,
    allowed: f32,
}

/// Results of one case on one device.
pub struct Report {
    device: &'static str,
    tolerance: f32,
    verbose: bool,
    lines: Vec<Line>,
    failures: Vec<String>,
    notes: Vec<String>,
}

impl Report {
    pub fn new(device: &DeviceUnderTest, verbose: bool) -> Self {
        let (device, tolerance) = match device {
            DeviceUnderTest::Present { label: "cpu", .. } => ("cpu", CPU_TOLERANCE),
            _ => ("wgpu", WGPU_TOLERANCE),
        };
        Self {
            device,
            tolerance,
            verbose,
            lines: vec![],
            failures: vec![],
            notes: vec![],
        }
    }

    /// Compares within the device's tolerance, relative to the largest golden value.
    pub fn close(&mut self, name: &str, ours: &[f32], golden: &[f32]) {
        let largest = golden
            .iter()
            .fold(0.0f32, |largest, value| largest.max(value.abs()));
        self.compare(
            name,
            ours,
            golden,
            if largest > 0.0 { largest } else { 1.0 },
            self.tolerance,
        );
    }

    /// Compares within an absolute tolerance.
    pub fn close_within(&mut self, name: &str, ours: &[f32], golden: &[f32], tolerance: f32) {
        self.compare(name, ours, golden, 1.0, tolerance);
    }

    /// Compares exactly.
    pub fn equal<T: PartialEq + std::fmt::Debug + ?Sized>(
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
    pub fn note(&mut self, note: impl Into<String>) {
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

    /// Prints the case's line (and all tensors when asked); true when it passed.
    pub fn print(&self, case: &str) -> bool {
        let worst = self
            .lines
            .iter()
            .filter(|line| line.allowed > 0.0)
            .max_by(|a, b| (a.error / a.allowed).total_cmp(&(b.error / b.allowed)));
        let passed = self.failures.is_empty() && !self.lines.is_empty();
        let verdict = if passed { "ok" } else { "FAILED" };
        let worst = worst.map_or_else(
            || "all exact".to_owned(),
            |line| {
                format!(
                    "worst {} {:.1e} (allowed {:.0e})",
                    line.name, line.error, line.allowed
                )
            },
        );
        println!(
            "{verdict:6} {case} on {}: {} comparisons, {worst}",
            self.device,
            self.lines.len()
        );
        for failure in &self.failures {
            println!("       {failure}");
        }
        for note in &self.notes {
            println!("       note: {note}");
        }
        if self.verbose {
            for line in &self.lines {
                println!("       {:<48} {:.2e}", line.name, line.error);
            }
        }
        passed
    }
}
