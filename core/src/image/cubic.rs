//! Keys' cubic, the filter of every bicubic resize, in 32 or 64 bits.
//!
//! Source: Keys, "Cubic convolution interpolation for digital image processing" (1981).

use std::iter::Sum;
use std::ops::{Add, Div, Mul, Sub};

/// A precision: the last bit of a weight shows in a byte here and there, so that each library's own
/// is kept.
pub(crate) trait Real:
    Copy
    + PartialOrd
    + From<f32>
    + Sum
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
{
    /// A count as a number.
    fn of(count: usize) -> Self;
    /// The number without its fraction; 0 for a negative one.
    fn truncated(self) -> usize;
}

impl Real for f32 {
    fn of(count: usize) -> Self {
        count as Self
    }

    fn truncated(self) -> usize {
        self as usize
    }
}

impl Real for f64 {
    fn of(count: usize) -> Self {
        count as Self
    }

    fn truncated(self) -> usize {
        self as usize
    }
}

/// The weight of a sample at the distance `x`; `a` is -0.5 in Pillow and in torchvision's resize
/// with antialias, -0.75 in PyTorch's `interpolate`.
pub(crate) fn cubic<T: Real>(x: T, a: T) -> T {
    let [zero, one, two, three] = [0.0, 1.0, 2.0, 3.0].map(T::from);
    let [four, five, eight] = [4.0, 5.0, 8.0].map(T::from);
    let x = if x < zero { zero - x } else { x };
    if x < one {
        ((a + two) * x - (a + three)) * x * x + one
    } else if x < two {
        (((x - five) * x + eight) * x - four) * a
    } else {
        zero
    }
}
