//! A group of 32 weights, and how its parts are read from a block's bytes.

use half::f16;

/// Weights in a group, along the input dimension.
pub const GROUP: usize = 32;

/// 32 weights: `scale * quant + offset`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Group<Q = i16> {
    /// Whole numbers.
    pub quants: [Q; GROUP],
    /// What a quant is multiplied with.
    pub scale: f32,
    /// What is added to it then.
    pub offset: f32,
}

impl<Q: Quant> Group<Q> {
    /// An empty group, which unpacking fills.
    pub const ZERO: Self = Self {
        quants: [Q::ZERO; GROUP],
        scale: 0.0,
        offset: 0.0,
    };
}

/// The type of the quants that a kernel multiplies.
pub trait Quant: Copy + Send + Sync {
    /// 0.
    const ZERO: Self;

    /// From a stored quant. A signed type subtracts the format's zero point.
    fn of_stored(stored: u8, zero: u8) -> Self;

    /// From a quant of Q6_K, which needs 16 bits.
    fn of_word(word: i16) -> Self;
}

/// Signed: `scale * quant + offset` is the weight.
impl Quant for i16 {
    const ZERO: Self = 0;

    #[inline(always)]
    fn of_stored(stored: u8, zero: u8) -> Self {
        i16::from(stored) - i16::from(zero)
    }

    #[inline(always)]
    fn of_word(word: i16) -> Self {
        word
    }
}

/// Unsigned, as stored: too large by the format's zero point. Not for Q6_K.
impl Quant for u8 {
    const ZERO: Self = 0;

    #[inline(always)]
    fn of_stored(stored: u8, _: u8) -> Self {
        stored
    }

    #[inline(always)]
    fn of_word(word: i16) -> Self {
        word as u8
    }
}

/// The `N` bytes from `at` on.
#[inline(always)]
pub fn part<const N: usize>(bytes: &[u8], at: usize) -> &[u8; N] {
    bytes[at..]
        .first_chunk()
        .expect("a block is longer than its part")
}

/// The f16 in two of a block's bytes.
#[inline(always)]
pub fn half(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// 32 quants: the low nibbles are the first 16, the high nibbles the last 16.
#[inline(always)]
pub fn nibbles(bytes: &[u8; 16]) -> [u8; GROUP] {
    let mut quants = [0; GROUP];
    let (low, high) = quants.split_at_mut(GROUP / 2);
    for ((low, high), &pair) in low.iter_mut().zip(high).zip(bytes) {
        *low = pair & 15;
        *high = pair >> 4;
    }
    quants
}

#[inline(always)]
pub(super) fn group<Q: Quant>(stored: [u8; GROUP], zero: u8, scale: f32, offset: f32) -> Group<Q> {
    let mut quants = [Q::ZERO; GROUP];
    for (quant, stored) in quants.iter_mut().zip(stored) {
        *quant = Q::of_stored(stored, zero);
    }
    Group {
        quants,
        scale,
        offset,
    }
}

/// A group whose first and last 16 quants are multiplied by a factor each.
#[inline(always)]
pub(super) fn halves<Q: Quant>(
    (mut quants, factors): ([i16; GROUP], [i8; 2]),
    scale: f32,
) -> Group<Q> {
    for (quants, factor) in quants.as_chunks_mut::<16>().0.iter_mut().zip(factors) {
        for quant in quants {
            *quant *= i16::from(factor);
        }
    }
    Group {
        quants: quants.map(Q::of_word),
        scale,
        offset: 0.0,
    }
}
