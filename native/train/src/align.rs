//! AlignNet's training: captions become what T5 and CLIP say and what AlignNet makes of the language model's states, and
//! the transformer's attention outputs under both are compared.

use std::collections::BTreeMap;
use std::ops::Range;

use burn::tensor::{Device, Tensor, TensorData};
use x2i_core::align_net::{AlignNet, Conditioning};
use x2i_core::flux::noise::TorchRng;
use x2i_core::flux::{Flux, latents};
use x2i_core::teacher::T5_TOKENS;
use x2i_core::training::align::{self, Comparison, Distillation, Losses, Reduction, Tokens};
use x2i_core::training::{Gradients, Parameters, initial, published};
use x2i_core::vae::Vae;
use x2i_core::weights::safetensors::encode;
use x2i_core::weights::{Leaves, Weights};
use x2i_core::{Error, Result};
use x2i_engine::Model;

use crate::data::{Buckets, Dataset, Task};
use crate::inputs::{Inputs, Place};
use crate::paint::{show, token_grid};
use crate::parts::Parts;
use crate::run::settings::{LossKind, NoiseLevel, Settings, StartKind, TokensKind};
use crate::run::{Micro, Shown, Subject};
use crate::states::{Learns, States};

/// FLUX.1-dev's, at which X2I trains.
const GUIDANCE: f32 = 3.5;

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
            NoiseLevel::Uniform => Task::Paint,
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
        Ok(Self {
            flux: parts.flux()?,
            states: States::load(model, &parts, settings, Learns::FromTeacher)?,
            parts,
            settings,
            inputs,
            vae: None,
            size,
        })
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
        let tokens = (rows_of_tokens * columns + T5_TOKENS) as u64 * self.settings.batch as u64;
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
        match self.settings.start {
            StartKind::Model => {
                pollster::block_on(Parameters::read(&self.parts.align_net, |_| true))
            }
            StartKind::Fresh => initial::align_net(&self.parts.align_config, self.settings.seed)
                .ok_or_else(|| {
                    let reason =
                        "an AlignNet with T5 blocks has no fresh start; set `start` to \"model\"";
                    Error::config("training", reason)
                }),
        }
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

    /// A caption with its noise.
    fn item(&self, data: &Dataset, place: Place) -> Result<Item> {
        let sample = data.sample(place.index)?;
        let caption = sample.caption.clone().unwrap_or_default();
        let channels = self.parts.config().vae.config.latent_channels;
        let [rows, columns] = token_grid(&self.parts, self.size);
        let shape = [channels, rows * latents::PACK, columns * latents::PACK];
        let mut random = TorchRng::new(place.seed);
        let noise = TensorData::new(
            random.randn(shape.iter().product()),
            [1, shape[0], shape[1], shape[2]],
        );
        let noise = latents::pack(Tensor::from_data(noise, &self.parts.device));
        let (latents, sigma) = match self.settings.noise_level {
            NoiseLevel::One => (noise, 1.0),
            NoiseLevel::Uniform => {
                let sigma = random.uniforms(1)[0];
                let buckets = Buckets::one(self.size)?;
                let (clean, _) = self.states.latents(&self.parts, &sample, &buckets)?;
                (clean * (1.0 - sigma) + noise * sigma, sigma)
            }
        };
        Ok(Item {
            hidden: self.states.hidden(&caption)?,
            teacher: self.states.teacher(&caption)?,
            latents,
            sigma,
        })
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

/// A caption as a step takes it.
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
        let mut items = vec![];
        for k in samples {
            let place = self.inputs.at(k);
            items.push(
                self.inputs
                    .read(place, |data, place| self.item(data, place))?,
            );
        }
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
            for (share, sample) in self.groups(vec![self.item(data, place)?]) {
                let loss = align::validate(&self.flux, &align_net, &sample, &distillation);
                sum += share * pollster::block_on(loss)?.total;
            }
            Ok(sum)
        })
    }

    fn show(&mut self, parameters: &Parameters) -> Result<Vec<Shown>> {
        let leaves = parameters.constants(&self.parts.device)?;
        let align_net = self.align_net(&leaves)?;
        let conditioning =
            |prompt: &str| Ok(align_net.forward(self.states.student().states(prompt)?));
        show(
            &self.parts,
            self.settings,
            &mut self.vae,
            &self.flux,
            conditioning,
        )
    }

    fn file(&self, parameters: &Parameters) -> Result<Vec<(String, Vec<u8>)>> {
        let file = encode(published::plain(parameters), &BTreeMap::new());
        let config = serde_json::to_vec_pretty(&self.parts.align_config.published())
            .map_err(|error| Error::config("config.json", error.to_string()))?;
        Ok(vec![
            ("proj/diffusion_pytorch_model.safetensors".to_owned(), file),
            ("proj/config.json".to_owned(), config),
        ])
    }
}
