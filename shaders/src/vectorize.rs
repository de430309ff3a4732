//! Plain Rust on the widest vector unit of this machine, and reductions that such a unit can run.

/// Independent accumulators of a reduction: enough to hide the latency of an addition.
const LANES: usize = 32;

/// A computation for [`vectorize`]; its `call` and all it calls must be `#[inline(always)]`, because
/// only what is inlined is compiled for the wider unit. (A closure is not: it has three callers.)
pub(crate) use pulp::NullaryFnOnce as Kernel;

/// Runs `kernel`, compiled for the widest vector unit found at run time.
#[inline]
pub(crate) fn vectorize<K: Kernel>(kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    {
        use pulp::x86::{V3, V4};
        if let Some(v4) = V4::try_new() {
            return v4.vectorize(kernel);
        }
        if let Some(v3) = V3::try_new() {
            return v3.vectorize(kernel);
        }
    }
    kernel.call()
}

/// `a * b + c`, fused where the target has the instruction: elsewhere fusing is a slow call.
#[inline(always)]
pub(crate) fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(target_family = "wasm") {
        a * b + c
    } else {
        a.mul_add(b, c)
    }
}

/// A reduction whose order leaves the lanes independent.
#[inline(always)]
pub(crate) fn fold(values: &[f32], start: f32, join: impl Fn(f32, f32) -> f32 + Copy) -> f32 {
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

/// The dot product of slices of one length, with independent lanes.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
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
