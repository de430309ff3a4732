//! `x2i bench train-serve`: our side of `x2i bench train`, in a process of its own.

use anyhow::Result;
use burn::tensor::{Device, Tensor, TensorData};
use x2i_core::InputBits;
use x2i_core::align_net::{AlignNet, Conditioning};
use x2i_core::flux::{Flux, latents};
use x2i_core::training::align::{self, Comparison, Distillation};
use x2i_core::training::lora::{self, Adapted, Adapter};
use x2i_core::training::loss::Weighting;
use x2i_core::training::noise::Sample;
use x2i_core::training::optimizer::{AdamW, Optimizer, Rule};
use x2i_core::training::{Checkpoints, Gradients, Parameters};
use x2i_core::weights::{Held, Leaves, Weights};
use x2i_engine::device;

use super::process::serve;
use super::stack_files::{side, value_name};
use super::train_files::{TrainContent, TrainFiles};
use crate::flags::{BenchTrainServeArgs, TrainStep};

/// The learning rate of an update.
const RATE: f64 = 1e-4;

/// Runs `x2i bench train-serve`.
///
/// # Errors
/// When the files do not exist, the device fails, or standard output is closed.
pub(super) fn run(args: &BenchTrainServeArgs) -> Result<()> {
    let files = TrainFiles::open(&args.weights)?;
    let opened = device::acquire(args.device)?;
    let mut trained = Trained::open(&files, args, &opened.device)?;
    let recorded = match args.recorded_blocks {
        0 => "all blocks recorded".to_owned(),
        blocks => format!("{blocks} recorded"),
    };
    let label = format!("{}, {recorded}, {}", value_name(args.variant), opened.entry);
    serve(&label, || Ok(opened.guard(|| trained.step())?))
}

/// What a step works on.
struct Trained {
    content: TrainContent,
    weights: Weights,
    held: Held,
    input_bits: InputBits,
    device: Device,
    part: Part,
    checkpoints: Checkpoints,
    parameters: Parameters,
    optimizer: Optimizer,
}

/// What learns, from what.
enum Part {
    Align(Box<(Flux, align::Sample)>),
    Lora(Box<(Adapter, Sample)>),
}

impl Trained {
    fn open(files: &TrainFiles, args: &BenchTrainServeArgs, device: &Device) -> Result<Self> {
        let content = files.content().clone();
        let weights = files.open_weights(args.variant)?;
        let input_bits = match args.exact {
            true => InputBits::Sixteen,
            false => InputBits::AsWeights,
        };
        let (part, parameters) = match args.step {
            TrainStep::Align => {
                let scope = weights.scope(device).with_input_bits(input_bits);
                let flux = pollster::block_on(Flux::load(&content.transformer, &scope))?;
                let sample = captions(files, args.size, device)?;
                let part = Part::Align(Box::new((flux, sample)));
                (part, content.align_net_start())
            }
            TrainStep::Lora => {
                let adapter = files.adapter(&weights)?;
                let parameters = files.lora_start(&adapter);
                let sample = picture(files, args.size, device)?;
                (Part::Lora(Box::new((adapter, sample))), parameters)
            }
        };
        let rate = AdamW {
            rate: RATE,
            ..AdamW::default()
        };
        Ok(Self {
            content,
            weights,
            held: Held::default(),
            input_bits,
            device: device.clone(),
            part,
            checkpoints: Checkpoints::recorded(args.recorded_blocks),
            parameters,
            optimizer: Optimizer::new(Rule::AdamW(rate)),
        })
    }

    /// One step and its update; gives the gradients, sorted by name.
    fn step(&mut self) -> x2i_core::Result<Vec<f32>> {
        let mut gradients = Gradients::default();
        match &self.part {
            Part::Align(part) => self.align(&part.0, &part.1, &mut gradients)?,
            Part::Lora(part) => self.lora(&part.0, &part.1, &mut gradients)?,
        }
        let update = self
            .optimizer
            .update(&mut self.parameters, &gradients, 1.0, &self.device);
        pollster::block_on(update)?;
        Ok(gradients
            .iter()
            .flat_map(|(_, values)| values.iter().copied())
            .collect())
    }

