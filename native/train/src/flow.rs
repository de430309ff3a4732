//! Samples of flow matching: pictures with noise at a level that is drawn, put together in batches of one size.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, TensorData};
use x2i_core::Result;
use x2i_core::align_net::Conditioning;
use x2i_core::flux::latents;
use x2i_core::flux::noise::TorchRng;
use x2i_core::training::loss::{Density, Weighting, flux_shift, table_sigma};
use x2i_core::training::noise::Sample;

use crate::run::Settings;
use crate::run::settings::{DensityKind, WeightingKind};

/// A picture as a step takes it, with the tensors that steer it.
pub(crate) struct Item<H> {
    pub(crate) conditioning: Conditioning,
    /// Packed, `[1, tokens, channels]`.
    pub(crate) latents: Tensor<3>,
    pub(crate) noise: Tensor<3>,
    pub(crate) sigma: f32,
    /// Rows and columns of tokens.
    pub(crate) grid: [usize; 2],
    /// What only one kind of runs has.
    pub(crate) more: H,
}

/// Noise of the latents' shape and its level, which follow from a sample's seed.
pub(crate) fn noise(
    latents: &Tensor<3>,
    seed: u64,
    settings: &Settings,
    density: DensityKind,
) -> (Tensor<3>, f32) {
    let mut random = TorchRng::new(seed);
    let [batch, tokens, channels] = latents.dims();
    let noise = random.randn(tokens * channels);
    let noise = TensorData::new(noise, [batch, tokens, channels]);
    let sigma = sigma(
        settings,
        density,
        [random.randn(16)[0], random.uniforms(1)[0]],
        tokens,
    );
    (Tensor::from_data(noise, &latents.device()), sigma)
}

/// The noise level of a normal and a uniform number, for a picture of so many tokens.
fn sigma(
    settings: &Settings,
    density: DensityKind,
    [normal, uniform]: [f32; 2],
    tokens: usize,
) -> f32 {
    let shift = settings.shift;
    let density = match density {
        DensityKind::FluxShift => return flux_shift(normal, tokens),
        DensityKind::Uniform => Density::Uniform,
        DensityKind::LogitNormal => Density::LogitNormal {
            mean: 0.0,
            std: 1.0,
        },
        DensityKind::Mode => Density::Mode { scale: 1.29 },
        DensityKind::Shift => return Density::Shifted { shift }.at(normal, uniform),
    };
    table_sigma(density.at(normal, uniform))
}

pub(crate) fn weighting(settings: &Settings) -> Weighting {
    match settings.weighting {
        WeightingKind::None => Weighting::None,
        WeightingKind::SigmaSqrt => Weighting::SigmaSqrt,
        WeightingKind::Cosmap => Weighting::Cosmap,
    }
}

/// The mean of what `loss` gives of each group, which hears the group's share of all.
pub(crate) fn mean<H>(
    groups: Vec<(f64, Sample, H)>,
    mut loss: impl FnMut(f64, &Sample, &H) -> Result<f32>,
) -> Result<f64> {
    let mut sum = 0.0;
    for (share, sample, more) in groups {
        sum += share * f64::from(loss(share, &sample, &more)?);
    }
    Ok(sum)
}

/// Items of one size each, as micro-batches with their share of all.
pub(crate) fn groups<H>(items: Vec<Item<H>>, guidance: f32) -> Vec<(f64, Sample, Vec<H>)> {
    let count = items.len() as f64;
    let mut by_size: BTreeMap<[usize; 3], Vec<Item<H>>> = BTreeMap::new();
    for item in items {
        let [rows, columns] = item.grid;
        let size = [rows, columns, item.conditioning.txt.dims()[1]];
        by_size.entry(size).or_default().push(item);
    }
    let groups = by_size.into_iter().map(|([rows, columns, text], items)| {
        let share = items.len() as f64 / count;
        let (mut txt, mut vec, mut clean, mut noise) = (vec![], vec![], vec![], vec![]);
        let (mut sigma, mut more) = (vec![], vec![]);
        for item in items {
            txt.push(item.conditioning.txt);
            vec.push(item.conditioning.vec);
            clean.push(item.latents);
            noise.push(item.noise);
            sigma.push(item.sigma);
            more.push(item.more);
        }
        let sample = Sample {
            conditioning: Conditioning {
                txt: Tensor::cat(txt, 0),
                vec: Tensor::cat(vec, 0),
            },
            latents: Tensor::cat(clean, 0),
            noise: Tensor::cat(noise, 0),
            guidance: vec![guidance; sigma.len()],
            sigma,
            ids: [latents::text_ids(text), latents::image_ids(rows, columns)].concat(),
            reference: None,
        };
        (share, sample, more)
    });
    groups.collect()
}
