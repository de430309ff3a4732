//! The check of a model that everything shares which loads it, converts it or tells about it.

use burn::tensor::Device;
use x2i_core::model::read_config;
use x2i_core::{Error, check as check_headers, check_values};

use super::files::ModelFiles;
use super::hashes::{Verify, verify as verify_hashes};

/// Everything that keeps a model from being loaded and painted with; empty when nothing is known to.
/// Reads headers, configs and the tokenizer, and hashes files that are new; with [`Verify::Always`], it
/// hashes all files and reads every number.
pub fn check(files: &ModelFiles, verify: Verify) -> Vec<Error> {
    // Nothing is computed: any device will do.
    let device = Device::flex();
    let mut problems = pollster::block_on(check_headers(files, &device));
    if let Ok(config) = pollster::block_on(read_config(files)) {
        problems.extend(verify_hashes(files, &config, verify).err());
    }
    if problems.is_empty() && verify == Verify::Always {
        problems = pollster::block_on(check_values(files, &device));
    }
    problems
}