    fn align(
        &self,
        flux: &Flux,
        sample: &align::Sample,
        gradients: &mut Gradients,
    ) -> x2i_core::Result<()> {
        let leaves = self.parameters.leaves(&self.device)?;
        let distillation = Distillation {
            comparison: Comparison::Divergence {
                temperature: self.content.temperature,
            },
            ..Distillation::REFERENCE
        };
        pollster::block_on(async {
            // Every tensor of it is a leaf.
            let scope = self.weights.scope(&self.device).with_leaves(&leaves);
            let align_net = AlignNet::load(&self.content.align_net(), &scope).await?;
            let learning = (&align_net, &leaves);
            let checkpoints = self.checkpoints;
            align::step(
                flux,
                learning,
                sample,
                &distillation,
                checkpoints,
                gradients,
            )
            .await?;
            Ok(())
        })
    }

    fn lora(
        &self,
        adapter: &Adapter,
        sample: &Sample,
        gradients: &mut Gradients,
    ) -> x2i_core::Result<()> {
        let leaves = adapter.leaves(&self.parameters, &self.device)?;
        let constants = adapter.constants(&self.parameters, &self.device)?;
        let (learning, plain) = (self.flux(&leaves)?, self.flux(&constants)?);
        let adapted = Adapted {
            plain: &plain,
            learning: &learning,
            leaves: &leaves,
        };
        let (weighting, checkpoints) = (Weighting::None, self.checkpoints);
        let step = lora::step(adapted, sample, weighting, checkpoints, gradients);
        pollster::block_on(step).map(|_| ())
    }

    fn flux(&self, leaves: &Leaves) -> x2i_core::Result<Flux> {
        let scope = self.weights.scope(&self.device);
        let scope = scope.with_input_bits(self.input_bits);
        let scope = scope.held_by(&self.held).with_leaves(leaves);
        pollster::block_on(Flux::load(&self.content.transformer, &scope))
    }
}

fn tokens(values: Vec<f32>, width: usize, device: &Device) -> Tensor<3> {
    let shape = [1, values.len() / width, width];
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn conditioning(files: &TrainFiles, device: &Device) -> Result<Conditioning> {
    let sizes = &files.content().transformer;
    let vec = TensorData::new(files.floats("vec.f32")?, [1, sizes.pooled_projection_dim]);
    Ok(Conditioning {
        txt: tokens(files.floats("txt.f32")?, sizes.joint_attention_dim, device),
        vec: Tensor::from_data(vec, device),
    })
}

/// Ids of all tokens, text first.
fn ids(content: &TrainContent, pixels: usize) -> Vec<[f32; 3]> {
    let side = side(pixels);
    let text = latents::text_ids(content.text_tokens);
    [text, latents::image_ids(side, side)].concat()
}

/// What AlignNet learns from.
fn captions(files: &TrainFiles, pixels: usize, device: &Device) -> Result<align::Sample> {
    let content = files.content();
    let states = files.floats("states.f32")?;
    let shape = [1, content.layers, content.text_tokens, content.layer_width];
    let noise = files.floats(&format!("noise-{pixels}.f32"))?;
    Ok(align::Sample {
        hidden_states: Tensor::from_data(TensorData::new(states, shape), device),
        teacher: conditioning(files, device)?,
        latents: tokens(noise, content.transformer.in_channels, device),
        sigma: vec![1.0],
        guidance: vec![0.0],
        ids: ids(content, pixels),
        teacher_ids: ids(content, pixels),
    })
}

/// What the LoRA learns from.
fn picture(files: &TrainFiles, pixels: usize, device: &Device) -> Result<Sample> {
    let content = files.content();
    let packed = |name: &str| {
        let values = files.floats(&format!("{name}-{pixels}.f32"))?;
        Ok::<_, anyhow::Error>(tokens(values, content.transformer.in_channels, device))
    };
    Ok(Sample {
        conditioning: conditioning(files, device)?,
        latents: packed("img")?,
        noise: packed("noise")?,
        sigma: vec![content.sigma],
        guidance: vec![0.0],
        ids: ids(content, pixels),
        reference: None,
    })
}
