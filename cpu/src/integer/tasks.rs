//! How a product is cut into tasks, and its results are written.

use super::rounding::COLUMNS;

/// Weights unpacked at a time: 2 MB of words.
pub(super) const STRIPE: usize = 1 << 20;

/// Most input rows of a task. Each task reads all panels of a stripe.
const MAX_TASK_ROWS: usize = 128;

/// Input rows of a task: each thread has one at least.
pub(super) fn share_of_rows(m: usize) -> usize {
    m.div_ceil(rayon::current_num_threads()).min(MAX_TASK_ROWS)
}

/// Writes the sums of a row to some columns, with their bias.
pub(super) fn write(out: &mut [f32], sums: &[f32; COLUMNS], bias: Option<&[f32]>) {
    // Each output is written once and never read: it is in no cache yet.
    match bias {
        Some(bias) => {
            for ((out, sum), bias) in out.iter_mut().zip(sums).zip(bias) {
                *out = sum + bias;
            }
        }
        None => out.copy_from_slice(&sums[..out.len()]),
    }
}
