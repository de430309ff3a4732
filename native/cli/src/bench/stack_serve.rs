//! `x2i bench stack-serve`: our side of `x2i bench stack`, in a process of its own.

use std::sync::Arc;

use anyhow::Result;
use burn::tensor::{Device, Tensor, TensorData};
use x2i_core::InputBits;
use x2i_core::flux::{Attentions, Flux, FluxInput, latents};
use x2i_core::weights::{Component, Weights};

use super::process::serve;
use super::stack_files::{StackConfig, StackFiles, side, value_name};
use crate::flags::BenchServeArgs;
use x2i_engine::device;
use x2i_engine::models::MappedFile;

/// Runs `x2i bench stack-serve`.
///
/// # Errors
/// When the files do not exist, the device fails, or standard output is closed.
pub(super) fn run(args: &BenchServeArgs) -> Result<()> {
    let files = StackFiles::open(&args.weights)?;
    let opened = device::acquire_with(args.device, args.precision)?;
    let stack = Stack::load(&files, args, &opened.device)?;
    let (weights, precision) = (value_name(args.variant), opened.precision);
    let label = format!("{weights}, {}, {precision}", opened.entry);
    serve(&label, || Ok(opened.guard(|| stack.forward())?))
}

/// The transformer and one input.
struct Stack {
    flux: Flux,
    config: StackConfig,
    side: usize,
    img: Tensor<3>,
    txt: Tensor<3>,
    vec: Tensor<2>,
}

impl Stack {
    fn load(files: &StackFiles, args: &BenchServeArgs, device: &Device) -> Result<Self> {
        let config = files.config().clone();
        let source = Arc::new(MappedFile::open(&files.weights(args.variant))?);
        let flux = pollster::block_on(async {
            let weights = Weights::open("stack", Component::Flux, vec![source]).await?;
            let input_bits = match args.exact {
                true => InputBits::Sixteen,
                false => InputBits::AsWeights,
            };
            let scope = weights.scope(device).with_input_bits(input_bits);
            Flux::load(&config.transformer, &scope).await
        })?;
        let [img, txt, vec] = files.inputs(args.size)?;
        let sizes = &config.transformer;
        let tokens = |values: Vec<f32>, width: usize| {
            let shape = [1, values.len() / width, width];
            Tensor::from_data(TensorData::new(values, shape), device)
        };
        Ok(Self {
            flux,
            side: side(args.size),
            img: tokens(img, sizes.in_channels),
            txt: tokens(txt, sizes.joint_attention_dim),
            vec: Tensor::from_data(
                TensorData::new(vec, [1, sizes.pooled_projection_dim]),
                device,
            ),
            config,
        })
    }

    /// Runs one pass until its numbers are on the host: `[image tokens, in_channels]`.
    fn forward(&self) -> x2i_core::Result<Vec<f32>> {
        let ids = [
            latents::text_ids(self.config.text_tokens),
            latents::image_ids(self.side, self.side),
        ]
        .concat();
        let rope = self.flux.rope(&ids);
        let conditions = self.flux.embed(self.txt.clone(), self.vec.clone(), &[0.0]);
        let input = FluxInput {
            img: self.img.clone(),
            conditions: &conditions,
            sigma: &[self.config.sigma],
            rope: &rope,
            attentions: Attentions::Dropped,
        };
        let data = pollster::block_on(async {
            let velocity = self.flux.forward(input, &mut async |_| Ok(())).await?;
            Ok::<_, x2i_core::Error>(velocity.into_data_async().await?)
        })?;
        // A GPU's bytes arrive only when they are read.
        Ok(data.iter::<f32>().collect())
    }
}
