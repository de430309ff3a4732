//! A tile machine as loops: it moves and multiplies what AMX would, so that packing, rests and strides are tested on
//! every machine.

use super::*;

/// The machine.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Software;

/// A tile's 16 rows of 64 bytes, as pairs.
type Tile = [[Pair; LANES]; LANES];

unit!(Software, Software, |self| self);

impl Software {
    fn add<const V: usize>(
        &self,
        weights: &[Pair],
        stride: usize,
        inputs: [&[Lanes<Pair>]; V],
        sums: [&mut [Lanes<f32>]; V],
    ) {
        for (inputs, sums) in inputs.into_iter().zip(sums) {
            for (step, inputs) in inputs.as_chunks::<LANES>().0.iter().enumerate() {
                let inputs = inputs.map(|lanes| lanes.0);
                for (half, sums) in sums.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                    let first = half * LANES * stride + step * LANES;
                    multiply(sums, &load(&weights[first..], stride), &inputs);
                }
            }
        }
    }
}

/// `tileloadd`.
fn load(from: &[Pair], stride: usize) -> Tile {
    std::array::from_fn(|row| {
        let row = &from[row * stride..][..LANES];
        row.try_into().expect("16 pairs")
    })
}

/// `tdpbf16ps`: row `m` of the sums gets, for each pair of row `m` of the left tile, its products with the row of the
/// right tile that has the pair's number.
fn multiply(sums: &mut [Lanes<f32>; LANES], left: &Tile, right: &Tile) {
    for (sums, left) in sums.iter_mut().zip(left) {
        for (&left, right) in left.iter().zip(right) {
            for (sum, &right) in sums.0.iter_mut().zip(right) {
                let [a, b] = [left, right].map(|pair| [pair << 16, pair & 0xffff_0000]);
                for (a, b) in a.into_iter().zip(b) {
                    *sum += flushed(a) * flushed(b);
                }
            }
        }
    }
}

/// The number, where it is not subnormal.
fn flushed(bits: u32) -> f32 {
    let number = f32::from_bits(bits);
    if number.is_subnormal() { 0.0 } else { number }
}
