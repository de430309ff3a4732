//! The parity harness: our numbers against the reference implementation's, case by case.
//!
//! Discovers case folders under `X2I_GOLDENS` (default: `tests/goldens`), runs the code that
//! knows a case's kind on every device, and reports the worst error of each tensor. A folder
//! that no code knows is listed as skipped, by name. Arguments filter cases by substring;
//! `--verbose` prints every tensor.

mod case;
mod cases;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;

use case::{Case, DeviceUnderTest};
use report::Report;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let verbose = arguments.iter().any(|argument| argument == "--verbose");
    let filters: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let root = std::env::var_os("X2I_GOLDENS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("goldens"),
        PathBuf::from,
    );
    let mut names: Vec<String> = match std::fs::read_dir(&root) {
        Ok(entries) => entries
            .filter_map(|entry| entry.ok())
            .filter(|entry| entry.path().join("golden.safetensors").is_file())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect(),
        Err(error) => {
            eprintln!("error: {}: {error}", root.display());
            return ExitCode::FAILURE;
        }
    };
    names.sort();
    names.retain(|name| {
        filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()))
    });
    println!("goldens: {}", root.display());

    let devices = DeviceUnderTest::all();
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for device in &devices {
        let DeviceUnderTest::Present { label, .. } = device else {
            println!("SKIPPED device wgpu: no adapter found (Debian: mesa-vulkan-drivers)");
            skipped += 1;
            continue;
        };
        for name in &names {
            let Some(run) = cases::for_folder(name) else {
                if *label == "cpu" {
                    println!("SKIPPED {name}: no code for this case yet");
                    skipped += 1;
                }
                continue;
            };
            let mut report = Report::new(device, verbose);
            let outcome =
                Case::open(root.join(name), device).and_then(|case| run(&case, &mut report));
            if let Err(error) = outcome {
                report.fail(format!("{error}"));
            }
            if report.print(name) {
                passed += 1
            } else {
                failed += 1
            }
        }
    }
    if passed + failed == 0 {
        println!("no case ran");
        failed += 1;
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
