//! What multiplies a tile.

use bytemuck::Pod;

/// Input rows of a group, the lanes of a vector.
pub const LANES: usize = 16;

/// Weight rows of a tile in vectors of 512 bits. With two groups they are 24 sums: enough to hide the latency of an
/// addition, and they leave registers for the inputs.
pub(super) const WIDE_ROWS: usize = 12;

/// The same in vectors of 256 bits, with one group.
pub(super) const NARROW_ROWS: usize = 6;

/// A number or a pair of each input row of a group.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub struct Lanes<T>(
    /// The numbers, one of each row.
    pub [T; LANES],
);

impl<T> AsMut<[T]> for Lanes<T> {
    fn as_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

/// A vector unit or a matrix unit of this machine.
pub trait Unit: Copy + Send + Sync {
    /// What it multiplies at once along a row: an f32, or two bf16.
    type Step: Pod + Send + Sync;
    /// It on a thread that is ready for it.
    type Ready;
    /// Numbers of a step.
    const NUMBERS: usize;
    /// Weight rows of a tile.
    const ROWS: usize;
    /// Rows and inputs are filled up with zeros to a multiple of so many steps.
    const DEPTH: usize;

    /// Rounds an input row. Whole steps are filled up with zeros.
    fn round(self, x: &[f32], out: &mut [Self::Step]);

    /// Readies this thread.
    fn begin(self) -> Self::Ready;

    /// Adds the products of [`ROWS`](Self::ROWS) weight rows, which lie `stride` steps apart, with `V` groups (one or
    /// two) of inputs to `sums`, as long as the inputs.
    fn add<const V: usize>(
        ready: &Self::Ready,
        weights: &[Self::Step],
        stride: usize,
        inputs: [&[Lanes<Self::Step>]; V],
        sums: [&mut [Lanes<f32>]; V],
    );
}
