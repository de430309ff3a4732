//! Latents: noise, packing 2x2 latents into a token, ids of tokens, and shrinking for previews.

use std::ops::Range;

use burn::tensor::{Device, Tensor, TensorData};

use super::noise::TorchRng;

/// Latents along each side of one packed token.
pub const PACK: usize = 2;

/// Noise of an image's latents `[1, channels, height, width]`, equal to
/// `torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed))`.
pub fn noise(seed: u64, shape: [usize; 3], device: &Device) -> Tensor<4> {
    draw(&mut TorchRng::new(seed), shape, device)
}

/// The next noise of a generator, `[1, channels, height, width]`.
pub(crate) fn draw(
    generator: &mut TorchRng,
    [channels, height, width]: [usize; 3],
    device: &Device,
) -> Tensor<4> {
    let values = generator.randn(channels * height * width);
    Tensor::from_data(
        TensorData::new(values, [1, channels, height, width]),
        device,
    )
}

/// `[batch, channels, height, width]` -> tokens `[batch, height/2 * width/2, channels * 4]`,
/// channels in the order (channel, row, column).
pub fn pack(latents: Tensor<4>) -> Tensor<3> {
    let [batch, channels, height, width] = latents.dims();
    latents
        .reshape([batch, channels, height / PACK, PACK, width / PACK, PACK])
        .permute([0, 2, 4, 1, 3, 5]) // [batch, rows, columns, channels, 2, 2]
        .reshape([
            batch,
            height / PACK * (width / PACK),
            channels * PACK * PACK,
        ])
}

/// Tokens `[batch, height/2 * width/2, channels * 4]` -> `[batch, channels, height, width]`: the inverse
/// of [`pack`]. `height` and `width` are the latents', not the image's.
pub fn unpack(tokens: Tensor<3>, height: usize, width: usize) -> Tensor<4> {
    let [batch, _tokens, packed] = tokens.dims();
    let channels = packed / (PACK * PACK);
    tokens
        .reshape([batch, height / PACK, width / PACK, channels, PACK, PACK])
        .permute([0, 3, 1, 4, 2, 5]) // [batch, channels, rows, 2, columns, 2]
        .reshape([batch, channels, height, width])
}

/// `[batch, channels, height, width]` with sides of at most `most`: means over squares, which at the
/// right and at the bottom may be ragged.
pub(crate) fn shrink(latents: Tensor<4>, most: usize) -> Tensor<4> {
    let [_, _, height, width] = latents.dims();
    let square = height.max(width).div_ceil(most);
    if square == 1 {
        return latents;
    }
    let device = latents.device();
    let columns = means(width, square, &device).swap_dims(0, 1);
    let rows = means(height, square, &device);
    rows.unsqueeze::<4>()
        .matmul(latents.matmul(columns.unsqueeze::<4>())) // [batch, channels, rows, columns]
}

/// The matrix `[size / square, size]` that takes means of `square` neighbours.
fn means(size: usize, square: usize, device: &Device) -> Tensor<2> {
    let spans = (0..size)
        .step_by(square)
        .map(|start| start..(start + square).min(size));
    let weight = |span: Range<usize>, at| match span.contains(&at) {
        true => 1.0 / span.len() as f32,
        false => 0.0,
    };
    let values: Vec<f32> = spans
        .flat_map(|span| (0..size).map(move |at| weight(span.clone(), at)))
        .collect();
    let rows = values.len() / size;
    Tensor::from_data(TensorData::new(values, [rows, size]), device)
}

/// Ids of all tokens, text first; `height` and `width` are the latents'.
pub(crate) fn ids(text_tokens: usize, height: usize, width: usize) -> Vec<[f32; 3]> {
    [
        text_ids(text_tokens),
        image_ids(height / PACK, width / PACK),
    ]
    .concat()
}

/// Ids (0, row, column) of the tokens of `rows` x `columns` packed latents.
pub fn image_ids(rows: usize, columns: usize) -> Vec<[f32; 3]> {
    (0..rows * columns)
        .map(|token| [0.0, (token / columns) as f32, (token % columns) as f32])
        .collect()
}

/// Ids of text tokens: all zero.
pub fn text_ids(tokens: usize) -> Vec<[f32; 3]> {
    vec![[0.0; 3]; tokens]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shrunk_latents_are_means_of_squares_and_of_ragged_edges() {
        let device = Device::flex();
        let values: Vec<f32> = (0..10).map(|value| value as f32).collect();
        let latents = Tensor::from_data(TensorData::new(values, [1, 1, 2, 5]), &device);
        let shrunk = |most| shrink(latents.clone(), most).into_data();
        let expected = TensorData::new(vec![3.0f32, 5.0, 6.5], [1, 1, 1, 3]);
        shrunk(3).assert_approx_eq::<f32>(&expected, Default::default());
        assert_eq!(shrunk(5), latents.to_data());
    }
}
