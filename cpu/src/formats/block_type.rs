//! Block formats: their sizes, and how a block becomes whole numbers with scales and offsets.
//!
//! Source: the structs and `dequantize_row_*` of ggml (`ggml-common.h`, `ggml-quants.c`). Every format of
//! whole numbers is unpacked to groups of 32 weights, `scale * quant + offset`: a kernel knows no format. Those
//! that look their quants up are in [`tables`](super::tables), our own in [`scaled`](super::scaled). Left out:
//! floats ([`floats`](super::floats)), ggml's formats of less than 4 bits, which are repacked to our own, and
//! quantizing (`weights::quant` in x2i-core).

use super::group::{GROUP, Group, Quant, group, half, halves, nibbles, part};
use super::scaled::{INT4_ZERO, INT8_ZERO, int4, int4_zero, int8, int8_halves, int8_zero};
use super::tables::{FP4_ZERO, IQ4_ZERO, Table, iq4_nl, iq4_xs, mxfp4};

/// Groups in the largest block.
pub const MOST_GROUPS: usize = 8;

/// A format of blocks: ggml's, PyTorch's and bitsandbytes' by their names there, and our own for other
/// libraries' whole numbers. A block holds [`len`](Self::len) weights of a row in [`bytes`](Self::bytes) bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are ggml's own")]
pub enum BlockType {
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4K,
    Q5K,
    Q6K,
    IQ4NL,
    IQ4XS,
    MXFP4,
    /// 32 floats of 8 bits: 4 of exponent, 3 of mantissa, no infinities. Their scales are those of rows.
    F8E4M3,
    /// The same with 5 bits of exponent and 2 of mantissa: the upper byte of an f16.
    F8E5M2,
    /// 32 floats of 16 bits, as they are. The CPU has products of its own for them, without blocks.
    F16,
    /// The same for the upper halves of f32.
    BF16,
    /// bitsandbytes' NF4, 32 of a table of 16 floats: an f32 that they are multiplied with, then the nibbles in
    /// Q4_0's order.
    NF4,
    /// The same with the table of bitsandbytes' FP4.
    FP4,
    /// 32 numbers of 4 bits with an f32 scale and a zero point of 8.
    Int4,
    /// The same with a zero point of each block.
    Int4Zero,
    /// 32 numbers of 8 bits with an f32 scale and a zero point of 128.
    Int8,
    /// The same with a zero point of each block.
    Int8Zero,
    /// 32 signed numbers of 8 bits with an f32 scale, and a whole factor of it for each 16.
    Int8Halves,
}

impl BlockType {
    /// All formats.
    pub const ALL: [Self; 22] = [
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
        Self::IQ4NL,
        Self::IQ4XS,
        Self::MXFP4,
        Self::F8E4M3,
        Self::F8E5M2,
        Self::F16,
        Self::BF16,
        Self::NF4,
        Self::FP4,
        Self::Int4,
        Self::Int4Zero,
        Self::Int8,
        Self::Int8Zero,
        Self::Int8Halves,
    ];

    /// Weights in a block.
    #[allow(clippy::len_without_is_empty, reason = "no block is empty")]
    pub const fn len(self) -> usize {
        match self {
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => GROUP,
            Self::F8E4M3 | Self::F8E5M2 | Self::NF4 | Self::FP4 => GROUP,
            Self::F16 | Self::BF16 => GROUP,
            Self::IQ4NL | Self::MXFP4 => GROUP,
            Self::Int4 | Self::Int4Zero | Self::Int8 | Self::Int8Zero => GROUP,
            Self::Int8Halves => GROUP,
            Self::Q4K | Self::Q5K | Self::Q6K | Self::IQ4XS => 256,
        }
    }

