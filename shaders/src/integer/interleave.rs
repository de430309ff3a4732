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
