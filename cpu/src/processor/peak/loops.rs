//! Vectors. As many sums as registers leave room for, so that none waits for another.

use std::arch::x86_64::{
    _mm256_add_epi32, _mm256_dpbusd_avx_epi32, _mm256_fmadd_ps, _mm256_madd_epi16,
    _mm256_maddubs_epi16, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_ps, _mm256_setzero_ps,
    _mm256_setzero_si256, _mm512_dpbf16_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_set1_epi8,
    _mm512_set1_epi16, _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512,
};
use std::hint::black_box;

use pulp::cast;

/// Sums of 256 bits.
pub(super) const NARROW: u64 = 12;

/// Sums of 512 bits.
pub(super) const WIDE: u64 = 24;

/// A loop of `$product` on `$count` sums. The compiler does not know the numbers, so it computes all.
macro_rules! repeated {
    ($name:ident, $features:literal, $count:ident, $zero:expr, $number:expr, $product:expr) => {
        #[target_feature(enable = $features)]
        pub(super) fn $name(rounds: usize) {
            let mut sums = black_box([$zero; $count as usize]);
            let number = black_box($number);
            for _ in 0..rounds {
                for sum in &mut sums {
                    *sum = $product(*sum, number);
                }
            }
            black_box(sums);
        }
    };
}

repeated!(
    floats_256,
    "avx2,fma",
    NARROW,
    _mm256_setzero_ps(),
    _mm256_set1_ps(0.5),
    |sum, x| _mm256_fmadd_ps(x, x, sum)
);
repeated!(
    floats_512,
    "avx512f",
    WIDE,
    _mm512_setzero_ps(),
    _mm512_set1_ps(0.5),
    |sum, x| _mm512_fmadd_ps(x, x, sum)
);
repeated!(
    bytes_256,
    "avx2,avxvnni",
    NARROW,
    _mm256_setzero_si256(),
    _mm256_set1_epi8(1),
    |sum, x| _mm256_dpbusd_avx_epi32(sum, x, x)
);
repeated!(
    bytes_512,
    "avx512f,avx512vnni",
    WIDE,
    _mm512_setzero_si512(),
    _mm512_set1_epi8(1),
    |sum, x| _mm512_dpbusd_epi32(sum, x, x)
);
repeated!(
    halves_512,
    "avx512f,avx512bf16",
    WIDE,
    _mm512_setzero_ps(),
    _mm512_set1_epi16(0x3f00),
    |sum, x| _mm512_dpbf16_ps(sum, cast(x), cast(x))
);

/// Pairs of bytes become words, pairs of words become sums: each product of 32 bytes takes both and an addition. The
/// bytes are those of the sums, or all products would be the same one.
#[target_feature(enable = "avx2")]
pub(super) fn bytes_avx2(rounds: usize) {
    let mut sums = black_box([_mm256_setzero_si256(); NARROW as usize]);
    let bytes = black_box(_mm256_set1_epi8(1));
    let ones = black_box(_mm256_set1_epi16(1));
    for _ in 0..rounds {
        for sum in &mut sums {
            let words = _mm256_maddubs_epi16(bytes, *sum);
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(words, ones));
        }
    }
    black_box(sums);
}
