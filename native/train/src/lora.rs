//! A LoRA's training: pictures with captions, painted by the frozen model, whose transformer learns changes of a low rank.
//!
//! The caption goes through the language model and AlignNet, as it does in `generate`; of a pair with an instruction the
//! source and the instruction do, and the target is painted. Left out: the source's latents as tokens beside those of the
//! picture (FLUX.1 Kontext), which no model here is run with.

use std::ops::Range;

use burn::tensor::Device;
use x2i_core::align_net::{AlignNet, Conditioning};
use x2i_core::flux::Flux;
use x2i_core::request::{Part, Prompt};
use x2i_core::training::lora::{self, Adapted, Adapter, Start, Targets};
use x2i_core::training::noise::Sample;
use x2i_core::training::published::{self, About};
use x2i_core::training::{Gradients, Parameters};
use x2i_core::vae::Vae;
use x2i_core::weights::Leaves;
use x2i_core::weights::safetensors::encode;
use x2i_core::{Error, Result};
use x2i_engine::Model;

use crate::data::{self, Buckets, CaptionRules, Dataset, Task, first_words};
use crate::flow::{Item, groups, mean, noise, weighting};
use crate::inputs::{Inputs, Place};
use crate::paint::show;
use crate::parts::Parts;
use crate::run::settings::{FormatKind, Settings};
use crate::run::{Micro, Shown, Subject};
use crate::states::{Learns, States};

/// What trainers of LoRAs feed in.
const GUIDANCE: f32 = 1.0;
/// Pixels between two sizes of a bucket.
const STEP: usize = 64;
/// Bytes of a title.
const MOST_TITLE: usize = 200;

/// A LoRA with its data and the frozen model.
pub struct Lora<'a> {
    settings: &'a Settings,
    parts: Parts<'a>,
    /// Without a change; frozen tensors are shared with those that have one.
    align_net: AlignNet,
    adapter: Adapter,
    states: States,
    inputs: Inputs,
    captions: CaptionRules,
    buckets: Buckets,
    vae: Option<Vae>,
    size: [usize; 2],
}

impl<'a> Lora<'a> {
    /// Opens the data and loads the frozen model, for the process of `place`, `[world, rank]`. `warn` hears what can't be used of
    /// the data, a line each.
    ///
    /// # Errors
    /// What the data, the model or the device gives; [`Error::Format`] for targets that match no layer.
    pub fn open(
        settings: &'a Settings,
        model: &'a Model,
        device: &Device,
        place: [usize; 2],
        warn: &mut dyn FnMut(String),
    ) -> Result<Self> {
        let odd = |letter: char| letter.is_control() || matches!(letter, '/' | '\\');
        let title = settings.title.trim_matches(['.', ' ']);
        if title.is_empty() || settings.title.len() > MOST_TITLE || settings.title.contains(odd) {
            let reason = "is a part of a file's name: letters without slashes, at most 200 bytes";
            return Err(Error::config("`title`", reason));
        }
        let inputs = Inputs::open(settings, Task::Paint, place, warn)?;
        if inputs.has_pairs() {
            model.config().check_sees()?;
        }
        let parts = Parts::open(model, device)?;
        let size = settings.size(&parts.config().defaults);
        let buckets = match settings.resolution {
            Some(resolution) => Buckets::new(resolution, STEP.min(resolution))?,
            None => Buckets::one(size)?,
        };
        let alpha = settings.alpha.unwrap_or(settings.rank as f32);
        let adapter = Adapter::new(
            &parts.flux,
            targets(&settings.targets),
            (settings.rank, alpha),
            settings.dora,
        );
        let adapter = pollster::block_on(adapter)?;
        let scope = parts.align_net.scope(&parts.device);
        let align_net = pollster::block_on(AlignNet::load(&parts.align_config, &scope))?;
        Ok(Self {
            captions: CaptionRules::new(settings.trigger.as_deref(), settings.caption_dropout)?,
            states: States::load(model, &parts, settings, Learns::FromPictures)?,
            align_net,
            adapter,
            parts,
            settings,
            inputs,
            buckets,
            vae: None,
            size,
        })
    }

    /// Bytes of the parts that a run holds, by part.
    pub fn needs(&self) -> Vec<(&'static str, u64)> {
        let numbers = self.adapter.start(Start::Uniform, 0).numbers() as u64;
        let held =
            |weights: &x2i_core::weights::Weights| weights.device_len("", &self.parts.device);
        vec![
            ("language model", held(&self.parts.encoder)),
            ("AlignNet", held(&self.parts.align_net)),
            ("transformer", held(&self.parts.flux)),
            ("VAE", held(&self.parts.vae)),
            ("parameters and gradients", 8 * numbers),
            ("optimizer", self.settings.optimizer_bytes(numbers)),
        ]
    }

    /// The paths of the modules that learn, as diffusers names them.
    pub fn modules(&self) -> impl Iterator<Item = &str> {
        self.adapter.paths()
    }

    fn flux(&self, leaves: &Leaves) -> Result<Flux> {
        let scope = self.parts.flux.scope(&self.parts.device);
        let scope = scope.held_by(&self.parts.held).with_leaves(leaves);
        pollster::block_on(Flux::load(&self.parts.config().flux.config, &scope))
    }

