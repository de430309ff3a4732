//! The parity cases natively: on the CPU, and on the first wgpu adapter even if it is software.
//!
//! Golden folders are those under `X2I_GOLDENS`; by default those under `tests/goldens`, and beside
//! the repository, in `../shared/goldens`, the larger ones that it does not hold. A folder that no
//! code knows is listed as skipped, by name. `X2I_SPLIT` names another device, which then gets the second
//! half of every transformer's blocks: `cpu`, or `wgpu:0`, which is opened a second time. Arguments filter cases by substring; `--verbose` prints every
//! tensor.

use std::path::PathBuf;
use std::process::ExitCode;

use burn::tensor::Device;
use x2i_engine::device::{DeviceChoice, Precision, acquire};
use x2i_parity::{Goldens, TestDevice};
use x2i_tests::golden_files::{GoldenFolder, own_goldens};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let verbose = arguments.iter().any(|argument| argument == "--verbose");
    let filters: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let chosen = std::env::var_os("X2I_GOLDENS").map(PathBuf::from);
    let root = chosen.clone().unwrap_or_else(own_goldens);
    let opened = match chosen {
        Some(root) => GoldenFolder::chosen(&root),
        None => GoldenFolder::own(),
    };
    let (source, paths) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            eprintln!("error: {}: {error}", root.display());
            return ExitCode::FAILURE;
        }
    };
    let goldens = Goldens {
        source: &source,
        paths: &paths,
    };
    let mut names = goldens.cases();
    names.retain(|name| {
        filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()))
    });
    println!("goldens: {}", root.display());

    let second = match second_device() {
        Ok(second) => second,
        Err(reason) => {
            eprintln!("error: X2I_SPLIT: {reason}");
            return ExitCode::FAILURE;
        }
    };
    let devices = [
        Some(TestDevice::cpu("cpu", Device::flex())),
        acquire(DeviceChoice::Wgpu(None))
            .ok()
            .map(|opened| match opened.precision {
                Precision::F16 => TestDevice::gpu_f16("wgpu f16", opened.device),
                Precision::Bf16 => TestDevice::gpu_bf16("wgpu bf16", opened.device),
                Precision::Auto | Precision::F32 => TestDevice::gpu("wgpu", opened.device),
            }),
    ];
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for device in devices {
        let split = |device: TestDevice| device.split_with(second.clone());
        let Some(device) = &device.map(split) else {
            println!("SKIPPED device wgpu: no adapter found (Debian: mesa-vulkan-drivers)");
            skipped += 1;
            continue;
        };
        for name in &names {
            match pollster::block_on(goldens.run(name, device)) {
                Some(report) => {
                    print!("{report}");
                    if verbose {
                        print!("{}", report.details());
                    }
                    match report.passed() {
                        true => passed += 1,
                        false => failed += 1,
                    }
                }
                None if device.label == "cpu" => {
                    println!("SKIPPED {name}: no code for this case yet");
                    skipped += 1;
                }
                None => {}
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

/// The device that `X2I_SPLIT` names.
fn second_device() -> std::result::Result<Option<Device>, String> {
    let Ok(name) = std::env::var("X2I_SPLIT") else {
        return Ok(None);
    };
    let opened = acquire(name.parse()?).map_err(|error| error.to_string())?;
    Ok(Some(opened.device))
}
