//! Convolutions on a wgpu device: on cooperative matrices where it has them and shall use them, else by burn.

use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use super::cooperative::{Scale, Variant};
use super::{ConvOps, composed};
use crate::cooperative::Matrices;
use crate::wgsl;

impl ConvOps for CubeBackend {
    fn conv2d(x: CubeTensor, weight: CubeTensor, bias: CubeTensor) -> CubeTensor {
        match variant([&x, &weight, &bias], Scale::Same) {
            Some(variant) => variant.launch([x, weight, bias], Scale::Same),
            None => composed::conv2d::<Self>(x, weight, bias),
        }
    }

    fn upsample_conv2d(x: CubeTensor, weight: CubeTensor, bias: CubeTensor) -> CubeTensor {
        match variant([&x, &weight, &bias], Scale::Twice) {
            Some(variant) => variant.launch([x, weight, bias], Scale::Twice),
            None => composed::upsample_conv2d::<Self>(x, weight, bias),
        }
    }

    fn halving_conv2d(
        x: CubeTensor,
        weight: CubeTensor,
        bias: CubeTensor,
        zeros: [usize; 2],
    ) -> CubeTensor {
        let scale = Scale::Half(zeros);
        match variant([&x, &weight, &bias], scale) {
            Some(variant) => variant.launch([x, weight, bias], scale),
            None => composed::halving_conv2d::<Self>(x, weight, bias, zeros),
        }
    }
}

/// The variant on cooperative matrices that takes the tensors: `x`, weight and bias. It counts values in u32.
fn variant(tensors: [&CubeTensor; 3], scale: Scale) -> Option<Variant> {
    let [x, weight, _] = tensors;
    let [output, _, kernel, _] = weight.meta.shape().dims();
    let [batch, _, height, width] = x.meta.shape().dims();
    let places: usize = [height, width]
        .map(|length| scale.places(length, kernel))
        .iter()
        .product();
    let counts = [x.meta.num_elements(), batch * output * places];
    let countable = counts
        .iter()
        .all(|&count| count > 0 && u32::try_from(count).is_ok());
    let variant = Variant::of(Matrices::of(x)?, kernel, scale, output);
    variant.filter(|_| countable && wgsl::takes(tensors))
}
