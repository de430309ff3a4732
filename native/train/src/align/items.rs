//! The samples of AlignNet's training: with their noise, then with what the frozen encoders say, then in groups of one
//! length.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, TensorData};
use serde_json::Value;
use x2i_core::align_net::Conditioning;
use x2i_core::flux::latents;
use x2i_core::flux::noise::TorchRng;
use x2i_core::sampler::FlowMatchEuler;
use x2i_core::training::align;
use x2i_core::{Error, Result};

use super::{Align, GUIDANCE};
use crate::data::{Buckets, Dataset, Sample};
use crate::inputs::Place;
use crate::layer_scales::LayerScales;
use crate::paint::token_grid;
use crate::parts::Parts;
use crate::run::Settings;
use crate::run::settings::NoiseLevel;
use crate::states::Said;

impl Align<'_> {
    /// What of a sample the language model reads, and answers where the sample says it.
    pub(super) fn said(&self, sample: &Sample) -> Result<Said> {
        let answer = self.settings.answer_key.as_ref();
        Ok(Said {
            caption: sample.caption.clone().unwrap_or_default(),
            answer: answer.map(|key| text_of(sample, key)).transpose()?,
        })
    }

    /// A sample with its noise.
    pub(super) fn drawn(&self, data: &Dataset, place: Place) -> Result<Drawn> {
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
    pub(super) fn items(&self, drawn: Vec<Drawn>) -> Result<Vec<Item>> {
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
    pub(super) fn groups(&self, items: Vec<Item>) -> Vec<(f64, align::Sample)> {
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
pub(super) fn scaled(scales: Option<&LayerScales>, hidden: Tensor<4>) -> Tensor<4> {
    match scales {
        Some(scales) => scales.apply(hidden),
        None => hidden,
    }
}

/// Text of a sample in one of its fields.
fn text_of(sample: &Sample, key: &str) -> Result<String> {
    let text = sample.fields.get(key).and_then(Value::as_str);
    let text = text.filter(|text| !text.trim().is_empty());
    text.map(str::to_owned).ok_or_else(|| {
        let reason = format!("has no text in its field `{key}`");
        Error::config(format!("sample {}", sample.key), reason)
    })
}

/// The noise levels that a picture's steps begin at.
pub(super) fn levels(parts: &Parts<'_>, settings: &Settings, size: [usize; 2]) -> Vec<f32> {
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
pub(super) struct Drawn {
    said: Said,
    /// What T5 and CLIP read.
    taught: String,
    latents: Tensor<3>,
    sigma: f32,
}

/// A sample as a step takes it.
pub(super) struct Item {
    hidden: Tensor<4>,
    teacher: Conditioning,
    latents: Tensor<3>,
    sigma: f32,
}
