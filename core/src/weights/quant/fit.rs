//! The search for the scale and the offset of least error: ggml's `make_qkx2_quants` with the
//! constants of Q4_K (15 steps, weights `rms + |x|`, 21 tries, squared error).
//!
//! The sub-blocks of a block are independent, so all eight are searched side by side, one a SIMD
//! lane. Each lane adds in ggml's order, so that its result is ggml's bit for bit.

/// Sub-blocks in a block.
pub(super) const LANES: usize = 8;
/// One value of each sub-block.
pub(super) type Lanes = [f32; LANES];

/// The largest number of four bits.
const MOST: f32 = 15.0;
/// Scales that are tried after the first.
const TRIES: u8 = 21;

/// `x = scale * number - offset`, per lane.
pub(super) struct Fit<const N: usize> {
    pub(super) scales: Lanes,
    /// Not negative.
    pub(super) offsets: Lanes,
    /// Whole numbers, 0 to 15.
    pub(super) numbers: [Lanes; N],
}

/// The nearest whole number, the even one of two, for magnitudes below 2^22.
pub(super) fn round(value: f32) -> f32 {
    /// 1.5 * 2^23: after adding it no bits are left for a fraction.
    const SHIFT: f32 = 12_582_912.0;
    (value + SHIFT) - SHIFT
}

/// Searches all lanes of `x`: `x[i][lane]` is number i of a sub-block.
pub(super) fn fit<const N: usize>(x: &[Lanes; N]) -> Fit<N> {
    let weights = weights(x);
    let (smallest, max) = extremes(x);
    let mut sum_w = [0.0; LANES];
    let mut sum_x = [0.0; LANES];
    for (x, w) in x.iter().zip(&weights) {
        for lane in 0..LANES {
            sum_w[lane] += w[lane];
            sum_x[lane] += w[lane] * x[lane];
        }
    }

    let mut min = smallest;
    let inverse = each(|lane| MOST / (max[lane] - min[lane]));
    let mut scale = inverse.map(|inverse| 1.0 / inverse);
    let mut numbers = choose(x, &inverse, &min);
    let mut error = error(x, &weights, &numbers, &scale, &min);
    for step in 0..TRIES {
        let reach = -1.0 + 0.1 * f32::from(step) + MOST;
        // The offset that was best so far, not the first one: so does ggml.
        let inverse = each(|lane| reach / (max[lane] - min[lane]));
        let tried = choose(x, &inverse, &min);
        let line = regression(x, &weights, &tried, &sum_w, &sum_x);
        let tried_error = self::error(x, &weights, &tried, &line.scale, &line.min);
        let better = each(|lane| line.determined[lane] && tried_error[lane] < error[lane]);
        take(&mut error, &tried_error, &better);
        take(&mut scale, &line.scale, &better);
        take(&mut min, &line.min, &better);
        for (number, tried) in numbers.iter_mut().zip(&tried) {
            take(number, tried, &better);
        }
    }

    // A sub-block of one number, not positive, is all offset.
    for lane in (0..LANES).filter(|&lane| max[lane] == smallest[lane]) {
        scale[lane] = 0.0;
        min[lane] = smallest[lane];
        numbers.iter_mut().for_each(|number| number[lane] = 0.0);
    }
    Fit {
        scales: scale,
        offsets: min.map(|min| -min),
        numbers,
    }
}

/// Takes the new value in the lanes that are better.
fn take(old: &mut Lanes, new: &Lanes, better: &[bool; LANES]) {
    for lane in 0..LANES {
        old[lane] = if better[lane] { new[lane] } else { old[lane] };
    }
}

fn each<T>(value: impl FnMut(usize) -> T) -> [T; LANES] {
    std::array::from_fn(value)
}

/// The weight of each number's error.
fn weights<const N: usize>(x: &[Lanes; N]) -> [Lanes; N] {
    let mut squares = [0.0; LANES];
    for x in x {
        for lane in 0..LANES {
            squares[lane] += x[lane] * x[lane];
        }
    }
    let rms = squares.map(|sum: f32| (sum / N as f32).sqrt());
    x.map(|x| each(|lane| rms[lane] + x[lane].abs()))
}

/// The smallest number of each lane, or 0, and the largest.
fn extremes<const N: usize>(x: &[Lanes; N]) -> (Lanes, Lanes) {
    let (mut min, mut max) = (x[0], x[0]);
    for x in x {
        for lane in 0..LANES {
            min[lane] = if x[lane] < min[lane] {
                x[lane]
            } else {
                min[lane]
            };
            max[lane] = if x[lane] > max[lane] {
                x[lane]
            } else {
                max[lane]
            };
        }
    }
    (min.map(|min| if min > 0.0 { 0.0 } else { min }), max)
}

/// The numbers nearest to `(x - min) * inverse`.
fn choose<const N: usize>(x: &[Lanes; N], inverse: &Lanes, min: &Lanes) -> [Lanes; N] {
    let mut numbers = [[0.0; LANES]; N];
    for (number, x) in numbers.iter_mut().zip(x) {
        for lane in 0..LANES {
            let nearest = round(inverse[lane] * (x[lane] - min[lane]));
            // Comparisons rather than `clamp`, which looks at NaN, too.
            let nearest = if nearest > 0.0 { nearest } else { 0.0 };
            number[lane] = if nearest < MOST { nearest } else { MOST };
        }
    }
    numbers
}

/// The weighted squared error.
fn error<const N: usize>(
    x: &[Lanes; N],
    weights: &[Lanes; N],
    numbers: &[Lanes; N],
    scale: &Lanes,
    min: &Lanes,
) -> Lanes {
    let mut sum = [0.0; LANES];
    for ((x, w), number) in x.iter().zip(weights).zip(numbers) {
        for lane in 0..LANES {
            let difference = scale[lane] * number[lane] + min[lane] - x[lane];
            sum[lane] += w[lane] * (difference * difference);
        }
    }
    sum
}

/// The line through the numbers that fits best, and whether there is just one.
struct Line {
    scale: Lanes,
    min: Lanes,
    determined: [bool; LANES],
}

fn regression<const N: usize>(
    x: &[Lanes; N],
    weights: &[Lanes; N],
    numbers: &[Lanes; N],
    sum_w: &Lanes,
    sum_x: &Lanes,
) -> Line {
    let mut sum_l = [0.0; LANES];
    let mut sum_l2 = [0.0; LANES];
    let mut sum_xl = [0.0; LANES];
    for ((x, w), number) in x.iter().zip(weights).zip(numbers) {
        for lane in 0..LANES {
            let weighted = w[lane] * number[lane];
            sum_l[lane] += weighted;
            sum_l2[lane] += weighted * number[lane];
            sum_xl[lane] += weighted * x[lane];
        }
    }
    let determinant = each(|lane| sum_w[lane] * sum_l2[lane] - sum_l[lane] * sum_l[lane]);
    let mut scale =
        each(|lane| (sum_w[lane] * sum_xl[lane] - sum_x[lane] * sum_l[lane]) / determinant[lane]);
    let mut min =
        each(|lane| (sum_l2[lane] * sum_x[lane] - sum_l[lane] * sum_xl[lane]) / determinant[lane]);
    for lane in 0..LANES {
        if min[lane] > 0.0 {
            min[lane] = 0.0;
            scale[lane] = sum_xl[lane] / sum_l2[lane];
        }
    }
    Line {
        scale,
        min,
        determined: determinant.map(|determinant| determinant > 0.0),
    }
}
