//! AlignNet's training: captions become what T5 and CLIP say and what AlignNet makes of the language model's states, and
//! the transformer's attention outputs under both are compared.

use std::collections::BTreeMap;
use std::ops::Range;

use burn::tensor::{Device, Tensor, TensorData};
use serde_json::Value;
use x2i_core::align_net::{AlignNet, Conditioning};
use x2i_core::flux::noise::TorchRng;
use x2i_core::flux::{Flux, latents};
use x2i_core::sampler::FlowMatchEuler;
use x2i_core::training::align::{self, Comparison, Distillation, Losses, Reduction, Tokens};
use x2i_core::training::{Gradients, Parameters, initial, published};
use x2i_core::vae::Vae;
use x2i_core::weights::safetensors::encode;
use x2i_core::weights::{Leaves, Weights};
use x2i_core::{Error, Result};
use x2i_engine::Model;

use crate::data::{Buckets, Dataset, Problem, Sample, Task, first_words};
use crate::inputs::{Inputs, Place};
use crate::layer_scales::LayerScales;
use crate::paint::{show, token_grid};
use crate::parts::Parts;
use crate::run::settings::{LossKind, NoiseLevel, Settings, StartKind, TokensKind};
use crate::run::{Micro, Shown, Subject};
use crate::states::{Learns, Said, States};

/// FLUX.1-dev's, at which X2I trains.
const GUIDANCE: f32 = 3.5;
/// Samples that the scales of layers are measured on.
const SCALE_SAMPLES: usize = 64;

/// AlignNet with its data and its frozen models.
pub struct Align<'a> {
    settings: &'a Settings,
    parts: Parts<'a>,
    flux: Flux,
    states: States,
    inputs: Inputs,
    /// Loaded when samples are painted.
    vae: Option<Vae>,
    size: [usize; 2],
    /// What hidden states are multiplied by while AlignNet is trained, `[1, layers + 1, 1, 1]`.
    layer_scales: Option<LayerScales>,
    /// Noise levels of `noise-level = "steps"`.
    levels: Vec<f32>,
}

impl<'a> Align<'a> {
    /// Opens the data and loads the frozen models, for the process of `place`, `[world, rank]`. `warn` hears what can't be used
    /// of the data, a line each.
    ///
    /// # Errors
    /// What the data, the model or the device gives.
    pub fn open(
        settings: &'a Settings,
        model: &'a Model,
        device: &Device,
        place: [usize; 2],
        warn: &mut dyn FnMut(String),
    ) -> Result<Self> {
        let task = match settings.noise_level {
            NoiseLevel::One => Task::Distill,
            NoiseLevel::Uniform | NoiseLevel::Steps => Task::Paint,
        };
        let inputs = Inputs::open(settings, task, place, warn)?;
        let parts = Parts::open(model, device)?;
        let size = settings.size(&parts.config().defaults);
        if token_grid(&parts, size).contains(&0) {
            let reason = format!(
                "{}x{} has no token; take a larger `width` and `height`",
                size[0], size[1]
            );
            return Err(Error::config("training", reason));
        }
        let mut subject = Self {
            flux: parts.flux()?,
            states: States::load(model, &parts, settings, Learns::FromTeacher)?,
            levels: levels(&parts, settings, size),
            parts,
            settings,
            inputs,
            vae: None,
            size,
            layer_scales: None,
        };
        if settings.layer_scales {
            if subject.parts.align_config.t5.is_some() {
                let reason = "`layer-scales` divides the states that AlignNet's T5 blocks read, and no mix in front of them can take the scales; leave it out";
                return Err(Error::config("training", reason));
            }
            let scales = subject.measured_scales()?;
            subject.layer_scales = Some(scales);
        }
        Ok(subject)
    }

    /// The scales of layers, from what the language model says of the first samples.
    fn measured_scales(&self) -> Result<LayerScales> {
        let first = self.inputs.first(SCALE_SAMPLES);
        let said = self
            .inputs
            .each(first, |data, place| self.said(&data.sample(place.index)?))?;
        LayerScales::measure(&self.states.hidden_of(&said)?)
    }

