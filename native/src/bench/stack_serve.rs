//! `x2i bench stack-serve`: our side of `x2i bench stack`, in a process of its own.

use std::io::{BufRead, Write};
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use anyhow::Result;
use burn::tensor::{Device, Tensor, TensorData};
use serde::Serialize;
use serde_json::json;
use x2i_core::flux::{Flux, FluxInput, latents};
use x2i_core::weights::{Component, Weights};

use super::process::{Pass, Ready};
use super::stack_files::{StackConfig, StackFiles, side, value_name, write_floats};
use crate::cli::BenchServeArgs;
use crate::device;
use crate::host;
use crate::source::MappedFile;

/// Runs `x2i bench stack-serve`.
///
/// # Errors
/// When the files are not there, the device fails, or nobody listens any more.
pub(super) fn run(args: &BenchServeArgs) -> Result<()> {
    let files = StackFiles::open(&args.weights)?;
    let opened = device::acquire(args.device)?;
    let stack = Stack::load(&files, args, &opened.device)?;
    let mut velocity = opened.guard(|| stack.forward())?; // compiles kernels and touches memory
    answer(&Ready {
        versions: format!(
            "x2i {} {}, {}",
            env!("CARGO_PKG_VERSION"),
            value_name(args.variant),
            opened.entry
        ),
        cpu: host::cpu_seconds().unwrap_or(0.0),
        peak: host::peak_memory().unwrap_or(0),
    })?;
    for line in std::io::stdin().lock().lines() {
        if let Some(file) = line?.strip_prefix("output ") {
            let mut out = Vec::with_capacity(4 * velocity.len());
            write_floats(&mut out, velocity.iter().copied())?;
            std::fs::write(Path::new(file), out)?;
            answer(&json!({}))?;
            continue;
        }
        let (began, cpu) = (Instant::now(), host::cpu_seconds().unwrap_or(0.0));
        velocity = opened.guard(|| stack.forward())?;
        answer(&Pass {
            wall: began.elapsed().as_secs_f64(),
            cpu: host::cpu_seconds().unwrap_or(0.0) - cpu,
            peak: host::peak_memory().unwrap_or(0),
        })?;
    }
    Ok(())
}

fn answer(value: &impl Serialize) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{}", serde_json::to_string(value)?)?;
    Ok(out.flush()?)
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
        let source = Rc::new(MappedFile::open(&files.weights(args.variant))?);
        let flux = pollster::block_on(async {
            let weights = Weights::open("stack", Component::Flux, vec![source]).await?;
            Flux::load(&config.transformer, &weights.scope(device)).await
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

    /// One pass, until its numbers are on the host: `[image tokens, in_channels]`.
    fn forward(&self) -> x2i_core::Result<Vec<f32>> {
        let ids = [
            latents::text_ids(self.config.text_tokens),
            latents::image_ids(self.side, self.side),
        ]
        .concat();
        let rope = self.flux.rope(&ids);
        let input = FluxInput {
            img: self.img.clone(),
            txt: self.txt.clone(),
            vec: self.vec.clone(),
            sigma: &[self.config.sigma],
            guidance: &[0.0],
            rope: &rope,
        };
        let data = pollster::block_on(async {
            let velocity = self.flux.forward(input, &mut async |_| Ok(())).await?;
            Ok::<_, x2i_core::Error>(velocity.into_data_async().await?)
        })?;
        // The bytes of a GPU arrive when they are looked at.
        Ok(data.iter::<f32>().collect())
    }
}
