//! Latents: noise, packing 2x2 pixels into a token, and the ids of tokens.

use burn::tensor::{Device, Tensor, TensorData};

use super::noise::TorchRng;

/// Pixels of a latent's side under one packed token.
pub const PACK: usize = 2;

/// Noise of a picture's latents `[1, channels, height, width]`, equal to
/// `torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed))`.
pub fn noise(seed: u64, [channels, height, width]: [usize; 3], device: &Device) -> Tensor<4> {
    let values = TorchRng::new(seed).randn(channels * height * width);
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

/// The inverse of [`pack`]; `height` and `width` are the latents'.
pub fn unpack(tokens: Tensor<3>, height: usize, width: usize) -> Tensor<4> {
    let [batch, _tokens, packed] = tokens.dims();
    let channels = packed / (PACK * PACK);
    tokens
        .reshape([batch, height / PACK, width / PACK, channels, PACK, PACK])
        .permute([0, 3, 1, 4, 2, 5]) // [batch, channels, rows, 2, columns, 2]
        .reshape([batch, channels, height, width])
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
