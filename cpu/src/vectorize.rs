//! Runs plain Rust on the widest vector unit of this machine; reductions and an exponential that the compiler
//! vectorizes.

/// Independent accumulators of a reduction: enough to hide the latency of an addition.
const LANES: usize = 32;

/// 1.5 · 2^23. Adding it rounds to a whole number, which the low bits then hold.
pub const ROUND: f32 = 12_582_912.0;

/// A computation for [`vectorize`].
///
/// Its `call`, and all functions that it calls, must be `#[inline(always)]`: only inlined code is compiled for
/// the wider unit. A closure may not be inlined, because `vectorize` calls it in three places.
pub use pulp::NullaryFnOnce as Kernel;

/// Runs `kernel`, compiled for the widest vector unit of the [processor's variant](crate::processor) that runs.
#[inline]
pub fn vectorize<K: Kernel>(kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    {
        use crate::processor::{CpuUnit, uses};
        use pulp::x86::{V3, V4};
        if let Some(v4) = V4::try_new().filter(|_| uses(CpuUnit::Avx512)) {
            return v4.vectorize(kernel);
        }
        if let Some(v3) = V3::try_new().filter(|_| uses(CpuUnit::Avx2)) {
            return v3.vectorize(kernel);
        }
    }
    kernel.call()
}

/// `a * b + c`, fused except on wasm, which has no such instruction and would call a slow function.
#[inline(always)]
pub fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(target_family = "wasm") {
        a * b + c
    } else {
        a.mul_add(b, c)
    }
}

/// Joins all values, in independent lanes.
#[inline(always)]
pub fn fold(values: &[f32], start: f32, join: impl Fn(f32, f32) -> f32 + Copy) -> f32 {
    let mut lanes = [start; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = join(*lane, value);
        }
    }
    let lanes = lanes.into_iter().fold(start, join);
    rest.iter().copied().fold(lanes, join)
}

/// The dot product of slices of one length, in independent lanes.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for (lane, (&a, &b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane = multiply_add(a, b, *lane);
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(a, b)| a * b);
    lanes.into_iter().sum::<f32>() + rest.sum::<f32>()
}

/// `1 / sqrt(mean(x²) + eps)`.
#[inline(always)]
pub fn inverse_root_mean_square(x: &[f32], eps: f32) -> f32 {
    let mean = dot(x, x) / x.len() as f32;
    (mean + eps).sqrt().recip()
}

/// `1 / (1 + e^-x)`, from `e^-|x|`, which can't overflow.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    let e = exp(-x.abs());
    let above = if x < 0.0 { e } else { 1.0 };
    above / (1.0 + e)
}

/// `e^x` for `x <= 0` within 2 ulp; NaN stays NaN. It has no branches and no calls, so that it vectorizes.
///
/// With `x = n ln 2 + r` it is a polynomial for `e^r` (Cephes `expf`) times `2^n`, which is made of its bits.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    const COEFFICIENTS: [f32; 5] = [
        1.398_2e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ];

    // At -88 and below the bits of 2^n are those of zero.
    let x = if x < -88.0 { -88.0 } else { x };
    let shifted = multiply_add(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = multiply_add(n, -LN_2_LOW, multiply_add(n, -LN_2_HIGH, x));
    let mut p = 1.987_569_2e-4;
    for coefficient in COEFFICIENTS {
        p = multiply_add(p, r, coefficient);
    }
    let p = multiply_add(p, r * r, r) + 1.0;
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits() - 127);
    p * f32::from_bits(exponent << 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_agrees_with_the_standard_library_down_to_zero() {
        /// The polynomial's error, about 2 ulp.
        const TOLERANCE: f32 = 3e-7;
        for step in 0..80_000 {
            let x = -1e-3 * step as f32;
            assert!((exp(x) / x.exp() - 1.0).abs() < TOLERANCE, "{x}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-88.5), 0.0);
        assert_eq!(exp(f32::MIN), 0.0);
        assert!(exp(f32::NAN).is_nan());
    }
}
