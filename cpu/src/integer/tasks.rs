//! How a product is cut into tasks, and its results are written.

use super::rounding::COLUMNS;

/// Weights unpacked at a time: 2 MB of words.
pub(super) const STRIPE: usize = 1 << 20;

/// Most input rows of a task. Each task reads all panels of a stripe.
const MAX_TASK_ROWS: usize = 128;

/// Input rows of a task: each thread gets as many tasks as the others.
pub(super) fn share_of_rows(m: usize) -> usize {
    share(m, rayon::current_num_threads())
}

fn share(m: usize, threads: usize) -> usize {
    let each = m.div_ceil(threads * MAX_TASK_ROWS).max(1);
    m.div_ceil(threads * each)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_small_and_as_many_for_each_thread() {
        for threads in 1..=8 {
            for m in [1, 5, 64, 128, 129, 320, 768, 4096] {
                let share = share(m, threads);
                assert!((1..=MAX_TASK_ROWS).contains(&share), "{m} rows");
                let tasks = m.div_ceil(share);
                let most = tasks.div_ceil(threads) * share;
                // Beyond an equal share, rounding adds a row to each task.
                assert!(
                    most <= m.div_ceil(threads) + tasks,
                    "{m} rows, {threads} threads: {most}"
                );
            }
        }
        assert_eq!(
            [share(320, 2), share(512, 2), share(320, 1)],
            [80, 128, 107]
        );
    }
}
