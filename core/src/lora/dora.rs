//! DoRA: a changed matrix whose rows, or columns, get lengths of their own.
//!
//! Source: "DoRA: Weight-Decomposed Low-Rank Adaptation" (arXiv 2402.09353), PEFT's `DoraLinearLayer` and
//! LyCORIS' `apply_weight_decompose`: `W' = m / ‖W + D‖ ∘ (W + D)`. As in ComfyUI, a strength `s` takes that part
//! of the way: `W + s (W' - W)`. Beside other LoRAs each starts from the model's own `W`, as in PEFT.
//!
//! Lengths of rows leave `W` as it is held: its outputs are multiplied. Lengths of columns (LyCORIS before
//! `wd_on_out`) need all numbers of the change.

use std::ops::Range;

use burn::tensor::{Device, Tensor};

use crate::error::{Error, Result};

use super::factors::Factors;
use super::layer::{Sum, matrix, parts};

/// LyCORIS adds it to every length.
const EPS: f64 = f32::EPSILON as f64;

/// The matrix beside which changes stand.
pub(crate) trait Base {
    /// Some of its rows, widened to f32.
    async fn rows(&self, rows: Range<usize>) -> Result<Vec<f32>>;
}

/// What each changed row is multiplied by to get its length in `lengths`.
pub(super) async fn row_gains(
    base: &impl Base,
    factors: &Factors,
    (rows, columns): (Range<usize>, usize),
    lengths: &[f32],
    device: &Device,
) -> Result<Vec<f32>> {
    let mut gains = Vec::with_capacity(rows.len());
    for part in parts(rows.clone(), columns, device) {
        let changed = changed(base, factors, &rows, part, columns, device).await?;
        let squares = values((changed.clone() * changed).sum_dim(1)).await?;
        gains.extend(squares.into_iter().map(f64::from).map(length));
    }
    for (gain, length) in gains.iter_mut().zip(lengths) {
        *gain = length / *gain;
    }
    Ok(gains)
}

/// Adds the change that gives each column its length in `lengths`.
pub(super) async fn add_by_columns(
    sum: &mut Sum<'_>,
    base: &impl Base,
    factors: &Factors,
    rows: Range<usize>,
    (lengths, strength): (&[f32], f32),
) -> Result<()> {
    let (columns, device) = (sum.shape[1], sum.device);
    let mut squares = vec![0.0; columns];
    for part in parts(rows.clone(), columns, device) {
        let changed = changed(base, factors, &rows, part, columns, device).await?;
        let more = values((changed.clone() * changed).sum_dim(0)).await?;
        for (sum, more) in squares.iter_mut().zip(more) {
            *sum += f64::from(more);
        }
    }
    let gains = squares.into_iter().map(length).zip(lengths);
    let gains: Vec<f32> = gains.map(|(found, length)| length / found).collect();
    let gains = matrix(gains, columns, device); // [1, in]
    for part in parts(rows.clone(), columns, device) {
        let own = matrix(base.rows(part.clone()).await?, columns, device);
        let changed = own.clone() + delta(factors, &rows, &part, columns, device);
        let change = (changed * gains.clone() - own) * strength;
        sum.add_dense(part, change);
    }
    Ok(())
}

fn length(squares: f64) -> f32 {
    (squares.sqrt() + EPS) as f32
}

/// A part of the rows of `W + D`.
async fn changed(
    base: &impl Base,
    factors: &Factors,
    rows: &Range<usize>,
    part: Range<usize>,
    columns: usize,
    device: &Device,
) -> Result<Tensor<2>> {
    let own = matrix(base.rows(part.clone()).await?, columns, device);
    Ok(own + delta(factors, rows, &part, columns, device))
}

/// A part of the rows of a change, multiplied out.
fn delta(
    factors: &Factors,
    rows: &Range<usize>,
    part: &Range<usize>,
    columns: usize,
    device: &Device,
) -> Tensor<2> {
    let part = part.start - rows.start..part.end - rows.start;
    match factors {
        Factors::LowRank(pair) => {
            let up = pair.up[part.start * pair.rank..part.end * pair.rank].to_vec();
            let down = matrix(pair.down.clone(), columns, device);
            matrix(up, pair.rank, device).matmul(down)
        }
        Factors::Kron(kron) => matrix(kron.rows(part), columns, device),
        Factors::Dense(values) => {
            let values = &values[part.start * columns..part.end * columns];
            matrix(values.to_vec(), columns, device)
        }
    }
}

async fn values(tensor: Tensor<2>) -> Result<Vec<f32>> {
    let data = tensor.into_data_async().await?;
    data.try_to_vec()
        .map_err(|error| Error::device("(running)", format!("{error:?}")))
}
