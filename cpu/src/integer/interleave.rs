//! Interleaves rows of whole numbers into columns of pairs or quads, in the order of the inner loop.

use bytemuck::Pod;

use super::rounding::ROWS;

// The first number of a pair or quad must be its low bits.
const _: () = assert!(cfg!(target_endian = "little"));

/// Writes rows of `N` bytes or words, read as `STEPS` numbers of 32 bits, to the columns from `first` on.
#[inline(always)]
pub(super) fn interleave<T: Pod, const N: usize, const STEPS: usize, const W: usize>(
    rows: &[[T; N]; ROWS],
    first: usize,
    out: &mut [[i32; W]; STEPS],
) where
    [T; N]: Pod,
    [i32; STEPS]: Pod,
{
    let [a, b, c, d] = rows
        .each_ref()
        .map(|row| bytemuck::cast::<[T; N], [i32; STEPS]>(*row));
    // As many steps as rows at a time: the square is transposed in registers.
    for at in (0..STEPS).step_by(ROWS) {
        for i in at..at + ROWS {
            out[i][first..][..ROWS].copy_from_slice(&[a[i], b[i], c[i], d[i]]);
        }
    }
}

/// The same with two steps of a row side by side: `[STEPS / 2, W, 2]` in the place of `[STEPS, W]`.
#[inline(always)]
pub(super) fn interleave_pairs<T: Pod, const N: usize, const STEPS: usize, const W: usize>(
    rows: &[[T; N]; ROWS],
    first: usize,
    out: &mut [[i32; W]; STEPS],
) where
    [T; N]: Pod,
    [i32; STEPS]: Pod,
{
    for (row, numbers) in rows.iter().enumerate() {
        let steps = bytemuck::cast::<[T; N], [i32; STEPS]>(*numbers);
        let pairs = out.as_flattened_mut().chunks_exact_mut(2 * W);
        for (pairs, steps) in pairs.zip(steps.as_chunks::<2>().0) {
            pairs[2 * (first + row)..][..2].copy_from_slice(steps);
        }
    }
}
