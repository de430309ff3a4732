//! `x2i bench stack`: FLUX's blocks at their real width, ours and diffusers' in turn.

use std::rc::Rc;

use anyhow::Result;
use burn::tensor::{Device, Tensor, TensorData};
use x2i_core::config::FluxConfig;
use x2i_core::flux::{Flux, FluxInput, latents};
use x2i_core::weights::{Component, Weights};

use super::reference::{Comparison, Reference};
use super::synthetic::{SyntheticSource, flux_shapes};
use crate::cli::BenchStackArgs;
use crate::device;

/// Sizes of the stack; `bench_stack.py` has the same.
const HEADS: usize = 24;
const HEAD_DIM: usize = 128;
const DOUBLE_BLOCKS: usize = 2;
const SINGLE_BLOCKS: usize = 4;
/// Tokens of a side of a 256x256 picture.
const SIDE: usize = 16;
const TEXT_TOKENS: usize = 256;

/// Runs `x2i bench stack`.
///
/// # Errors
/// When the device, or with `--compare` Python, fails.
pub(super) fn run(args: &BenchStackArgs) -> Result<()> {
    let opened = device::acquire(args.device)?;
    let reference = match args.compare {
        true => Some(Reference::start(&args.python, &args.script)?),
        false => None,
    };
    let stack = Stack::new(&opened.device)?;
    let comparison = Comparison::run(args.runs, reference, || {
        opened.guard(|| stack.forward())?;
        Ok(())
    })?;
    let device = opened.entry.to_string();
    let title = format!(
        "FLUX stack on {device}: width {}, {DOUBLE_BLOCKS} double + {SINGLE_BLOCKS} single blocks, {} image + \
         {TEXT_TOKENS} text tokens, f32",
        HEADS * HEAD_DIM,
        SIDE * SIDE,
    );
    comparison.print(&device, &title, args.json)
}

/// The transformer and one input.
struct Stack {
    flux: Flux,
    img: Tensor<3>,
    txt: Tensor<3>,
    vec: Tensor<2>,
}

impl Stack {
    fn new(device: &Device) -> Result<Self> {
        let config = FluxConfig {
            in_channels: 64,
            num_layers: DOUBLE_BLOCKS,
            num_single_layers: SINGLE_BLOCKS,
            attention_head_dim: HEAD_DIM,
            num_attention_heads: HEADS,
            joint_attention_dim: 4096,
            pooled_projection_dim: 768,
            guidance_embeds: false,
            axes_dims_rope: vec![16, 56, 56],
        };
        let source = Rc::new(SyntheticSource::new(&flux_shapes(&config)));
        let flux = pollster::block_on(async {
            let weights = Weights::open("synthetic", Component::Flux, vec![source]).await?;
            Flux::load(&config, &weights.scope(device)).await
        })?;
        Ok(Self {
            flux,
            img: input([1, SIDE * SIDE, config.in_channels], device),
            txt: input([1, TEXT_TOKENS, config.joint_attention_dim], device),
            vec: input([1, config.pooled_projection_dim], device),
        })
    }

    /// One forward pass, until its numbers are on the host.
    fn forward(&self) -> x2i_core::Result<()> {
        let ids = [
            latents::text_ids(TEXT_TOKENS),
            latents::image_ids(SIDE, SIDE),
        ]
        .concat();
        let rope = self.flux.rope(&ids);
        let input = FluxInput {
            img: self.img.clone(),
            txt: self.txt.clone(),
            vec: self.vec.clone(),
            sigma: &[0.5],
            guidance: &[0.0],
            rope: &rope,
        };
        let data = pollster::block_on(async {
            let velocity = self.flux.forward(input, &mut async |_| Ok(())).await?;
            Ok::<_, x2i_core::Error>(velocity.into_data_async().await?)
        })?;
        // The bytes of a GPU arrive when they are looked at.
        std::hint::black_box(data.as_bytes().first());
        Ok(())
    }
}

/// Numbers in -1..1 that repeat every 1999.
pub(super) fn input<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    let count = shape.iter().product::<usize>();
    let values: Vec<f32> = (0..count)
        .map(|index| (index % 1999) as f32 / 999.5 - 1.0)
        .collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}
