//! Convolutions on the CPU: 3x3 by Winograd, 1x1 as a matrix product, others by burn.

use burn::tensor::Shape;
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

use super::winograd::{Picture, Sizes, convolve, pack};
use super::{ConvOps, composed};
use crate::cpu::{all_f32, tensor};
use crate::gemm::matmul;

impl ConvOps for Flex {
    fn conv2d(x: FlexTensor, weight: FlexTensor, bias: FlexTensor) -> FlexTensor {
        let computable = is_computable([&x, &weight, &bias]);
        match weight.layout().shape()[2] {
            3 if computable => three_by_three(x, weight, bias, Picture::Same),
            1 if computable => pointwise(x, weight, bias),
            _ => composed::conv2d::<Self>(x, weight, bias),
        }
    }

    fn upsample_conv2d(x: FlexTensor, weight: FlexTensor, bias: FlexTensor) -> FlexTensor {
        if weight.layout().shape()[2] == 3 && is_computable([&x, &weight, &bias]) {
            return three_by_three(x, weight, bias, Picture::Twice);
        }
        composed::upsample_conv2d::<Self>(x, weight, bias)
    }
}

fn is_computable(tensors: [&FlexTensor; 3]) -> bool {
    let filled = |tensor: &FlexTensor| tensor.layout().num_elements() > 0;
    all_f32(tensors) && tensors.into_iter().all(filled)
}

fn three_by_three(
    x: FlexTensor,
    weight: FlexTensor,
    bias: FlexTensor,
    picture: Picture,
) -> FlexTensor {
    let (x, weight) = (x.to_contiguous(), weight.to_contiguous());
    let bias = bias.to_contiguous();
    let (shape, output) = (x.layout().shape(), weight.layout().shape()[0]);
    let sizes = Sizes {
        input: shape[1],
        output,
        picture,
        height: shape[2] * picture.scale(),
        width: shape[3] * picture.scale(),
    };
    let shape = Shape::new([shape[0], output, sizes.height, sizes.width]);
    let weight = pack(weight.storage(), sizes.input, output);
    let mut out = vec![0.0; shape.num_elements()];
    let batch = shape[0];
    let pictures = out.chunks_exact_mut(shape.num_elements() / batch);
    let x = x.storage::<f32>();
    for (x, out) in x.chunks_exact(x.len() / batch).zip(pictures) {
        convolve(x, &weight, bias.storage(), sizes, out);
    }
    tensor(out, shape)
}

/// `weight [output, input]` times every picture `[input, pixels]`.
fn pointwise(x: FlexTensor, weight: FlexTensor, bias: FlexTensor) -> FlexTensor {
    let (x, bias) = (x.to_contiguous(), bias.to_contiguous());
    let shape = x.layout().shape().clone();
    let (batch, input, pixels) = (shape[0], shape[1], shape[2] * shape[3]);
    let output = weight.layout().shape()[0];
    let weight = weight.to_contiguous().reshape(Shape::new([output, input]));
    let mut pictures = Vec::with_capacity(batch);
    for picture in 0..batch {
        let x = x.narrow(0, picture, 1).to_contiguous();
        let x = x.reshape(Shape::new([input, pixels]));
        let mut out = matmul(weight.clone(), x); // [output, pixels]
        out.storage_mut::<f32>()
            .par_chunks_exact_mut(pixels)
            .zip(bias.storage::<f32>())
            .for_each(|(out, bias)| out.iter_mut().for_each(|out| *out += bias));
        pictures.push(out.reshape(Shape::new([1, output, shape[2], shape[3]])));
    }
    match pictures.len() {
        1 => pictures.remove(0),
        _ => burn_flex::ops::cat::cat(pictures, 0),
    }
}