    /// Bytes of the parts that a run holds, by part.
    ///
    /// # Errors
    /// As [`Subject::start`].
    pub fn needs(&self) -> Result<Vec<(&'static str, u64)>> {
        let numbers = self.fresh_or_own()?.numbers() as u64;
        let floats = |count: u64| count * 4;
        let rows = |weights: &Weights| weights.device_len("", &self.parts.device);
        let [rows_of_tokens, columns] = token_grid(&self.parts, self.size);
        let hidden = self.parts.config().flux.config.hidden_size() as u64;
        let tokens = (rows_of_tokens * columns + self.settings.teacher_tokens) as u64
            * self.settings.batch as u64;
        let blocks = self.flux.blocks() as u64;
        Ok(vec![
            ("language model", rows(&self.parts.encoder)),
            ("T5 and CLIP", self.states.teacher_bytes()),
            ("transformer", rows(&self.parts.flux)),
            ("parameters and gradients", floats(2 * numbers)),
            ("optimizer", self.settings.optimizer_bytes(numbers)),
            (
                "streams between blocks",
                floats(2 * tokens * hidden * blocks),
            ),
        ])
    }

    fn fresh_or_own(&self) -> Result<Parameters> {
        if self.settings.start == StartKind::Model {
            let own = Parameters::read(&self.parts.align_net, |_| true);
            let mut own = pollster::block_on(own)?;
            if let Some(scales) = &self.layer_scales {
                scales.unfold(&mut own)?;
            }
            return Ok(own);
        }
        let fresh = initial::align_net(&self.parts.align_config, self.settings.seed);
        let mut fresh = fresh.ok_or_else(|| {
            let reason = "an AlignNet with T5 blocks has no fresh start; set `start` to \"model\"";
            Error::config("training", reason)
        })?;
        if self.settings.start == StartKind::Ends {
            initial::mix_of_ends(&mut fresh);
        }
        Ok(fresh)
    }

    fn distillation(&self) -> Distillation {
        let settings = self.settings;
        Distillation {
            comparison: match settings.loss {
                LossKind::Divergence => Comparison::Divergence {
                    temperature: settings.temperature,
                },
                LossKind::Relative => Comparison::Relative,
            },
            tokens: match settings.tokens {
                TokensKind::All => Tokens::All,
                TokensKind::Image => Tokens::Image,
            },
            reduction: match settings.mean {
                true => Reduction::Mean,
                false => Reduction::Sum,
            },
            velocity: settings.velocity,
            pooled: settings.pooled,
        }
    }

    fn align_net(&self, leaves: &Leaves) -> Result<AlignNet> {
        let scope = self.parts.align_net.scope(&self.parts.device);
        let scope = scope.held_by(&self.parts.held).with_leaves(leaves);
        pollster::block_on(AlignNet::load(&self.parts.align_config, &scope))
    }

    /// What of a sample the language model reads, and answers where the sample says it.
    fn said(&self, sample: &Sample) -> Result<Said> {
        let answer = self.settings.answer_key.as_ref();
        Ok(Said {
            caption: first_words(sample.caption.as_deref().unwrap_or_default()).to_owned(),
            answer: answer.map(|key| text_of(sample, key)).transpose()?,
        })
    }

    /// A sample with its noise.
    fn drawn(&self, data: &Dataset, place: Place) -> Result<Drawn> {
        let sample = data.sample(place.index)?;
        let channels = self.parts.config().vae.config.latent_channels;
        let [rows, columns] = token_grid(&self.parts, self.size);
        let shape = [channels, rows * latents::PACK, columns * latents::PACK];
        let mut random = TorchRng::new(place.seed);
        let noise = TensorData::new(
            random.randn(shape.iter().product()),
            [1, shape[0], shape[1], shape[2]],
        );
        let noise = latents::pack(Tensor::from_data(noise, &self.parts.device));
        let sigma = match self.settings.noise_level {
            NoiseLevel::One => 1.0,
            NoiseLevel::Uniform => random.uniforms(1)[0],
            NoiseLevel::Steps => {
                let number = random.uniforms(1)[0] * self.levels.len() as f32;
                self.levels[(number as usize).min(self.levels.len() - 1)]
            }
        };
        let latents = match self.settings.noise_level {
            NoiseLevel::One => noise,
            NoiseLevel::Uniform | NoiseLevel::Steps => {
                let buckets = Buckets::one(self.size)?;
                let (clean, _) = self.states.latents(&self.parts, &sample, &buckets)?;
                clean * (1.0 - sigma) + noise * sigma
            }
        };
        let said = self.said(&sample)?;
        let taught = match &self.settings.teacher_key {
            None => said.caption.clone(),
            Some(key) => text_of(&sample, key)?,
        };
        Ok(Drawn {
            said,
            taught,
            latents,
            sigma,
        })
    }