    /// Bytes of a block.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
            Self::F8E4M3 | Self::F8E5M2 => 32,
            Self::F16 | Self::BF16 => 64,
            Self::NF4 | Self::FP4 => 20,
            Self::IQ4NL => 18,
            Self::IQ4XS => 136,
            Self::MXFP4 => 17,
            Self::Int4 => 20,
            Self::Int4Zero => 21,
            Self::Int8 => 36,
            Self::Int8Zero => 37,
            Self::Int8Halves => 38,
        }
    }

    /// Groups in a block.
    pub const fn groups(self) -> usize {
        self.len() / GROUP
    }

    /// True where the numbers are floats, which [`floats`](super::floats) widens: no whole quants.
    pub const fn is_float(self) -> bool {
        use BlockType::{BF16, F8E4M3, F8E5M2, F16, FP4, NF4};
        matches!(self, F8E4M3 | F8E5M2 | F16 | BF16 | NF4 | FP4)
    }

    /// The floats that four bits stand for, before their block's scale; `None` for other formats.
    pub fn float_table(self) -> Option<[f32; 16]> {
        match self {
            Self::NF4 => Some(Table::Nf4.values()),
            Self::FP4 => Some(Table::BnbFp4.values()),
            _ => None,
        }
    }

    /// True where the blocks hold no scale, and a row may have one.
    pub const fn has_row_scales(self) -> bool {
        matches!(self, Self::F8E4M3 | Self::F8E5M2 | Self::F16 | Self::BF16)
    }

    /// True where a group's offset may differ from 0.
    pub const fn has_offsets(self) -> bool {
        matches!(
            self,
            Self::Q4_1 | Self::Q5_1 | Self::Q4K | Self::Q5K | Self::Int4Zero | Self::Int8Zero
        )
    }

    /// The zero point: what a stored, unsigned quant is too large by.
    pub const fn zero(self) -> u8 {
        match self {
            Self::Q4_0 => 8,
            Self::Q5_0 => 16,
            Self::Q8_0 => 128,
            Self::Int4 => INT4_ZERO,
            Self::Int8 | Self::Int8Zero => INT8_ZERO,
            Self::IQ4NL | Self::IQ4XS => IQ4_ZERO,
            Self::MXFP4 => FP4_ZERO,
            Self::Q4_1 | Self::Q5_1 | Self::Q4K | Self::Q5K | Self::Q6K | Self::Int4Zero => 0,
            Self::F8E4M3 | Self::F8E5M2 | Self::NF4 | Self::FP4 | Self::Int8Halves => 0,
            Self::F16 | Self::BF16 => 0,
        }
    }

    /// The largest magnitude of a quant; 0 for floats.
    pub const fn largest_quant(self) -> i16 {
        match self {
            Self::Q4_0 | Self::Int4 => 8,
            Self::Q4_1 | Self::Q4K | Self::Int4Zero => 15,
            Self::Q5_0 => 16,
            Self::Q5_1 | Self::Q5K => 31,
            Self::Q8_0 | Self::Int8 | Self::Int8Zero => 128,
            Self::IQ4NL | Self::IQ4XS => 127,
            Self::MXFP4 => 12,
            Self::Q6K | Self::Int8Halves => 32 * 128, // their quants contain the scales of 16
            Self::F8E4M3 | Self::F8E5M2 | Self::F16 | Self::BF16 | Self::NF4 | Self::FP4 => 0,
        }
    }

    /// Unpacks one block of whole numbers into its [`groups`](Self::groups).
    ///
    /// # Panics
    /// When `block` or `groups` is shorter than a block.
    #[cfg_attr(not(target_family = "wasm"), inline(always))]
    #[cfg_attr(target_family = "wasm", inline(never))]
    pub fn unpack<Q: Quant>(self, block: &[u8], groups: &mut [Group<Q>]) {
        // Functions are called by name: passed as values, they would not be compiled for the caller's vector
        // unit.
        match self {
            Self::Q4_0 => groups[0] = q4_0(part(block, 0)),
            Self::Q4_1 => groups[0] = q4_1(part(block, 0)),
            Self::Q5_0 => groups[0] = q5_0(part(block, 0)),
            Self::Q5_1 => groups[0] = q5_1(part(block, 0)),
            Self::Q8_0 => groups[0] = q8_0(part(block, 0)),
            Self::Q4K => q4_k(part(block, 0), groups),
            Self::Q5K => q5_k(part(block, 0), groups),
            Self::Q6K => q6_k(part(block, 0), groups),
            Self::F8E4M3 | Self::F8E5M2 | Self::F16 | Self::BF16 | Self::NF4 | Self::FP4 => {
                debug_assert!(false, "floats have no quants");
            }
            Self::IQ4NL => groups[0] = iq4_nl(part(block, 0)),
            Self::IQ4XS => iq4_xs(part(block, 0), groups),
            Self::MXFP4 => groups[0] = mxfp4(part(block, 0)),
            Self::Int4 => groups[0] = int4(part(block, 0)),
            Self::Int4Zero => groups[0] = int4_zero(part(block, 0)),
            Self::Int8 => groups[0] = int8(part(block, 0)),
            Self::Int8Zero => groups[0] = int8_zero(part(block, 0)),
            Self::Int8Halves => groups[0] = int8_halves(part(block, 0)),
        }
    }
}

/// Adds the fifth bits of 32 quants.
#[inline(always)]
fn fifth_bits(bytes: &[u8; 4], mut quants: [u8; GROUP]) -> [u8; GROUP] {
    let bits = u32::from_le_bytes(*bytes);
    for (i, quant) in quants.iter_mut().enumerate() {
        *quant |= ((bits >> i & 1) << 4) as u8;
    }
    quants
}

#[inline(always)]
fn q4_0<Q: Quant>(block: &[u8; 18]) -> Group<Q> {
    let zero = BlockType::Q4_0.zero();
    group(nibbles(part(block, 2)), zero, half(block, 0), 0.0)
}

