//! AVX-512: unpacks blocks of q8_0 and q4_0 to a panel, 16 rows at a time.
//!
//! A group of 16 rows is a matrix of 16 x 8 quads, which is transposed in registers. Other formats go by
//! [`super::super::weights`], through groups in memory, four rows at a time.

use std::arch::x86_64::{
    __m512i, _mm_loadu_si128, _mm256_broadcastsi128_si256, _mm256_loadu_si256, _mm512_and_si512,
    _mm512_castsi256_si512, _mm512_cvtph_ps, _mm512_inserti64x4, _mm512_permutex2var_epi64,
    _mm512_set1_epi8, _mm512_setr_epi32, _mm512_setr_epi64, _mm512_setzero_si512,
    _mm512_srlv_epi32, _mm512_storeu_ps, _mm512_storeu_si512, _mm512_sub_epi8,
    _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
    _mm512_xor_si512,
};
use std::ops::Range;

use super::groups::{QUADS, WeightGroup};
use crate::formats::BlockType;
use crate::integer::blocks::{Weights, prefetch};
use crate::integer::rounding::COLUMNS;
use crate::processor::CpuUnit;

/// Rows that are transposed together: a vector of quads.
const LANES: usize = 16;

/// How far ahead rows are fetched. The processor does it by itself within a page, for fewer rows than 16.
const AHEAD: usize = 512;

/// How quants are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::integer) enum Sign {
    /// As the format counts from its smallest quant on.
    Unsigned,
    /// Less the format's zero point.
    Signed,
}

/// Unpacks rows, of which there are up to [`COLUMNS`]; beyond the last, the last is repeated. Returns false and does
/// nothing for another format, or on a machine without AVX-512.
pub(in crate::integer) fn unpack(
    weights: &Weights,
    rows: Range<usize>,
    sign: Sign,
    panel: &mut [WeightGroup],
) -> bool {
    let block_type = weights.block_type;
    if !CpuUnit::Avx512.is_here() || !matches!(block_type, BlockType::Q8_0 | BlockType::Q4_0) {
        return false;
    }
    for first in (0..COLUMNS).step_by(LANES) {
        let row = |i: usize| weights.row(rows.end.min(rows.start + first + i + 1) - 1);
        let rows: [&[u8]; LANES] = std::array::from_fn(row);
        // SAFETY: the functions need AVX-512, and the machine has it.
        unsafe {
            match block_type {
                BlockType::Q8_0 => q8_0(&rows, first, sign, panel),
                _ => q4_0(&rows, first, sign, panel),
            }
        }
    }
    true
}

/// Signed bytes, which become unsigned by a flip of the highest bit.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn q8_0(rows: &[&[u8]; LANES], first: usize, sign: Sign, panel: &mut [WeightGroup]) {
    let flip = match sign {
        Sign::Unsigned => _mm512_set1_epi8(BlockType::Q8_0.zero() as i8),
        Sign::Signed => _mm512_setzero_si512(),
    };
    let rows = blocks::<34>(rows);
    for (index, out) in panel.iter_mut().enumerate() {
        let mut lines = [flip; QUADS];
        for (i, line) in lines.iter_mut().enumerate() {
            let (upper, lower) = (&rows[i][index][2..], &rows[i + LANES / 2][index][2..]);
            // SAFETY: 32 bytes follow the two of the scale.
            let [upper, lower] =
                unsafe { [upper, lower].map(|bytes| _mm256_loadu_si256(bytes.as_ptr().cast())) };
            let both = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(upper), lower);
            *line = _mm512_xor_si512(both, flip);
        }
        store(lines, scales(&rows, index), first, out);
        fetch_ahead(&rows, index);
    }
}

/// 16 bytes, whose low halves are the first 16 quants and whose high halves are the last.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn q4_0(rows: &[&[u8]; LANES], first: usize, sign: Sign, panel: &mut [WeightGroup]) {
    let low = _mm512_set1_epi8(15);
    let zero = match sign {
        Sign::Unsigned => _mm512_setzero_si512(),
        Sign::Signed => _mm512_set1_epi8(BlockType::Q4_0.zero() as i8),
    };
    let shifts = _mm512_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4, 0, 0, 0, 0, 4, 4, 4, 4);
    let rows = blocks::<18>(rows);
    for (index, out) in panel.iter_mut().enumerate() {
        let mut lines = [low; QUADS];
        for (i, line) in lines.iter_mut().enumerate() {
            let (upper, lower) = (&rows[i][index][2..], &rows[i + LANES / 2][index][2..]);
            // SAFETY: 16 bytes follow the two of the scale.
            let (upper, lower) = unsafe {
                (
                    _mm_loadu_si128(upper.as_ptr().cast()),
                    _mm_loadu_si128(lower.as_ptr().cast()),
                )
            };
            let (upper, lower) = (
                _mm256_broadcastsi128_si256(upper),
                _mm256_broadcastsi128_si256(lower),
            );
            let both = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(upper), lower);
            let quants = _mm512_and_si512(_mm512_srlv_epi32(both, shifts), low);
            *line = _mm512_sub_epi8(quants, zero);
        }
        store(lines, scales(&rows, index), first, out);
        fetch_ahead(&rows, index);
    }
}