    /// What the frozen encoders say of samples.
    fn items(&self, drawn: Vec<Drawn>) -> Result<Vec<Item>> {
        let said: Vec<Said> = drawn.iter().map(|drawn| drawn.said.clone()).collect();
        let taught: Vec<&str> = drawn.iter().map(|drawn| drawn.taught.as_str()).collect();
        let teacher = self.states.teacher(&taught)?;
        let encoded = self.states.hidden_of(&said)?.into_iter().zip(teacher);
        let items = drawn
            .iter()
            .zip(encoded)
            .map(|(drawn, (hidden, teacher))| Item {
                hidden: scaled(self.layer_scales.as_ref(), hidden),
                teacher,
                latents: drawn.latents.clone(),
                sigma: drawn.sigma,
            });
        Ok(items.collect())
    }

    /// Items of one length each, as micro-batches with their share of all.
    fn groups(&self, items: Vec<Item>) -> Vec<(f64, align::Sample)> {
        let count = items.len() as f64;
        let mut by_length: BTreeMap<[usize; 2], Vec<Item>> = BTreeMap::new();
        for item in items {
            let lengths = [item.hidden.dims()[2], item.teacher.txt.dims()[1]];
            by_length.entry(lengths).or_default().push(item);
        }
        let [rows, columns] = token_grid(&self.parts, self.size);
        let ids =
            |text: usize| [latents::text_ids(text), latents::image_ids(rows, columns)].concat();
        let groups = by_length.into_iter().map(|([student, teacher], items)| {
            let share = items.len() as f64 / count;
            let guidance = vec![self.settings.guidance.unwrap_or(GUIDANCE); items.len()];
            let sigma = items.iter().map(|item| item.sigma).collect();
            let (mut hidden, mut txt, mut vec, mut noisy) = (vec![], vec![], vec![], vec![]);
            for item in items {
                hidden.push(item.hidden);
                txt.push(item.teacher.txt);
                vec.push(item.teacher.vec);
                noisy.push(item.latents);
            }
            let sample = align::Sample {
                hidden_states: Tensor::cat(hidden, 0),
                teacher: Conditioning {
                    txt: Tensor::cat(txt, 0),
                    vec: Tensor::cat(vec, 0),
                },
                latents: Tensor::cat(noisy, 0),
                sigma,
                guidance,
                ids: ids(student),
                teacher_ids: ids(teacher),
            };
            (share, sample)
        });
        groups.collect()
    }
}

/// Hidden states as AlignNet is trained on them.
fn scaled(scales: Option<&LayerScales>, hidden: Tensor<4>) -> Tensor<4> {
    match scales {
        Some(scales) => scales.apply(hidden),
        None => hidden,
    }
}

/// Text of a sample in one of its fields.
fn text_of(sample: &Sample, key: &str) -> Result<String> {
    let text = sample.fields.get(key).and_then(Value::as_str);
    let text = text.filter(|text| !text.trim().is_empty());
    text.map(str::to_owned)
        .ok_or_else(|| sample.unread(Problem::NoField(key.to_owned())))
}

/// The noise levels that a picture's steps begin at.
fn levels(parts: &Parts<'_>, settings: &Settings, size: [usize; 2]) -> Vec<f32> {
    let [rows, columns] = token_grid(parts, size);
    let steps = settings
        .sample_steps
        .unwrap_or(parts.config().defaults.steps);
    let sampler = FlowMatchEuler::new(parts.config().scheduler.clone());
    let mut levels = sampler.schedule(steps.max(1), rows * columns).sigmas;
    levels.pop(); // what they end at
    levels
}

/// A sample before the frozen encoders.
struct Drawn {
    said: Said,
    /// What T5 and CLIP read.
    taught: String,
    latents: Tensor<3>,
    sigma: f32,
}