#[inline(always)]
fn q4_1<Q: Quant>(block: &[u8; 20]) -> Group<Q> {
    group(nibbles(part(block, 4)), 0, half(block, 0), half(block, 2))
}

#[inline(always)]
fn q5_0<Q: Quant>(block: &[u8; 22]) -> Group<Q> {
    let stored = fifth_bits(part(block, 2), nibbles(part(block, 6)));
    group(stored, BlockType::Q5_0.zero(), half(block, 0), 0.0)
}

#[inline(always)]
fn q5_1<Q: Quant>(block: &[u8; 24]) -> Group<Q> {
    let stored = fifth_bits(part(block, 4), nibbles(part(block, 8)));
    group(stored, 0, half(block, 0), half(block, 2))
}

#[inline(always)]
fn q8_0<Q: Quant>(block: &[u8; 34]) -> Group<Q> {
    // Stored quants are signed. Flipping the sign bit adds 128.
    let zero = BlockType::Q8_0.zero();
    let mut stored = *part::<GROUP>(block, 2);
    for byte in &mut stored {
        *byte ^= zero;
    }
    group(stored, zero, half(block, 0), 0.0)
}

/// Scale and minimum of one of the 8 groups of a K block, six bits each: ggml's `get_scale_min_k4`.
#[inline(always)]
fn scale_and_minimum(packed: &[u8; 12], group: usize) -> (f32, f32) {
    let (scale, minimum) = if group < 4 {
        (packed[group] & 63, packed[group + 4] & 63)
    } else {
        let high = |at: usize| packed[at] >> 6 << 4;
        (
            packed[group + 4] & 15 | high(group - 4),
            packed[group + 4] >> 4 | high(group),
        )
    };
    (f32::from(scale), f32::from(minimum))
}

/// What Q4_K and Q5_K share: two f16 factors, 12 bytes of scales and minima, and 128 bytes of nibbles.
#[inline(always)]
fn k_group(block: &[u8], nibbles: &[u8; 128], index: usize) -> Group<u8> {
    let (scale, minimum) = scale_and_minimum(part(block, 4), index);
    // Two groups share 32 bytes; the first group has the low nibbles.
    let bytes = part::<GROUP>(nibbles, index / 2 * GROUP);
    let shift = index % 2 * 4;
    let mut quants = [0; GROUP];
    for (quant, byte) in quants.iter_mut().zip(bytes) {
        *quant = byte >> shift & 15;
    }
    Group {
        quants,
        scale: half(block, 0) * scale,
        offset: -half(block, 2) * minimum,
    }
}

#[inline(always)]
fn q4_k<Q: Quant>(block: &[u8; 144], groups: &mut [Group<Q>]) {
    for (index, out) in groups.iter_mut().enumerate() {
        let stored = k_group(block, part(block, 16), index);
        *out = group(stored.quants, 0, stored.scale, stored.offset);
    }
}

#[inline(always)]
fn q5_k<Q: Quant>(block: &[u8; 176], groups: &mut [Group<Q>]) {
    for (index, out) in groups.iter_mut().enumerate() {
        let mut stored = k_group(block, part(block, 48), index);
        // Byte i holds the fifth bit of quant i of every group.
        let bytes = part::<GROUP>(block, 16);
        for (quant, byte) in stored.quants.iter_mut().zip(bytes) {
            *quant |= (byte >> index & 1) << 4;
        }
        *out = group(stored.quants, 0, stored.scale, stored.offset);
    }
}

/// A group of Q6_K: quants in -32..32, and the factors of its first and its last 16.
#[inline(always)]
pub fn q6_k_group(block: &[u8; 210], index: usize) -> ([i16; GROUP], [i8; 2]) {
    // Half a block has 4 groups: 64 bytes of nibbles, and 32 bytes of pairs of high bits.
    let (half, quarter) = (index / 4, index % 4);
    let low = part::<GROUP>(block, 64 * half + quarter % 2 * GROUP);
    let high = part::<GROUP>(block, 128 + 32 * half);
    let mut quants = [0; GROUP];
    for ((quant, low), high) in quants.iter_mut().zip(low).zip(high) {
        let nibble = low >> (quarter / 2 * 4) & 15;
        let bits = high >> (2 * quarter) & 3;
        *quant = i16::from(nibble | bits << 4) - 32;
    }
    let factors = part::<2>(block, 192 + 2 * index);
    (quants, factors.map(|factor| factor as i8))
}

/// The factor of a block of Q6_K.
#[inline(always)]
pub fn q6_k_scale(block: &[u8; 210]) -> f32 {
    half(block, 208)
}

/// Multiplies the factor of each group of 16 into its quants.
#[inline(always)]
fn q6_k<Q: Quant>(block: &[u8; 210], groups: &mut [Group<Q>]) {
    for (index, group) in groups.iter_mut().enumerate() {
        *group = halves(q6_k_group(block, index), q6_k_scale(block));
    }
}
