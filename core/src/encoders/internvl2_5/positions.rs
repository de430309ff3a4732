//! The vision tower's learned positions, resized for tiles of another size than in training.
//!
//! Source: `InternVisionEmbeddings._get_pos_embed`, which is PyTorch's bicubic `interpolate`
//! without aligned corners and without antialiasing. Each axis is resized by a product with the
//! same small matrix.

use burn::tensor::{Device, Tensor, TensorData};

use crate::image::cubic::cubic;

/// PyTorch's bicubic coefficient.
const A: f64 = -0.75;

/// Positions `[1, 1 + side², hidden]` of a class token and of patches row by row, for `grid` by
/// `grid` patches: `[1, 1 + grid², hidden]`.
pub fn resize(embedding: Tensor<3>, side: usize, grid: usize) -> Tensor<3> {
    if grid == side {
        return embedding;
    }
    let hidden = embedding.dims()[2];
    let class = embedding.clone().narrow(1, 0, 1);
    let patches = embedding.narrow(1, 1, side * side);
    let matrix = bicubic_matrix(side, grid, &patches.device());
    let rows = matrix
        .clone()
        .matmul(patches.reshape([side, side * hidden])) // [grid, side * hidden]
        .reshape([grid, side, hidden])
        .swap_dims(1, 2) // [grid, hidden, side]
        .reshape([grid * hidden, side]);
    let both = rows
        .matmul(matrix.transpose()) // [grid * hidden, grid]
        .reshape([grid, hidden, grid])
        .swap_dims(1, 2) // [grid, grid, hidden]
        .reshape([1, grid * grid, hidden]);
    Tensor::cat(vec![class, both], 1)
}

/// The weights `[to, from]` by which values on a line of `from` make those on a line of `to`.
fn bicubic_matrix(from: usize, to: usize, device: &Device) -> Tensor<2> {
    let mut matrix = vec![0.0f32; to * from];
    let scale = from as f64 / to as f64;
    for (position, row) in matrix.chunks_exact_mut(from).enumerate() {
        let source = (position as f64 + 0.5) * scale - 0.5;
        for tap in -1..=2 {
            let place = source.floor() as i64 + tap;
            // Beyond the border its own value goes on.
            let inside = place.clamp(0, from as i64 - 1) as usize;
            row[inside] += cubic(source - place as f64, A) as f32;
        }
    }
    Tensor::from_data(TensorData::new(matrix, [to, from]), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rounding of f32 in sums of a few products below 2.
    const TOLERANCE: f32 = 2e-6;

    /// A class token of 9, then `sin(0.7 i)` over `side * side` patches of two channels.
    fn embedding(side: usize) -> Tensor<3> {
        let waves = (0..side * side * 2).map(|i| (i as f32 * 0.7).sin());
        let values: Vec<f32> = [9.0, 9.0].into_iter().chain(waves).collect();
        let shape = [1, 1 + side * side, 2];
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    /// `torch.nn.functional.interpolate(.., mode="bicubic", align_corners=False)` in torch 2.5.1: the
    /// first values, and the sum of each value times its place from 1.
    #[test]
    fn positions_are_resized_as_torch_does() {
        for (side, grid, first, weighted) in TORCH {
            let resized = resize(embedding(side), side, grid);
            assert_eq!(resized.dims(), [1, 1 + grid * grid, 2]);
            let values: Vec<f32> = resized.into_data().try_to_vec().unwrap();
            let (class, patches) = values.split_at(2);
            assert_eq!(class, [9.0, 9.0]);
            for (ours, torch) in patches.iter().zip(first) {
                assert!(
                    (ours - torch).abs() < TOLERANCE,
                    "{side} {grid}: {ours} {torch}"
                );
            }
            let sum: f32 = patches
                .iter()
                .zip(1..)
                .map(|(value, i)| value * i as f32)
                .sum();
            let most = TOLERANCE * (1..=patches.len()).sum::<usize>() as f32;
            assert!(
                (sum - weighted).abs() < most,
                "{side} {grid}: {sum} {weighted}"
            );
        }
    }

    const TORCH: [(usize, usize, [f32; 8], f32); 3] = [
        (
            3,
            5,
            [
                -0.017799, 0.786546, 0.554015, 0.958796, 1.140655, 0.944464, 0.704772, 0.083481,
            ],
            -205.153_08,
        ),
        (
            4,
            2,
            [
                0.326222, 0.768497, -0.077781, -0.617168, -0.766869, -0.323, 0.852701, 0.543746,
            ],
            3.707_729_3,
        ),
        (
            2,
            6,
            [
                -0.173777, 0.71994, -0.037221, 0.754774, 0.349689, 0.853471, 0.804877, 0.969586,
            ],
            -559.157_84,
        ),
    ];

    #[test]
    fn the_same_grid_is_left_as_it_is() {
        let same = resize(embedding(3), 3, 3).into_data();
        assert_eq!(same, embedding(3).into_data());
    }
}
