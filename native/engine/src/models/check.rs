//! The check of a model that everything shares which loads it, converts it or tells about it.

use burn::tensor::Device;
use x2i_core::model::read_config;
use x2i_core::{Error, check as check_headers};

use super::files::ModelFiles;
use super::hashes::{Comparison, Verify};
use super::meter::{Meter, OnChecked};
use super::numbers::Numbers;

/// Everything that keeps a model from being loaded and painted with; empty when nothing is known to.
/// Reads headers, configs and the tokenizer, hashes files that are new, and reads all numbers of those
/// that are new; with [`Verify::Always`] of all. [`Error::Cancelled`] alone when `on_checked` breaks.
pub fn check(files: &ModelFiles, verify: Verify, on_checked: &OnChecked) -> Vec<Error> {
    check_with(files, verify, true, on_checked)
}

/// As [`check`], without the numbers: for who reads all of them next.
pub fn check_files(files: &ModelFiles, verify: Verify, on_checked: &OnChecked) -> Vec<Error> {
    check_with(files, verify, false, on_checked)
}

fn check_with(
    files: &ModelFiles,
    verify: Verify,
    looks_at_numbers: bool,
    on_checked: &OnChecked,
) -> Vec<Error> {
    // Nothing is computed: any device will do.
    let mut problems = pollster::block_on(check_headers(files, &Device::flex()));
    let Ok(config) = pollster::block_on(read_config(files)) else {
        return problems;
    };
    let comparison = match Comparison::begin(files, &config, verify) {
        Ok(comparison) => comparison,
        Err(error) => {
            problems.push(error);
            return problems;
        }
    };
    let numbers = (looks_at_numbers && problems.is_empty())
        .then(|| Numbers::of(files, &config, verify))
        .transpose();
    let numbers = match numbers {
        Ok(numbers) => numbers,
        Err(error) => return vec![error],
    };
    let total = comparison.bytes() + numbers.as_ref().map_or(0, Numbers::bytes);
    let meter = Meter::new(total, on_checked);
    // Together: what the one reads from the disk, the other finds in memory.
    let (compared, found) = rayon::join(
        || comparison.run(&meter),
        || numbers.map_or_else(Vec::new, |numbers| numbers.problems(&meter)),
    );
    match compared {
        Err(Error::Cancelled) => vec![Error::Cancelled],
        // Another file than the recorded one: its numbers say no more.
        Err(error) => {
            problems.push(error);
            problems
        }
        Ok(()) if found.is_empty() => problems,
        Ok(()) => found,
    }
}
