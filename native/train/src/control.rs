//! LightControl's training: pictures and what is seen of them, painted by the frozen model, whose image stream nets learn
//! to steer.
//!
//! Source: X2I lightcontrol/, but for its hint, which was the target itself. What is seen is the sample's own hint or
//! source picture, or edges or brightness that are computed of it when it is read.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use x2i_core::align_net::{AlignNet, Conditioning};
use x2i_core::flux::Flux;
use x2i_core::image::resize::{resize_bicubic, resize_lanczos};
use x2i_core::light_control::{GROUPS, LightControl};
use x2i_core::prompt::light_control;
use x2i_core::request::{Part, Prompt};
use x2i_core::training::control::{self, Nets};
use x2i_core::training::initial::{self, LightControlSizes};
use x2i_core::training::noise::Sample as Noised;
use x2i_core::training::{Gradients, Parameters, published};
use x2i_core::vae::Vae;
use x2i_core::weights::safetensors::encode;
use x2i_core::weights::{Component, Leaves, MemorySource, WeightSource, Weights};
use x2i_core::{Error, Image, Result};
use x2i_engine::files::io_error;
use x2i_engine::{HINT_KEY, Model, media};

use crate::data::{Buckets, CaptionRules, Dataset, Sample, SplitMix64, Task, first_words};
use crate::flow::{Item, groups, mean, noise, weighting};
use crate::inputs::{Inputs, Place};
use crate::paint::show_steered;
use crate::parts::Parts;
use crate::run::settings::{DensityKind, PromptKind, Settings};
use crate::run::{Micro, Shown, Subject};
use crate::states::{Learns, States};

/// FLUX.1-dev's, at which X2I trains.
const GUIDANCE: f32 = 3.5;
/// Sides of what the language model sees in X2I's training: of a pair's source, and of other pictures.
const SEEN: [usize; 2] = [256, 128];
/// The share of X2I's samples whose request is the Chinese caption.
const CAPTIONED: f64 = 0.1;
/// Pixels between two sizes of a bucket.
const STEP: usize = 64;
/// What messages call the nets.
const LABEL: &str = "LightControl";

/// LightControl with its data and the frozen model.
pub struct Control<'a> {
    settings: &'a Settings,
    parts: Parts<'a>,
    align_net: AlignNet,
    flux: Flux,
    /// The parameters of the start. Nets are loaded with leaves in place of all of them.
    start: Parameters,
    nets: Weights,
    states: States,
    inputs: Inputs,
    captions: CaptionRules,
    buckets: Buckets,
    /// Pictures of the sample prompts, in the size that is painted.
    shown: Vec<Image>,
    /// Loaded when samples are painted.
    vae: Option<Vae>,
}

impl<'a> Control<'a> {
    /// Opens the data and loads the frozen model, for the process of `place`, `[world, rank]`. `warn` hears what can't be
    /// used of the data, a line each.
    ///
    /// # Errors
    /// What the data, the model, the weights to begin with, a sample's hint or the device gives.
    pub fn open(
        settings: &'a Settings,
        model: &'a Model,
        device: &Device,
        place: [usize; 2],
        warn: &mut dyn FnMut(String),
    ) -> Result<Self> {
        let inputs = Inputs::open(settings, Task::Control, place, warn)?;
        let parts = Parts::open(model, device)?;
        if settings.prompt_format == PromptKind::Training {
            model.config().check_sees()?;
        }
        let size = settings.size(&parts.config().defaults);
        let buckets = match settings.resolution {
            Some(resolution) => Buckets::new(resolution, STEP.min(resolution))?,
            None => Buckets::one(size)?,
        };
        let start = start(settings, &parts)?;
        let nets = in_memory(&start)?;
        let scope = parts.align_net.scope(&parts.device);
        let align_net = pollster::block_on(AlignNet::load(&parts.align_config, &scope))?;
        Ok(Self {
            captions: CaptionRules::new(None, settings.caption_dropout)?,
            states: States::load(model, &parts, settings, Learns::FromPictures)?,
            flux: parts.flux()?,
            shown: shown(settings, size)?,
            align_net,
            start,
            nets,
            parts,
            settings,
            inputs,
            buckets,
            vae: None,
        })
    }

