//! Convolutions on cooperative matrices: `wgsl/conv2d_coop.wgsl`.
//!
//! Kernels of 1x1 and 3x3, and 3x3 at every second place. Pixels and weights are f16 with powers of two for scales,
//! so that none overflows; a channel's weights have one, and the window of pixels that a workgroup sees.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::{DType, FloatDType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use crate::cooperative::{Halves, Matrices};
use crate::wgsl::{self, Shader};

/// How many places of the output there are for one of the picture, along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// As many.
    Same,
    /// Two: each pixel becomes 2 x 2 first.
    Twice,
    /// Every second, with so many zeros before the picture and behind it.
    Half([usize; 2]),
}

impl Scale {
    fn step(self) -> usize {
        match self {
            Self::Half(_) => 2,
            Self::Same | Self::Twice => 1,
        }
    }

    fn doublings(self) -> usize {
        usize::from(self == Self::Twice)
    }

    /// Zeros before the picture and behind it, for a kernel of this side.
    fn zeros(self, kernel: usize) -> [usize; 2] {
        match self {
            Self::Half(zeros) => zeros,
            Self::Same | Self::Twice => [kernel / 2; 2],
        }
    }

    /// Places along an axis of `length` pixels.
    pub(crate) fn places(self, length: usize, kernel: usize) -> usize {
        let padded = (length << self.doublings()) + self.zeros(kernel).iter().sum::<usize>();
        (padded + self.step()).saturating_sub(kernel) / self.step()
    }
}

/// What a workgroup makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tile {
    /// Eight rows of outputs and eight matrices of output channels.
    Wide,
    /// Eight rows and one matrix: for a picture's colours.
    Few,
    /// Four rows and four matrices, whose window of every second place fits workgroup memory.
    Sparse,
}

impl Tile {
    const ALL: [Self; 3] = [Self::Wide, Self::Few, Self::Sparse];

    /// Subgroups along rows and along channels, and the matrices of each.
    fn shape(self) -> ([usize; 2], [usize; 2]) {
        match self {
            Self::Wide => ([2, 4], [4, 2]),
            Self::Few => ([8, 1], [1, 1]),
            Self::Sparse => ([2, 4], [2, 1]),
        }
    }

    /// Rows of outputs, and matrices along the channels.
    fn size(self) -> [usize; 2] {
        let (subgroups, matrices) = self.shape();
        [0, 1].map(|axis| subgroups[axis] * matrices[axis])
    }
}

/// A variant of the shader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Variant {
    matrices: Matrices,
    kernel: usize,
    step: usize,
    doublings: usize,
    tile: Tile,
}

impl Variant {
    /// The variant for `output` channels, where there is one.
    pub(crate) fn of(
        matrices: Matrices,
        kernel: usize,
        scale: Scale,
        output: usize,
    ) -> Option<Self> {
        let tile = match scale {
            Scale::Half(_) => Tile::Sparse,
            _ if output <= matrices.side as usize => Tile::Few,
            _ => Tile::Wide,
        };
        let variant = Self {
            matrices,
            kernel,
            step: scale.step(),
            doublings: scale.doublings(),
            tile,
        };
        variant.exists().then_some(variant)
    }

    fn exists(self) -> bool {
        let tile = (self.tile == Tile::Sparse) == (self.step == 2);
        tile && match [self.step, self.doublings] {
            [1, 0] => [1, 3].contains(&self.kernel),
            [1, 1] | [2, 0] => self.kernel == 3,
            _ => false,
        }
    }

    /// Channels that are staged at a time.
    fn chunk(self) -> usize {
        if self.kernel == 1 { 32 } else { 16 }
    }

