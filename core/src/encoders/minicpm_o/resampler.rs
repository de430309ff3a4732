//! The resampler: learned queries make a fixed number of tokens of a view of any size.
//!
//! The queries attend once to the view's patches. Keys carry a two-dimensional sinusoid of the
//! patch's place; values and queries carry none. Source: X2I's `minicpm/resampler.py`.

use burn::tensor::{Device, Tensor, TensorData};

use super::slices::Grid;
use crate::config::{MiniCpmOConfig, RESAMPLER_HEAD_DIM};
use crate::error::Result;
use crate::nn::{Bias, LayerNorm, Linear, attention};
use crate::weights::{Matrix, Scope};

/// Epsilon of the LayerNorms; the published code has it in words.
const EPS: f64 = 1e-6;
/// Base of the sinusoids.
const BASE: f32 = 10_000.0;

/// The resampler: the vectors of one view to `query_num` tokens of the decoder's width.
#[derive(Debug)]
pub struct Resampler {
    query: Tensor<2>, // [queries, hidden]
    /// None where the vision tower is as wide as the decoder.
    kv_proj: Option<Linear>,
    ln_q: LayerNorm,
    ln_kv: LayerNorm,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    ln_post: LayerNorm,
    proj: Linear,
}

impl Resampler {
    /// Reads the resampler under `scope` (`resampler`).
    ///
    /// # Errors
    /// [`crate::Error::MissingTensor`] or [`crate::Error::Shape`].
    pub async fn load(config: &MiniCpmOConfig, scope: &Scope<'_>) -> Result<Self> {
        let (width, vision) = (config.decoder.hidden_size, config.vision_config.hidden_size);
        let norm = async |name| LayerNorm::load(&scope.child(name), width, EPS).await;
        let attn = scope.child("attn");
        // Three projections in one tensor; f32, since blocks can't be cut.
        let weight = attn.tensor("in_proj_weight", [3 * width, width]).await?;
        let bias = attn.tensor("in_proj_bias", [3 * width]).await?;
        let third = |index: usize| {
            let weight: Tensor<2> = weight.clone().narrow(0, index * width, width);
            let bias: Tensor<1> = bias.clone().narrow(0, index * width, width);
            Linear::new(Matrix::Dense(weight), Some(bias))
        };
        let kv_proj = match vision == width {
            true => None,
            false => Some(Linear::load(&scope.child("kv_proj"), vision, width, Bias::No).await?),
        };
        // Stored for `x @ proj`, as [in, out].
        let proj: Tensor<2> = scope.tensor("proj", [width, width]).await?;
        Ok(Self {
            query: scope.tensor("query", [config.query_num, width]).await?,
            kv_proj,
            ln_q: norm("ln_q").await?,
            ln_kv: norm("ln_kv").await?,
            q_proj: third(0),
            k_proj: third(1),
            v_proj: third(2),
            out_proj: Linear::load(&attn.child("out_proj"), width, width, Bias::Yes).await?,
            ln_post: norm("ln_post").await?,
            proj: Linear::new(Matrix::Dense(proj.transpose()), None),
        })
    }

    /// Patches of views of one shape, `[views, patches, vision]` -> `[views, queries, hidden]`.
    pub fn forward(&self, x: Tensor<3>, grid: Grid) -> Tensor<3> {
        self.finish(self.attend(self.project(x), grid))
    }

    /// Patches in the decoder's width: `[views, patches, vision]` -> `[views, patches, hidden]`.
    pub fn project(&self, x: Tensor<3>) -> Tensor<3> {
        match &self.kv_proj {
            Some(kv_proj) => kv_proj.forward(x),
            None => x,
        }
    }

    /// Attention of the queries to the patches: `[views, patches, hidden]` ->
    /// `[views, queries, hidden]`.
    pub fn attend(&self, x: Tensor<3>, grid: Grid) -> Tensor<3> {
        let [views, _, width] = x.dims();
        let x = self.ln_kv.forward(x);
        let places = place_embeddings(grid, width, &x.device());
        let heads = |x: Tensor<3>| {
            let [views, tokens, width] = x.dims();
            x.reshape([
                views,
                tokens,
                width / RESAMPLER_HEAD_DIM,
                RESAMPLER_HEAD_DIM,
            ])
            .swap_dims(1, 2) // [views, heads, tokens, head_dim]
        };
        let query = self.q_proj.forward(self.ln_q.forward(self.query.clone()));
        let queries = query.dims()[0];
        let q = heads(query.unsqueeze()).repeat_dim(0, views);
        let k = heads(self.k_proj.forward(x.clone() + places.unsqueeze()));
        let v = heads(self.v_proj.forward(x));
        let mixed = attention(q, k, v, None, 1.0 / (RESAMPLER_HEAD_DIM as f32).sqrt());
        self.out_proj
            .forward(mixed.swap_dims(1, 2).reshape([views, queries, width]))
    }

    /// The last norm and projection: `[views, queries, hidden]`, same shape out.
    pub fn finish(&self, x: Tensor<3>) -> Tensor<3> {
        self.proj.forward(self.ln_post.forward(x))
    }
}

/// Sinusoids of a grid's places, `[places, width]`: the first half of the channels counts columns,
/// the second rows; each half has the sines of all frequencies, then their cosines.
pub fn place_embeddings(grid: Grid, width: usize, device: &Device) -> Tensor<2> {
    let half = width / 2;
    let quarter = half / 2;
    let axis = |count: usize| {
        let angle = |place: usize, k: usize| {
            let frequency = 1.0 / BASE.powf(k as f32 / quarter as f32);
            place as f32 * frequency
        };
        let row = |place: usize| {
            let sines = (0..quarter).map(move |k| angle(place, k).sin());
            sines.chain((0..quarter).map(move |k| angle(place, k).cos()))
        };
        let values: Vec<f32> = (0..count).flat_map(row).collect();
        Tensor::<2>::from_data(TensorData::new(values, [count, half]), device)
    };
    let shape = [grid.rows, grid.columns, half];
    let columns = axis(grid.columns).unsqueeze_dim::<3>(0).expand(shape);
    let rows = axis(grid.rows).unsqueeze_dim::<3>(1).expand(shape);
    Tensor::cat(vec![columns, rows], 2).reshape([grid.places(), width])
}