    /// Bytes of the parts that a run holds, by part.
    pub fn needs(&self) -> Vec<(&'static str, u64)> {
        let numbers = self.start.numbers() as u64;
        let held = |weights: &Weights| weights.device_len("", &self.parts.device);
        vec![
            ("language model", held(&self.parts.encoder)),
            ("AlignNet", held(&self.parts.align_net)),
            ("transformer", held(&self.parts.flux)),
            ("VAE", held(&self.parts.vae)),
            ("parameters and gradients", 8 * numbers),
            ("optimizer", self.settings.optimizer_bytes(numbers)),
        ]
    }

    fn load(&self, leaves: &Leaves) -> Result<LightControl> {
        let scope = self.nets.scope(&self.parts.device).with_leaves(leaves);
        let hidden = self.parts.config().flux.config.hidden_size();
        pollster::block_on(LightControl::load(&scope, hidden, &GROUPS))
    }

    fn item(&self, data: &Dataset, place: Place) -> Result<Item<Tensor<4>>> {
        let sample = data.sample(place.index)?;
        let (latents, grid) = self.states.latents(&self.parts, &sample, &self.buckets)?;
        let pictures = sample.decode();
        let pictures = pictures.map_err(|problem| sample.unread(problem))?;
        let hint = self
            .settings
            .hint
            .of(&self.buckets.fit(&pictures.hint)?.image)?
            .to_tensor(&self.parts.device);
        let prompt = self.prompt(&sample, &pictures.hint, place.number)?;
        prompt.check(self.parts.config())?;
        let conditioning = self
            .align_net
            .forward(self.states.hidden_of_parts(&prompt)?);
        let density = self.settings.density.unwrap_or(DensityKind::LogitNormal);
        let (noise, sigma) = noise(&latents, place.seed, self.settings, density);
        Ok(Item {
            conditioning,
            latents,
            noise,
            sigma,
            grid,
            more: hint,
        })
    }

    /// What the language model is shown of a sample, whose source is `source`.
    fn prompt(&self, sample: &Sample, source: &Image, number: u64) -> Result<Prompt> {
        if self.settings.prompt_format == PromptKind::Training {
            let side = SEEN[usize::from(sample.instruction.is_none())];
            let seen = resize_bicubic(source, side, side)?;
            let mut random = SplitMix64::new(self.settings.seed ^ number);
            let caption = sample
                .fields
                .get("caption_zh")
                .and_then(|text| text.as_str());
            let text = match caption {
                Some(caption) if sample.instruction.is_none() && random.unit() < CAPTIONED => {
                    light_control(first_words(caption))
                }
                _ => sample.control_text(),
            };
            return Ok(Prompt::new(vec![Part::Image(seen), Part::Text(text)]));
        }
        Ok(match (&sample.instruction, &sample.caption) {
            (Some(instruction), _) => Prompt::new(vec![
                Part::Image(source.clone()),
                Part::Text(first_words(instruction).to_owned()),
            ]),
            (None, Some(caption)) => {
                let caption = first_words(caption);
                Prompt::text(self.captions.apply(caption, self.settings.seed, 0, number))
            }
            (None, None) => Prompt::new(vec![Part::Image(source.clone())]),
        })
    }

    /// Batches of items of one size, each with its share of all and its hints `[batch, 3, height, width]`.
    fn groups(&self, items: Vec<Item<Tensor<4>>>) -> Vec<(f64, Noised, Tensor<4>)> {
        let guidance = self.settings.guidance.unwrap_or(GUIDANCE);
        let groups = groups(items, guidance).into_iter();
        groups
            .map(|(share, sample, hints)| (share, sample, Tensor::cat(hints, 0)))
            .collect()
    }

    /// What a sample prompt says, with the picture of its number.
    fn sample_conditioning(&self, number: usize, prompt: &str) -> Result<Conditioning> {
        let prompt = match self.settings.prompt_format {
            PromptKind::Inference => Prompt::text(prompt),
            PromptKind::Training => Prompt::new(vec![
                Part::Image(resize_bicubic(&self.shown[number], SEEN[0], SEEN[0])?),
                Part::Text(light_control(prompt)),
            ]),
        };
        let states = self.states.student().states_of(&prompt)?;
        Ok(self.align_net.forward(states))
    }
}

