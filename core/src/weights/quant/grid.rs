//! The code books of ggml's IQ types: which magnitudes 8 (or 4) numbers have together.
//!
//! `grids.bin` is made from gguf-py's tables by `tests/reference/make_iq_vectors.py`. An entry is a
//! little-endian u16 with an index of 2 bits (of 8 numbers) or 3 bits (of 4 numbers) for each number,
//! the first one lowest. Entries of the types follow each other in the order of the constants here.

static GRIDS: &[u8; 9216] = include_bytes!("grids.bin");

/// The entries of one type, and what their indexes stand for.
pub(super) struct Grid<const VALUES: usize> {
    /// The first entry in the file, in bytes.
    start: usize,
    values: [f32; VALUES],
}

/// 8, 25 and 43: the magnitudes of the types of two bits. The fourth is never used.
const TWO_BITS: [f32; 4] = [8.0, 25.0, 43.0, 0.0];

/// 256 entries.
pub(super) const IQ2_XXS: Grid<4> = Grid {
    start: 0,
    values: TWO_BITS,
};
/// 512 entries.
pub(super) const IQ2_XS: Grid<4> = Grid {
    start: 512,
    values: TWO_BITS,
};
/// 1024 entries.
pub(super) const IQ2_S: Grid<4> = Grid {
    start: 1536,
    values: TWO_BITS,
};
/// 256 entries.
pub(super) const IQ3_XXS: Grid<8> = Grid {
    start: 3584,
    values: [4.0, 12.0, 20.0, 28.0, 36.0, 44.0, 52.0, 62.0],
};
/// 512 entries.
pub(super) const IQ3_S: Grid<8> = Grid {
    start: 4096,
    values: [1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0],
};
/// 2048 entries.
pub(super) const IQ1: Grid<4> = Grid {
    start: 5120,
    values: [-1.0, 0.0, 1.0, 0.0],
};

impl<const VALUES: usize> Grid<VALUES> {
    /// The magnitudes of an entry: 8 numbers where there are four indexes, else 4.
    pub(super) fn entry<const N: usize>(&self, index: usize) -> [f32; N] {
        let bits = VALUES.trailing_zeros() as usize;
        let at = self.start + 2 * index;
        let packed = usize::from(u16::from_le_bytes([GRIDS[at], GRIDS[at + 1]]));
        std::array::from_fn(|number| self.values[(packed >> (bits * number)) % VALUES])
    }
}

/// Eight signs from seven: an even number of them is negative.
pub(super) fn even_signs(seven: u32) -> u8 {
    let seven = (seven & 0x7f) as u8;
    seven | ((seven.count_ones() as u8 & 1) << 7)
}

/// -1 where the bit is set.
pub(super) fn sign(signs: u8, bit: usize) -> f32 {
    match (signs >> bit) & 1 {
        0 => 1.0,
        _ => -1.0,
    }
}