/// A sample as a step takes it.
struct Item {
    hidden: Tensor<4>,
    teacher: Conditioning,
    latents: Tensor<3>,
    sigma: f32,
}

/// Adds a group's losses to those of its micro-batch.
fn add(micro: &mut Micro, share: f64, losses: &Losses, doubles: usize) {
    micro.loss += share * losses.total;
    micro.left_out += losses.left_out;
    let finite = |values: &[f32]| {
        let finite = values.iter().filter(|value| value.is_finite());
        finite.map(|value| f64::from(*value)).sum::<f64>()
    };
    let (double, single) = losses
        .attentions
        .split_at(doubles.min(losses.attentions.len()));
    let mut parts = vec![("double", finite(double)), ("single", finite(single))];
    parts.extend(losses.velocity.map(|value| ("velocity", f64::from(value))));
    parts.extend(losses.pooled.map(|value| ("pooled", f64::from(value))));
    for (name, value) in parts {
        *micro.parts.entry(name.to_owned()).or_default() += share * value;
    }
}

impl Subject for Align<'_> {
    fn start(&mut self) -> Result<Parameters> {
        self.fresh_or_own()
    }

    fn epoch_len(&self) -> usize {
        self.inputs.epoch_len()
    }

    fn micro_batch(
        &mut self,
        parameters: &Parameters,
        samples: Range<u64>,
        gradients: &mut Gradients,
    ) -> Result<Micro> {
        let places = self.inputs.places(samples);
        let drawn = self
            .inputs
            .each(places, |data, place| self.drawn(data, place))?;
        let items = self.items(drawn)?;
        let leaves = parameters.leaves(&self.parts.device)?;
        let align_net = self.align_net(&leaves)?;
        let (distillation, checkpoints) = (self.distillation(), self.settings.checkpoints());
        let mut micro = Micro {
            notes: self.inputs.notes(),
            ..Micro::default()
        };
        for (share, sample) in self.groups(items) {
            let mut of_group = Gradients::default();
            let learning = (&align_net, &leaves);
            let step = align::step(
                &self.flux,
                learning,
                &sample,
                &distillation,
                checkpoints,
                &mut of_group,
            );
            let losses = pollster::block_on(step)?;
            gradients.add_share(of_group, share as f32);
            let streams = match distillation.tokens {
                Tokens::All => 2,
                Tokens::Image => 1,
            };
            add(
                &mut micro,
                share,
                &losses,
                streams * self.flux.double_blocks(),
            );
        }
        Ok(micro)
    }

    fn validate(&mut self, parameters: &Parameters) -> Result<Option<f64>> {
        let leaves = parameters.constants(&self.parts.device)?;
        let align_net = self.align_net(&leaves)?;
        let distillation = self.distillation();
        self.inputs.validate(|data, place| {
            let mut sum = 0.0;
            let items = self.items(vec![self.drawn(data, place)?])?;
            for (share, sample) in self.groups(items) {
                let loss = align::validate(&self.flux, &align_net, &sample, &distillation);
                sum += share * pollster::block_on(loss)?.total;
            }
            Ok(sum)
        })
    }

    fn show(&mut self, parameters: &Parameters) -> Result<Vec<Shown>> {
        let leaves = parameters.constants(&self.parts.device)?;
        let align_net = self.align_net(&leaves)?;
        let conditioning = |prompt: &str| {
            let states = self.states.student().states(prompt)?;
            Ok(align_net.forward(scaled(self.layer_scales.as_ref(), states)))
        };
        show(
            &self.parts,
            self.settings,
            &mut self.vae,
            &self.flux,
            conditioning,
        )
    }

    fn file(&self, parameters: &Parameters) -> Result<Vec<(String, Vec<u8>)>> {
        let mut parameters = parameters.clone();
        if let Some(scales) = &self.layer_scales {
            scales.fold(&mut parameters)?;
        }
        let file = encode(published::plain(&parameters), &BTreeMap::new());
        let config = serde_json::to_vec_pretty(&self.parts.align_config.published())
            .map_err(|error| Error::config("config.json", error.to_string()))?;
        Ok(vec![
            ("proj/diffusion_pytorch_model.safetensors".to_owned(), file),
            ("proj/config.json".to_owned(), config),
        ])
    }
}
