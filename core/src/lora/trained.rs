//! Low-rank changes whose factors are trained: leaves of a tape beside frozen layers.
//!
//! `y = W x + b + scale · up (down x)` on some outputs; with a magnitude `m` (DoRA), `y = m / ‖W + D‖ ∘ (W x + D x) +
//! b`, where the lengths of the rows count as constants, as in PEFT. Only products with `W` are asked for, so that
//! it may be quantized: `‖W + D‖² = ‖W‖² + 2 scale up · (down Wᵀ) + scale² up (down downᵀ) upᵀ`, row by row.

use std::ops::Range;

use burn::tensor::Tensor;
use x2i_shaders::linear;

/// A change of some outputs.
#[derive(Debug, Clone)]
pub(crate) struct TrainedPair {
    rows: Range<usize>,
    down: Tensor<2>, // [rank, in]
    up: Tensor<2>,   // [rows, rank]
    scale: f32,
    /// DoRA: the lengths that the rows get, and the squared lengths of the matrix's own, `[rows]`.
    lengths: Option<[Tensor<1>; 2]>,
}

impl TrainedPair {
    /// Of `[down, up]`: `[rank, in]` and `[rows, rank]`.
    pub fn new(
        rows: Range<usize>,
        [down, up]: [Tensor<2>; 2],
        scale: f32,
        lengths: Option<[Tensor<1>; 2]>,
    ) -> Self {
        Self {
            rows,
            down,
            up,
            scale,
            lengths,
        }
    }

    /// The first output.
    pub fn start(&self) -> usize {
        self.rows.start
    }

    /// The part that changes these outputs, counted from their first one.
    pub fn rows_of(self, wanted: &Range<usize>) -> Option<Self> {
        let start = self.rows.start.max(wanted.start);
        let end = self.rows.end.min(wanted.end);
        if start >= end {
            return None;
        }
        let inner = start - self.rows.start..end - self.rows.start;
        let whole = inner.len() == self.rows.len();
        Some(Self {
            rows: start - wanted.start..end - wanted.start,
            up: match whole {
                true => self.up,
                false => self.up.slice([inner.clone()]),
            },
            lengths: match whole {
                true => self.lengths,
                false => self
                    .lengths
                    .map(|both| both.map(|lengths| lengths.slice([inner.clone()]))),
            },
            ..self
        })
    }

    /// `scale · up (down x)`: `[n, in]` -> `[n, rows]`.
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let down = linear(x, self.down.clone(), None);
        linear(down, self.up.clone(), None) * self.scale
    }

    /// What DoRA multiplies the outputs by, `[rows]`; `own` is `W down`, `[rank, out]` of the whole layer.
    fn gains(&self, [lengths, squares]: &[Tensor<1>; 2], own: Tensor<2>) -> Tensor<1> {
        let (down, up) = (self.down.clone().detach(), self.up.clone().detach());
        let own = own.detach().narrow(1, self.rows.start, self.rows.len());
        let cross = (up.clone() * own.transpose()).sum_dim(1) * (2.0 * self.scale);
        let inner = down.clone().matmul(down.transpose()); // [rank, rank]
        let square = (up.clone().matmul(inner) * up).sum_dim(1) * (self.scale * self.scale);
        let sum = squares.clone() + (cross + square).squeeze_dim::<1>(1);
        lengths.clone() / sum.clamp_min(f32::MIN_POSITIVE).sqrt()
    }
}

/// The changed outputs for `x` `[n, in]`: `[n, out]`; `pairs` are in the order of their rows. `frozen` is the product
/// with the layer's matrix, to which it adds the bias that it is given.
pub(super) fn apply(
    pairs: &[TrainedPair],
    x: Tensor<2>,
    bias: Option<Tensor<1>>,
    frozen: impl Fn(Tensor<2>, Option<Tensor<1>>) -> Tensor<2>,
) -> Tensor<2> {
    if pairs.iter().all(|pair| pair.lengths.is_none()) {
        let y = frozen(x.clone(), bias);
        let out = y.dims()[1];
        return y + side_by_side(pairs, out, &x, |pair| pair.forward(x.clone()));
    }
    let y = frozen(x.clone(), None);
    let out = y.dims()[1];
    let y = y + side_by_side(pairs, out, &x, |pair| pair.forward(x.clone()));
    let one = Tensor::<2>::ones([1, 1], &x.device());
    let more = side_by_side(pairs, out, &one, |pair| match &pair.lengths {
        Some(lengths) => {
            let own = frozen(pair.down.clone().detach(), None);
            (pair.gains(lengths, own) - 1.0).unsqueeze::<2>()
        }
        None => Tensor::zeros([1, pair.rows.len()], &x.device()),
    });
    let y = y * (more + 1.0);
    match bias {
        Some(bias) => y + bias.unsqueeze::<2>(),
        None => y,
    }
}

/// What pairs give for their outputs, `[n, out]`; zeros elsewhere, and sums where several change one output.
fn side_by_side(
    pairs: &[TrainedPair],
    out: usize,
    like: &Tensor<2>,
    give: impl Fn(&TrainedPair) -> Tensor<2>,
) -> Tensor<2> {
    let n = like.dims()[0];
    let zeros = |columns| Tensor::zeros([n, columns], &like.device().inner());
    let (mut sum, mut parts, mut end) = (None::<Tensor<2>>, vec![], 0);
    let join = |mut parts: Vec<Tensor<2>>, end: usize| {
        if end < out {
            parts.push(zeros(out - end));
        }
        Tensor::cat(parts, 1)
    };
    for pair in pairs {
        if pair.rows.start < end {
            let row = join(std::mem::take(&mut parts), end);
            sum = Some(match sum {
                Some(sum) => sum + row,
                None => row,
            });
            end = 0;
        }
        if pair.rows.start > end {
            parts.push(zeros(pair.rows.start - end));
        }
        parts.push(give(pair));
        end = pair.rows.end;
    }
    let last = join(parts, end);
    match sum {
        Some(sum) => sum + last,
        None => last,
    }
}
