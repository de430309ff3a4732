//! Gradients through a dense layer: its forward runs the kernels of the backend, and a frozen weight of 16 bits stays
//! so.
//!
//! Composed, the product would need a weight of f32, and would be the backend's plain one.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, TensorMetadata};
use burn::tensor::{DType, FloatDType, Shape, Slice};

use super::{LinearOps, composed};

/// Rows of a weight that are widened at a time: 16 MB of f32 for a width of 4096.
const STRIPE: usize = 1024;

impl<B: LinearOps, C: CheckpointStrategy> LinearOps for Autodiff<B, C> {
    fn linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        recorded::<B, C>(x, weight, <B as LinearOps>::linear)
    }

    fn linear_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        if bias.is_tracked() {
            return composed::add_bias::<Self>(<Self as LinearOps>::linear(x, weight), bias);
        }
        let bias = bias.into_primitive();
        recorded::<B, C>(x, weight, |x, weight| B::linear_bias(x, weight, bias))
    }
}

/// A product with its way back.
fn recorded<B: LinearOps, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    weight: FloatTensor<Autodiff<B, C>>,
    product: impl FnOnce(FloatTensor<B>, FloatTensor<B>) -> FloatTensor<B>,
) -> FloatTensor<Autodiff<B, C>> {
    let (tracks_x, tracks_weight) = (x.is_tracked(), weight.is_tracked());
    let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
    let state = (
        tracks_weight.then(|| x.clone()),
        tracks_x.then(|| weight.clone()),
    );
    let out = product(x, weight);
    let prepared = Product.prepare::<C>([x_node, weight_node]);
    match prepared.compute_bound().stateful() {
        OpsKind::Tracked(prepared) => prepared.finish(state, out),
        OpsKind::UnTracked(prepared) => prepared.finish(out),
    }
}

/// The product of `x [m, cols]` and `weight [rows, cols]` transposed.
#[derive(Debug)]
struct Product;

impl<B: LinearOps> Backward<B, 2> for Product {
    /// `x` where the weight learns, the weight where `x` is recorded.
    type State = (Option<FloatTensor<B>>, Option<FloatTensor<B>>);

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let ([x_node, weight_node], (x, weight)) = (ops.parents, ops.state);
        if let Some((node, weight)) = x_node.zip(weight) {
            grads.register::<B>(node.id, back::<B>(gradient.clone(), weight));
        }
        if let Some((node, x)) = weight_node.zip(x) {
            let gradient = B::float_matmul(B::float_transpose(gradient), x);
            grads.register::<B>(node.id, gradient);
        }
    }
}

/// `gradient [m, rows]` times `weight [rows, cols]`, f32; a weight of 16 bits is widened in stripes.
fn back<B: Backend>(gradient: FloatTensor<B>, weight: FloatTensor<B>) -> FloatTensor<B> {
    if weight.dtype() == DType::F32 {
        return B::float_matmul(gradient, weight);
    }
    let rows = weight.shape()[0];
    sum_stripes::<B>(gradient, weight.shape(), |range| {
        let stripe = [Slice::from(range), Slice::new(0, None, 1)];
        let stripe = match rows <= STRIPE {
            true => weight.clone(),
            false => B::float_slice(weight.clone(), &stripe),
        };
        B::float_cast(stripe, FloatDType::F32)
    })
}

/// `gradient [m, rows]` times a weight of this shape `[rows, cols]`, of which `stripe` gives some rows in f32.
pub(crate) fn sum_stripes<B: Backend>(
    gradient: FloatTensor<B>,
    shape: Shape,
    stripe: impl Fn(std::ops::Range<usize>) -> FloatTensor<B>,
) -> FloatTensor<B> {
    let (rows, cols) = (shape[0], shape[1]);
    let mut sum = None;
    for first in (0..rows).step_by(STRIPE) {
        let range = first..(first + STRIPE).min(rows);
        let part = match range.len() == rows {
            true => gradient.clone(),
            false => {
                let columns = [Slice::new(0, None, 1), Slice::from(range.clone())];
                B::float_slice(gradient.clone(), &columns)
            }
        };
        let product = B::float_matmul(part, stripe(range));
        sum = Some(match sum {
            Some(sum) => B::float_add(sum, product),
            None => product,
        });
    }
    let m = gradient.shape()[0];
    sum.unwrap_or_else(|| {
        let shape = Shape::new([m, cols]);
        B::float_zeros(shape, &gradient.device(), FloatDType::F32)
    })
}