    /// What the transformer is told of a sample: its caption, or of a pair the source and the instruction, in the order of
    /// `generate`. Dropout takes the words alone.
    fn conditioning(&self, sample: &data::Sample, number: u64) -> Result<Conditioning> {
        let words = sample.instruction.as_ref().or(sample.caption.as_ref());
        let words = words.map(|words| first_words(words)).unwrap_or_default();
        let words = self.captions.apply(words, self.settings.seed, 0, number);
        let hidden = match sample.instruction {
            None => self.states.hidden(&words)?,
            Some(_) => {
                let mut parts = vec![Part::Image(sample.source()?)];
                parts.extend(
                    Some(words)
                        .filter(|words| !words.is_empty())
                        .map(Part::Text),
                );
                self.states.hidden_of_parts(&Prompt::new(parts))?
            }
        };
        Ok(self.align_net.forward(hidden))
    }

    fn item(&self, data: &Dataset, place: Place) -> Result<Item<()>> {
        let sample = data.sample(place.index)?;
        let (latents, grid) = self.states.latents(&self.parts, &sample, &self.buckets)?;
        let density = self.settings.density.unwrap_or_default();
        let (noise, sigma) = noise(&latents, place.seed, self.settings, density);
        Ok(Item {
            conditioning: self.conditioning(&sample, place.number)?,
            latents,
            noise,
            sigma,
            grid,
            more: (),
        })
    }

    /// Items of one size each, as micro-batches with their share of all.
    fn groups(&self, items: Vec<Item<()>>) -> Vec<(f64, Sample, Vec<()>)> {
        groups(items, self.settings.guidance.unwrap_or(GUIDANCE))
    }
}

/// A preset's name, names of modules with commas between, or a pattern between slashes.
fn targets(words: &str) -> Targets {
    match words {
        "attention" => Targets::attention(),
        "attention-mlp" => Targets::attention_mlp(),
        "blocks" => Targets::blocks(),
        words => match words
            .strip_prefix('/')
            .and_then(|rest| rest.strip_suffix('/'))
        {
            Some(pattern) => Targets::Pattern(pattern.to_owned()),
            None => Targets::Names(
                words
                    .split(',')
                    .map(|name| name.trim().to_owned())
                    .collect(),
            ),
        },
    }
}

impl Subject for Lora<'_> {
    fn start(&mut self) -> Result<Parameters> {
        Ok(self.adapter.start(Start::Uniform, self.settings.seed))
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
        let items = self
            .inputs
            .each(places, |data, place| self.item(data, place))?;
        let leaves = self.adapter.leaves(parameters, &self.parts.device)?;
        let constants = self.adapter.constants(parameters, &self.parts.device)?;
        let (learning, plain) = (self.flux(&leaves)?, self.flux(&constants)?);
        let adapted = Adapted {
            plain: &plain,
            learning: &learning,
            leaves: &leaves,
        };
        let (weighting, checkpoints) = (weighting(self.settings), self.settings.checkpoints());
        let loss = mean(self.groups(items), |share, sample, _| {
            let mut of_group = Gradients::default();
            let step = lora::step(adapted, sample, weighting, checkpoints, &mut of_group);
            let loss = pollster::block_on(step)?;
            gradients.add_share(of_group, share as f32);
            Ok(loss)
        })?;
        Ok(Micro {
            loss,
            notes: self.inputs.notes(),
            ..Micro::default()
        })
    }

    fn validate(&mut self, parameters: &Parameters) -> Result<Option<f64>> {
        let flux = self.flux(&self.adapter.constants(parameters, &self.parts.device)?)?;
        self.inputs.validate(|data, place| {
            let items = vec![self.item(data, place)?];
            mean(self.groups(items), |_, sample, _| {
                let loss = sample.validate(&flux, None, weighting(self.settings));
                Ok(pollster::block_on(loss)?.1)
            })
        })
    }

    fn show(&mut self, parameters: &Parameters) -> Result<Vec<Shown>> {
        let flux = self.flux(&self.adapter.constants(parameters, &self.parts.device)?)?;
        let conditioning = |prompt: &str| {
            let words = self.captions.with_trigger(prompt);
            Ok(self
                .align_net
                .forward(self.states.student().states(&words)?))
        };
        show(
            &self.parts,
            self.settings,
            &mut self.vae,
            &flux,
            conditioning,
        )
    }

    fn file(&self, parameters: &Parameters) -> Result<Vec<(String, Vec<u8>)>> {
        let about = About {
            title: self.settings.title.clone(),
            base_model: Some(self.parts.config().name.clone()),
            trigger: self.settings.trigger.clone(),
            license: self.settings.license.clone(),
            ..About::default()
        };
        let mut metadata = published::modelspec(&about, self.size);
        let tensors = match self.settings.format {
            FormatKind::Diffusers => {
                metadata.extend(published::diffusers_metadata(&self.adapter, Start::Uniform));
                published::diffusers(parameters)
            }
            FormatKind::Kohya => {
                metadata.extend(published::kohya_metadata(&self.adapter, &about));
                published::kohya(&self.adapter, parameters)?
            }
        };
        let name = format!("{}.safetensors", self.settings.title);
        Ok(vec![(name, encode(tensors, &metadata))])
    }
}
