//! The windows of a resize with antialias: which inputs an output averages, and their weights.
//!
//! Pillow computes them in 64 bits, torchvision in 32, by one formula. The filter widens when an
//! image shrinks.

use super::cubic::Real;

/// The inputs that one output averages.
pub(super) struct Window<T> {
    /// The first of them.
    pub first: usize,
    /// One each; they add up to 1.
    pub weights: Vec<T>,
}

/// The windows of `to` outputs along an axis of `from` inputs. The filter `weight` reaches `support`
/// inputs to each side at scale 1.
pub(super) fn windows<T: Real>(
    from: usize,
    to: usize,
    support: T,
    weight: impl Fn(T) -> T,
) -> impl Iterator<Item = Window<T>> {
    let [half, one] = [0.5, 1.0].map(T::from);
    let scale = T::of(from) / T::of(to);
    let stretch = if scale > one { scale } else { one };
    let support = support * stretch;
    // Both libraries multiply by the reciprocal, and the last bit counts here.
    let shrink = one / stretch;
    (0..to).map(move |position| {
        let center = (T::of(position) + half) * scale;
        let first = (center - support + half).truncated();
        let end = (center + support + half).truncated().min(from);
        let weights: Vec<T> = (first..end)
            .map(|input| weight((T::of(input) - center + half) * shrink))
            .collect();
        let sum: T = weights.iter().copied().sum();
        Window {
            first,
            weights: weights.into_iter().map(|weight| weight / sum).collect(),
        }
    })
}
