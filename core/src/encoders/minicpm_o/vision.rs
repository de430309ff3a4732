//! The vision tower: SigLIP over patches of views of any shape.
//!
//! A view's rows and columns are spread over the square of learned positions. Views of one shape
//! run as one batch, so that they need neither padding nor a mask; the published code pads and
//! masks, with the same values outside the padding. Source: X2I's
//! `minicpm/modeling_navit_siglip.py`.

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::block::{Activation, Block, BlockConfig};
use super::slices::{Grid, View};
use crate::config::MiniCpmOConfig;
use crate::error::Result;
use crate::nn::{Bias, Embedding, LayerNorm, Linear};
use crate::weights::Scope;

/// The vision tower (SigLIP): patches of views of one shape to vectors.
#[derive(Debug)]
pub struct VisionTower {
    patch_embedding: Linear,
    position_embedding: Embedding,
    /// Positions along one side.
    positions: usize,
    layers: Vec<Block>,
    post_layernorm: LayerNorm,
    device: Device,
}

impl VisionTower {
    /// Reads the tower under `scope` (`vpm`).
    ///
    /// # Errors
    /// [`crate::Error::MissingTensor`] or [`crate::Error::Shape`].
    pub async fn load(config: &MiniCpmOConfig, scope: &Scope<'_>) -> Result<Self> {
        let vision = &config.vision_config;
        let (width, positions) = (vision.hidden_size, vision.positions());
        let pixels = vision.num_channels * vision.patch_size.pow(2);
        let embeddings = scope.child("embeddings");
        let block = BlockConfig {
            width,
            inner: vision.intermediate_size,
            heads: vision.num_attention_heads,
            eps: vision.layer_norm_eps,
            key_bias: Bias::Yes,
            activation: Activation::GeluTanh,
            names: ["layer_norm1", "layer_norm2", "mlp.fc1", "mlp.fc2"],
        };
        let mut layers = Vec::with_capacity(config.vision_layers());
        for index in 0..config.vision_layers() {
            layers.push(Block::load(&block, &scope.child("encoder.layers").child(index)).await?);
        }
        let patch_embedding = embeddings.child("patch_embedding");
        let position_embedding = embeddings.child("position_embedding");
        let post_layernorm = scope.child("post_layernorm");
        Ok(Self {
            patch_embedding: Linear::load(&patch_embedding, pixels, width, Bias::Yes).await?,
            position_embedding: Embedding::load(&position_embedding, positions.pow(2), width)
                .await?,
            positions,
            layers,
            post_layernorm: LayerNorm::load(&post_layernorm, width, vision.layer_norm_eps).await?,
            device: scope.device().clone(),
        })
    }

    /// Views of one shape -> `[views, patches, hidden]`.
    ///
    /// # Errors
    /// The errors of `before_layer`, which is called before every layer, so that a caller can stop.
    pub async fn forward(
        &self,
        views: &[&View],
        before_layer: &mut impl AsyncFnMut() -> Result<()>,
    ) -> Result<Tensor<3>> {
        let mut x = self.embed(views);
        for layer in 0..self.layers() {
            before_layer().await?;
            x = self.layer(layer, x);
        }
        Ok(self.finish(x))
    }

    /// Layers that run.
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Patches of views of one shape as vectors with their positions, `[views, patches, hidden]`.
    ///
    /// # Panics
    /// When the views are of several shapes, or none.
    pub fn embed(&self, views: &[&View]) -> Tensor<3> {
        let grid = views[0].grid;
        assert!(
            views.iter().all(|view| view.grid == grid),
            "vision tower: the views of a batch must have one shape"
        );
        let values: Vec<f32> = views
            .iter()
            .flat_map(|view| view.pixel_values.iter().copied())
            .collect();
        let pixels = values.len() / (views.len() * grid.places());
        let shape = [views.len(), grid.places(), pixels];
        let patches = Tensor::<3>::from_data(TensorData::new(values, shape), &self.device);
        let ids: Vec<i32> = position_ids(grid, self.positions)
            .into_iter()
            .map(|id| id as i32)
            .collect();
        let ids =
            Tensor::<2, Int>::from_data(TensorData::new(ids, [1, grid.places()]), &self.device);
        self.patch_embedding.forward(patches) + self.position_embedding.forward(ids)
    }

    /// One layer: `[views, patches, hidden]`, same shape out.
    pub fn layer(&self, index: usize, x: Tensor<3>) -> Tensor<3> {
        self.layers[index].forward(x, None)
    }

    /// The norm after the last layer: `[views, patches, hidden]`, same shape out.
    pub fn finish(&self, x: Tensor<3>) -> Tensor<3> {
        self.post_layernorm.forward(x)
    }
}

/// The learned position of each patch of a grid, by rows, among `positions` squared.
fn position_ids(grid: Grid, positions: usize) -> Vec<usize> {
    let step = 1.0 / positions as f64;
    let boundaries = arange(step, step, positions - 1);
    let buckets = |count: usize| -> Vec<usize> {
        let places = arange(0.0, f64::from(1.0 / count as f32), count);
        let bucket = |place: &f32| boundaries.partition_point(|boundary| boundary <= place);
        places.iter().map(bucket).collect()
    };
    let (rows, columns) = (buckets(grid.rows), buckets(grid.columns));
    let places = rows.iter().flat_map(|row| {
        let columns = columns.iter();
        columns.map(move |column| row * positions + column)
    });
    places.collect()
}

/// `torch.arange` in f32 as PyTorch computes it on a CPU with AVX2.
///
/// Where a place falls onto a boundary, the last bit decides which position a patch gets. Whole
/// pairs of vectors of 8 numbers begin at a rounded number and count on from there in f64; the rest
/// is counted in f64 from the start.
fn arange(start: f64, step: f64, count: usize) -> Vec<f32> {
    const LANES: usize = 8;
    let in_vectors = count / (2 * LANES) * (2 * LANES);
    let number = |index: usize| {
        if index >= in_vectors {
            return (start + step * index as f64) as f32;
        }
        let first = (start + step * (index / LANES * LANES) as f64) as f32;
        (f64::from(first) + step * (index % LANES) as f64) as f32
    };
    (0..count).map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(rows: usize, columns: usize, positions: usize) -> Vec<usize> {
        position_ids(Grid { rows, columns }, positions)
    }

    #[test]
    fn a_grid_of_all_positions_has_each_once() {
        // 1 / 10 as f32 is a little more than 1 / 10: its multiples do not fall short of a boundary.
        assert_eq!(ids(10, 10, 10), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_smaller_grid_spreads_over_all_positions() {
        assert_eq!(ids(2, 3, 10), [0, 3, 6, 50, 53, 56]);
        assert_eq!(ids(1, 1, 70), [0]);
        assert_eq!(ids(1, 20, 10)[18..], [9, 9]);
    }

    /// What torch 2.5.1 gives with AVX2 for `bucketize(arange(0, 1 - 1e-6, 1 / 49), ..)`, P = 70.
    #[test]
    fn places_on_a_boundary_fall_as_in_torch() {
        let found = ids(1, 49, 70);
        assert_eq!(found, TORCH_49_OF_70);
    }

    const TORCH_49_OF_70: [usize; 49] = [
        0, 1, 2, 4, 5, 7, 8, 9, 11, 12, 14, 15, 17, 18, 19, 21, 22, 24, 25, 27, 28, 30, 31, 32, 34,
        35, 37, 38, 40, 41, 42, 44, 45, 47, 48, 49, 51, 52, 54, 55, 57, 58, 59, 61, 62, 64, 65, 67,
        68,
    ];
}