/// The rows as blocks.
#[inline(always)]
fn blocks<'a, const BYTES: usize>(rows: &[&'a [u8]; LANES]) -> [&'a [[u8; BYTES]]; LANES] {
    let mut out: [&[[u8; BYTES]]; LANES] = [&[]; LANES];
    for (out, row) in out.iter_mut().zip(rows) {
        *out = row.as_chunks().0;
    }
    out
}

/// The scales of a block of each row, in f16.
#[inline(always)]
fn scales<const BYTES: usize>(rows: &[&[[u8; BYTES]]; LANES], index: usize) -> [[u8; 2]; LANES] {
    let mut out = [[0; 2]; LANES];
    for (out, row) in out.iter_mut().zip(rows) {
        *out = [row[index][0], row[index][1]];
    }
    out
}

/// Writes 16 rows, of which line `i` has the quads of row `i` and row `8 + i`, with their scales in f16.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn store(lines: [__m512i; QUADS], scales: [[u8; 2]; LANES], first: usize, out: &mut WeightGroup) {
    for (quads, line) in out.quads.iter_mut().zip(transposed(lines)) {
        let quads = &mut quads[first..][..LANES];
        // SAFETY: there is place for 16 quads.
        unsafe { _mm512_storeu_si512(quads.as_mut_ptr().cast(), line) };
    }
    let to = &mut out.scales[first..][..LANES];
    // SAFETY: 16 scales are read, of two bytes each, and there is place for 16 floats.
    unsafe {
        let scales = _mm512_cvtph_ps(_mm256_loadu_si256(scales.as_ptr().cast()));
        _mm512_storeu_ps(to.as_mut_ptr(), scales);
    }
}

/// From quads of rows `i` and `8 + i` to quad `i` of all 16 rows.
#[inline]
#[target_feature(enable = "avx512f")]
fn transposed(lines: [__m512i; QUADS]) -> [__m512i; QUADS] {
    let [a, b, c, d, e, f, g, h] = lines;
    let (upper, lower) = (square([a, b, c, d]), square([e, f, g, h]));
    let even = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
    let odd = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
    let mut out = lines;
    for i in 0..QUADS / 2 {
        out[i] = _mm512_permutex2var_epi64(upper[i], even, lower[i]);
        out[i + QUADS / 2] = _mm512_permutex2var_epi64(upper[i], odd, lower[i]);
    }
    out
}

/// Transposes four rows and four quads in each quarter of the vectors.
#[inline]
#[target_feature(enable = "avx512f")]
fn square([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let (low, high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let (low_2, high_2) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    [
        _mm512_unpacklo_epi64(low, low_2),
        _mm512_unpackhi_epi64(low, low_2),
        _mm512_unpacklo_epi64(high, high_2),
        _mm512_unpackhi_epi64(high, high_2),
    ]
}

/// Fetches what comes in a while: of the same rows, and at their ends of the rows that come after them.
#[inline]
fn fetch_ahead<const BYTES: usize>(rows: &[&[[u8; BYTES]]; LANES], index: usize) {
    let row_bytes = rows[0].len() * BYTES;
    let mut ahead = index * BYTES + AHEAD;
    if ahead >= row_bytes {
        ahead += (LANES - 1) * row_bytes;
    }
    for row in rows {
        prefetch(row.as_ptr().cast::<u8>().wrapping_add(ahead));
    }
}

#[cfg(test)]
mod tests {
    use super::super::Bytes;
    use super::*;
    use crate::integer::rounding::Panels;

    #[test]
    fn panels_are_those_of_plain_rust_whatever_rows_there_are() {
        for block_type in [BlockType::Q8_0, BlockType::Q4_0] {
            for (rows, groups, range) in [
                (32, 1, 0..32),
                (70, 3, 32..64),
                (70, 20, 64..70),
                (17, 2, 0..17),
            ] {
                let count = rows * groups * block_type.bytes();
                let bytes: Vec<u8> = (0..count).map(|i| ((i * 7919) >> 3) as u8).collect();
                let weights = Weights {
                    bytes: &bytes,
                    block_type,
                    cols: groups * 32,
                };
                let mut found = vec![Bytes::NO_WEIGHTS; groups];
                if !unpack(&weights, range.clone(), Sign::Unsigned, &mut found) {
                    println!("not run: this machine has no AVX-512");
                    return;
                }
                let rounding = Bytes::new(block_type).expect("AVX-512 has AVX2");
                let mut expected = vec![Bytes::NO_WEIGHTS; groups];
                // Columns beyond the last row are not read.
                let width = range.len();
                weights.unpack_plainly(&rounding, range, &mut expected);
                for (found, expected) in found.iter().zip(&expected) {
                    for (found, expected) in found.quads.iter().zip(&expected.quads) {
                        assert_eq!(found[..width], expected[..width], "{block_type:?}");
                    }
                    let bits = |scales: &[f32; COLUMNS]| scales.map(f32::to_bits);
                    let (found, expected) = (bits(&found.scales), bits(&expected.scales));
                    assert_eq!(found[..width], expected[..width], "{block_type:?}");
                }
            }
        }
    }
}