    fn shader(self) -> Shader {
        let ([down, across], [matrices_down, matrices_across]) = self.tile.shape();
        let mut constants = self.matrices.constants();
        let sizes = [
            ("KERNEL", self.kernel),
            ("STEP", self.step),
            ("DOUBLINGS", self.doublings),
            ("CHUNK", self.chunk()),
            ("DOWN", matrices_down),
            ("ACROSS", matrices_across),
            ("SUBGROUPS_DOWN", down),
            ("SUBGROUPS_ACROSS", across),
        ];
        constants.extend(sizes.map(|(name, value)| (name, format!("{value}u"))));
        Shader {
            name: "conv2d_coop",
            text: include_str!(concat!(env!("OUT_DIR"), "/wgsl/conv2d_coop.wgsl")),
            constants,
        }
    }

    /// The convolution of f32 that are not empty; shapes as those of [`conv2d`](super::conv2d).
    pub(crate) fn launch(self, [x, weight, bias]: [CubeTensor; 3], scale: Scale) -> CubeTensor {
        let [batch, channels, height, width] = x.meta.shape().dims();
        let output = weight.meta.shape()[0];
        let [out_height, out_width] =
            [height, width].map(|length| scale.places(length, self.kernel));
        let [rows, outputs] = self.tile.size();
        let side = self.matrices.side as usize;
        let [tiles_down, tiles_across] = [out_height.div_ceil(rows), out_width.div_ceil(side)];
        let output_tiles = output.div_ceil(outputs * side);
        let tiles = batch * tiles_down * tiles_across * output_tiles;
        let params = [
            channels,
            output,
            channels.div_ceil(self.chunk()),
            height,
            width,
            out_height,
            out_width,
            scale.zeros(self.kernel)[0],
            tiles_down,
            tiles_across,
            output_tiles,
            tiles,
        ];
        let params = params.map(|value| value as u32);
        let weight = in_chunks::<CubeBackend>(weight, self.chunk());
        let weight_row = weight.meta.num_elements() / output;
        let weight = Halves::of(weight, weight_row, 0);
        let shape = Shape::new([batch, output, out_height, out_width]);
        let out = wgsl::empty(&x, shape, DType::F32);
        let [x, bias] = [x, bias].map(into_contiguous);
        let buffers = vec![x, weight.numbers, weight.scales, bias, out.clone()];
        let (subgroups, _) = self.tile.shape();
        let threads = subgroups.iter().product::<usize>() as u32 * self.matrices.lanes;
        wgsl::run(self.shader(), buffers, &params, tiles as u32, threads);
        out
    }
}

/// `weight [output, input, kernel, kernel]` as `[output, chunks, kernel * kernel, chunk]`, with zeros for the input
/// channels that the last chunk lacks.
fn in_chunks<B: Backend>(weight: FloatTensor<B>, chunk: usize) -> FloatTensor<B> {
    let [output, input, kernel, _] = weight.shape().dims();
    let (taps, chunks) = (kernel * kernel, input.div_ceil(chunk));
    let missing = Shape::new([output, chunks * chunk - input, taps]);
    let mut weight = B::float_reshape(weight, Shape::new([output, input, taps]));
    if missing.num_elements() > 0 {
        let zeros = B::float_zeros(missing, &weight.device(), FloatDType::F32);
        weight = B::float_cat(vec![weight, zeros], 1);
    }
    let weight = B::float_reshape(weight, Shape::new([output, chunks, chunk, taps]));
    B::float_swap_dims(weight, 2, 3)
}

/// Every variant of the shader.
pub(crate) fn shaders() -> impl Iterator<Item = Shader> {
    let kinds = [1, 3].into_iter().flat_map(|kernel| {
        [[1, 0], [1, 1], [2, 0]].map(move |[step, doublings]| (kernel, step, doublings))
    });
    let variants = kinds.flat_map(|(kernel, step, doublings)| {
        Matrices::ALL.into_iter().flat_map(move |matrices| {
            Tile::ALL.map(|tile| Variant {
                matrices,
                kernel,
                step,
                doublings,
                tile,
            })
        })
    });
    variants
        .filter(|variant| variant.exists())
        .map(Variant::shader)
}