/// The parameters of the start: those of a file, or fresh nets, one for each double block.
fn start(settings: &Settings, parts: &Parts<'_>) -> Result<Parameters> {
    let config = &parts.config().flux.config;
    if let Some(path) = &settings.control_weights {
        let weights = open(path)?;
        let scope = weights.scope(&parts.device);
        let nets = LightControl::load(&scope, config.hidden_size(), &GROUPS);
        let nets = pollster::block_on(nets)?;
        if nets.len() > config.num_layers {
            let reason = format!(
                "has {} nets, and the transformer {} double blocks",
                nets.len(),
                config.num_layers
            );
            return Err(Error::format(path.display().to_string(), reason));
        }
        return pollster::block_on(Parameters::read(&weights, |_| true));
    }
    let channels = &settings.control_channels;
    let sizes = LightControlSizes {
        nets: config.num_layers,
        hidden: config.hidden_size(),
        embedding: [channels[0], channels[1], channels[2]],
        stages: channels[3..].to_vec(),
        time: settings.control_time,
    };
    Ok(initial::light_control(
        &sizes,
        settings.zero_start,
        settings.seed,
    ))
}

fn open(path: &Path) -> Result<Weights> {
    let name = path.display().to_string();
    let bytes = fs::read(path).map_err(|error| io_error(&name, error))?;
    from_bytes(&name, bytes)
}

/// The names and shapes of parameters, as weights.
fn in_memory(parameters: &Parameters) -> Result<Weights> {
    from_bytes(
        LABEL,
        encode(published::plain(parameters), &BTreeMap::new()),
    )
}

fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Weights> {
    let source = Arc::new(MemorySource::new(name, bytes)) as Arc<dyn WeightSource>;
    pollster::block_on(Weights::open(name, Component::LightControl, vec![source]))
}

/// The pictures of whose hints samples are painted.
fn shown(settings: &Settings, [width, height]: [usize; 2]) -> Result<Vec<Image>> {
    let (prompts, hints) = (settings.sample_prompts.len(), settings.sample_hints.len());
    if prompts != hints {
        let reason = format!(
            "there are {prompts} `sample-prompts` and {hints} `sample-hints`; each prompt needs a picture"
        );
        return Err(Error::config("training", reason));
    }
    let read = |path| {
        let image = media::image::read(path)?.value;
        resize_lanczos(&image, width, height)
    };
    settings
        .sample_hints
        .iter()
        .map(|path| read(path))
        .collect()
}

impl Subject for Control<'_> {
    fn start(&mut self) -> Result<Parameters> {
        Ok(self.start.clone())
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
        let leaves = parameters.leaves(&self.parts.device)?;
        let nets = self.load(&leaves)?;
        let nets = Nets {
            nets: &nets,
            leaves: &leaves,
            scale: 1.0,
        };
        let (weighting, checkpoints) = (weighting(self.settings), self.settings.checkpoints());
        let loss = mean(self.groups(items), |share, sample, hint| {
            let mut of_group = Gradients::default();
            let step = control::step(
                &self.flux,
                nets,
                (sample, hint),
                weighting,
                checkpoints,
                &mut of_group,
            );
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
        let leaves = parameters.constants(&self.parts.device)?;
        let nets = self.load(&leaves)?;
        let nets = Nets {
            nets: &nets,
            leaves: &leaves,
            scale: 1.0,
        };
        self.inputs.validate(|data, place| {
            let items = vec![self.item(data, place)?];
            mean(self.groups(items), |_, sample, hint| {
                let loss =
                    sample.validate(&self.flux, Some((nets, hint)), weighting(self.settings));
                Ok(pollster::block_on(loss)?.1)
            })
        })
    }

    fn show(&mut self, parameters: &Parameters) -> Result<Vec<Shown>> {
        let nets = self.load(&parameters.constants(&self.parts.device)?)?;
        let hints = self.shown.iter().map(|image| self.settings.hint.of(image));
        let hints = hints.collect::<Result<Vec<Image>>>()?;
        let mut vae = self.vae.take();
        let steering = |number: usize| Some((&nets, hints[number].to_tensor(&self.parts.device)));
        let conditioning = |number: usize, prompt: &str| self.sample_conditioning(number, prompt);
        let (parts, settings) = (&self.parts, self.settings);
        let shown = show_steered(
            parts,
            settings,
            &mut vae,
            &self.flux,
            conditioning,
            steering,
        );
        self.vae = vae;
        shown
    }

    fn file(&self, parameters: &Parameters) -> Result<Vec<(String, Vec<u8>)>> {
        let metadata = [
            (HINT_KEY, self.settings.hint.name().to_owned()),
            ("x2i.base_model", self.parts.config().name.clone()),
        ];
        let metadata = metadata.map(|(key, value)| (key.to_owned(), value));
        let file = encode(published::plain(parameters), &metadata.into());
        let name = "control/diffusion_pytorch_model.safetensors";
        Ok(vec![(name.to_owned(), file)])
    }
}
