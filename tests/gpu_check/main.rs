//! x2i, and two commands more: `check-kernels` runs the kernels' tests on a device, `check-parity` the goldens.
//!
//!     x2i-gpu-check check-kernels DEVICE
//!     x2i-gpu-check check-parity DEVICE PRECISION FOLDER
//!
//! Every test program links all of burn, so that one of 90 MB stands for all on a machine that a bundle is carried to.
//! Both commands print a line of JSON for each test as soon as it has ended, so that a run which is cut keeps what it
//! found. Not here: what is run on such a machine, and for how long (`scripts/gpu_check/run.py`).

mod devices;
mod kernels;
mod parity;

use std::process::ExitCode;

use x2i_engine::device::{DeviceChoice, Precision};

const USAGE: &str = "x2i-gpu-check check-kernels DEVICE | check-parity DEVICE PRECISION FOLDER";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        ["check-kernels", device] => {
            chosen(device, "f32").and_then(|(device, precision)| kernels::run(device, precision))
        }
        ["check-parity", device, precision, folder] => chosen(device, precision)
            .and_then(|(device, precision)| parity::run(device, precision, folder.as_ref())),
        ["check-kernels" | "check-parity", ..] => Err(format!("usage: {USAGE}")),
        _ => return x2i::program::main(),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The words of the command line as values.
fn chosen(device: &str, precision: &str) -> Result<(DeviceChoice, Precision), String> {
    let choice = device.parse();
    let choice = choice.map_err(|error| format!("DEVICE: {error}"))?;
    let precision = precision.parse();
    Ok((
        choice,
        precision.map_err(|error| format!("PRECISION: {error}"))?,
    ))
}
