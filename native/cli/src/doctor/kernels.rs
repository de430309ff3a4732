//! Which kernels a GPU runs, and whether they are right there: `x2i doctor --kernels`. Those of the processor are in
//! `processor`.

use serde_json::{Value, json};
use x2i_core::{KernelCheck, Result};
use x2i_engine::device::{self, DeviceEntry, DeviceKind, Precision};

use crate::terminal::table::row;

/// Every operation on one device in one precision.
#[derive(Debug)]
pub(super) struct Tried {
    precision: Precision,
    outcome: Result<Vec<KernelCheck>>,
}

/// Tries the kernels of every precision that a GPU has; nothing for the CPU, which they are compared with.
pub(super) fn on(entry: &DeviceEntry) -> Vec<Tried> {
    let matrices = entry
        .gpu
        .as_ref()
        .is_some_and(|gpu| gpu.matrix_side.is_some());
    let precisions = match (entry.kind, matrices) {
        (DeviceKind::Cpu, _) => &[][..],
        (DeviceKind::Cuda, _) => &[Precision::F32, Precision::F16, Precision::Bf16],
        (_, false) => &[Precision::F32],
        (_, true) => &[Precision::F32, Precision::F16],
    };
    let tried = precisions.iter().map(|&precision| Tried {
        precision,
        outcome: device::check(entry, precision),
    });
    tried.collect()
}

impl Tried {
    /// Operations with wrong results; 1 for a device that can't be opened.
    pub(super) fn problems(&self) -> usize {
        match &self.outcome {
            Ok(checks) => checks.iter().filter(|check| !check.agrees()).count(),
            Err(_) => 1,
        }
    }

    /// Rows of a table, under a line that names the precision.
    pub(super) fn rows(&self) -> Vec<Vec<String>> {
        let head = format!("kernels, {}", self.precision);
        match &self.outcome {
            Err(error) => vec![row([&head, &error.to_string()])],
            Ok(checks) => {
                let checks = checks.iter().map(|check| {
                    let off = match check.agrees() {
                        true => format!("off by {:.0e}", check.error),
                        false => format!("WRONG, off by {:.0e}", check.error),
                    };
                    row([&format!("  {}", check.operation), &shaders(check), &off])
                });
                std::iter::once(row([&head])).chain(checks).collect()
            }
        }
    }

    pub(super) fn json(&self) -> Value {
        let precision = self.precision.to_string();
        match &self.outcome {
            Err(error) => json!({"precision": precision, "error": error.to_string()}),
            Ok(checks) => {
                let checks = checks.iter().map(|check| {
                    json!({
                        "operation": check.operation,
                        "shaders": check.shaders,
                        "error": check.error.is_finite().then_some(check.error),
                        "agrees": check.agrees(),
                    })
                });
                json!({"precision": precision, "checks": checks.collect::<Vec<_>>()})
            }
        }
    }
}

/// The shaders that ran, or that they are burn's.
fn shaders(check: &KernelCheck) -> String {
    match check.shaders.is_empty() {
        true => "burn's".to_owned(),
        false => check.shaders.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_kernel_is_counted_and_shouted() {
        let check = |operation, error| KernelCheck {
            operation,
            shaders: vec!["qmatmul"],
            error,
            tolerance: 1e-3,
        };
        let tried = Tried {
            precision: Precision::F32,
            outcome: Ok(vec![
                check("product", 1e-7),
                check("attention", f32::INFINITY),
            ]),
        };
        assert_eq!(tried.problems(), 1);
        let rows = tried.rows();
        assert_eq!(rows[1], ["  product", "qmatmul", "off by 1e-7"]);
        assert_eq!(rows[2], ["  attention", "qmatmul", "WRONG, off by inf"]);
        assert_eq!(tried.json()["checks"][1]["error"], Value::Null);
    }
}
