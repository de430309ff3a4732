//! The blocks of a file, and how they come from memory.

use crate::formats::{BlockType, GROUP};

/// Rows of blocks in memory.
#[derive(Clone, Copy)]
pub struct Weights<'a> {
    /// `[rows, bytes of a row]`
    pub bytes: &'a [u8],
    /// Their format.
    pub block_type: BlockType,
    /// Weights of a row.
    pub cols: usize,
}

impl<'a> Weights<'a> {
    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.bytes.len() / self.row_bytes()
    }

    /// Weights of a row.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Groups along a row.
    pub(super) fn groups(&self) -> usize {
        self.cols / GROUP
    }

    /// The blocks of a row.
    #[inline(always)]
    pub fn row(&self, row: usize) -> &'a [u8] {
        &self.bytes[row * self.row_bytes()..][..self.row_bytes()]
    }

    fn row_bytes(&self) -> usize {
        self.cols / self.block_type.len() * self.block_type.bytes()
    }
}

/// Prefetches the cache line at `place`, which may be any address. The next rows lie in other pages of
/// memory, which the hardware does not prefetch: with q8_0 a tenth of the time was spent waiting for them.
#[inline(always)]
pub(super) fn prefetch(place: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint. It reads nothing, and a bad address has no effect.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(place.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}
