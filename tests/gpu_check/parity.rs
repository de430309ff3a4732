//! `check-parity`: the golden cases of a folder on one device.

use std::path::Path;
use std::time::Instant;

use serde_json::json;
use x2i_engine::device::{DeviceChoice, DeviceKind, Precision, acquire_with};
use x2i_parity::{Goldens, TestDevice};
use x2i_tests::golden_files::GoldenFolder;

use crate::kernels::say;

/// Runs all cases under `folder`; returns whether none failed.
///
/// # Errors
/// When the device can't be opened, or there is no such folder.
pub fn run(choice: DeviceChoice, precision: Precision, folder: &Path) -> Result<bool, String> {
    let opened = acquire_with(choice, precision).map_err(|error| error.to_string())?;
    let (source, paths) = GoldenFolder::chosen(folder).map_err(|error| error.to_string())?;
    let goldens = Goldens {
        source: &source,
        paths: &paths,
    };
    let cases = goldens.cases();
    say(&json!({
        "device": opened.entry.to_string(),
        "precision": opened.precision.to_string(),
        "tests": cases.len(),
        "warning": opened.warning,
    }));
    let device = match (opened.entry.kind, opened.precision) {
        (DeviceKind::Cpu, _) => TestDevice::cpu("cpu", opened.device),
        (_, Precision::F32 | Precision::Auto) => TestDevice::gpu("gpu", opened.device),
        (_, Precision::F16) => TestDevice::gpu_f16("gpu, f16", opened.device),
        (_, Precision::Bf16) => TestDevice::gpu_bf16("gpu, bf16", opened.device),
    };
    let mut passed = !cases.is_empty();
    for name in cases {
        let began = Instant::now();
        let Some(report) = pollster::block_on(goldens.run(name, &device)) else {
            continue;
        };
        passed &= report.passed();
        say(&json!({
            "test": name,
            "passed": report.passed(),
            "seconds": began.elapsed().as_secs_f64(),
            "report": report.to_string(),
        }));
    }
    Ok(passed)
}
