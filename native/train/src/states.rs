//! What the frozen encoders say of a caption: the language model's hidden states, and T5's and CLIP's. Both are kept on
//! disk where the run has a cache.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

use burn::tensor::{Device, Tensor, TensorData};
use x2i_core::align_net::Conditioning;
use x2i_core::config::{self, PromptFormat};
use x2i_core::encoders::{EncodeOptions, Encoder};
use x2i_core::flux::latents;
use x2i_core::model::{ModelSource, TeacherPlaces, open_weights, read_teacher};
use x2i_core::request::{Part, Prompt};
use x2i_core::teacher::{T5_TOKENS, Teacher};
use x2i_core::vae::{Bands, VaeEncoder};
use x2i_core::weights::Component;
use x2i_core::{Error, Progress, Result, prompt};
use x2i_engine::Model;
use x2i_engine::files::hash_file;
use x2i_engine::models::{FolderSource, ModelHashes, Verify};

use crate::cache::{Array, Cache, Encoding, Key};
use crate::data::{Buckets, Sample};
use crate::parts::Parts;
use crate::run::Settings;
use crate::run::settings::{ConditioningKind, PromptKind};
use crate::store::{Keeping, Store};

/// Bytes of a GiB.
const GIB: f64 = (1u64 << 30) as f64;

/// The student's language model.
pub(crate) struct Student {
    encoder: Encoder,
    options: EncodeOptions,
    form: PromptKind,
}

impl Student {
    pub(crate) fn load(parts: &Parts<'_>, settings: &Settings) -> Result<Self> {
        let defaults = &parts.config().defaults;
        let conditioning = match settings.conditioning {
            ConditioningKind::Model => defaults.conditioning,
            ConditioningKind::Prompt => config::Conditioning::Prompt,
            ConditioningKind::Answer => config::Conditioning::Answer,
        };
        let mut options = EncodeOptions::of(defaults, conditioning, settings.seed);
        if settings.prompt_format == PromptKind::Training {
            options.prompt_format = PromptFormat::Plain;
        }
        Ok(Self {
            encoder: parts.encoder()?,
            options,
            form: settings.prompt_format,
        })
    }

    /// The hidden states `[1, layers + 1, tokens, width]` of a caption.
    pub(crate) fn states(&self, caption: &str) -> Result<Tensor<4>> {
        self.states_of(&Prompt::text(self.words(caption)))
    }

    /// The same of a whole prompt, as it is.
    pub(crate) fn states_of(&self, prompt: &Prompt) -> Result<Tensor<4>> {
        let mut ignore = async |_: Progress| ControlFlow::Continue(());
        let encoded = self.encoder.encode(prompt, &self.options, &mut ignore);
        Ok(pollster::block_on(encoded)?.hidden_states)
    }

    /// The hidden states `[1, layers + 1, tokens, width]` of what each caption is answered with, all at once.
    fn told(&self, pairs: &[(&str, &str)]) -> Result<Vec<Tensor<4>>> {
        let words: Vec<(String, &str)> = pairs
            .iter()
            .map(|(caption, answer)| (self.words(caption), *answer))
            .collect();
        let words: Vec<(&str, &str)> = words
            .iter()
            .map(|(words, a)| (words.as_str(), *a))
            .collect();
        pollster::block_on(self.encoder.told(&words, &self.options))
    }

    fn words(&self, caption: &str) -> String {
        match self.form {
            PromptKind::Training => prompt::training(caption),
            PromptKind::Inference => caption.to_owned(),
        }
    }

    /// What the states follow from beside the caption.
    fn says(&self) -> String {
        format!("{:?} {:?}", self.form, self.options)
    }
}

/// Where T5 and CLIP are: a folder of their own, or beside the model's transformer.
fn teacher_source<'a>(
    model: &'a Model,
    folder: Option<&'a FolderSource>,
) -> (&'a dyn ModelSource, TeacherPlaces) {
    match folder {
        Some(folder) => (folder, TeacherPlaces::of_flux("")),
        None => (model.files(), TeacherPlaces::of_flux("flux")),
    }
}

/// Whether a run learns from T5 and CLIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Learns {
    /// AlignNet does.
    FromTeacher,
    /// What is painted says it.
    FromPictures,
}

/// A caption, and what the language model answers it with where that is known before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) caption: String,
    pub(crate) answer: Option<String>,
}

/// Encoders with their cache.
pub(crate) struct States {
    student: Student,
    /// T5 and CLIP, where the run learns from them.
    teacher: Option<Teacher>,
    teacher_bytes: u64,
    /// Tokens of T5.
    teacher_tokens: usize,
    store: Store,
    /// Loaded for the first picture.
    vae: OnceCell<Result<VaeEncoder>>,
    device: Device,
}

impl States {
    pub(crate) fn load(
        model: &Model,
        parts: &Parts<'_>,
        settings: &Settings,
        learns: Learns,
    ) -> Result<Self> {
        let teacher = match learns {
            Learns::FromTeacher => Some(Loaded::load(model, parts, settings)?),
            Learns::FromPictures => None,
        };
        let cache = match &settings.cache {
            None => None,
            Some(path) => {
                let mut models = model_hashes(model)?;
                if let Some(teacher) = &teacher {
                    models.extend(teacher.hashes()?);
                }
                let limit = (settings.cache_limit * GIB) as u64;
                Some(Cache::open(path, &models, limit)?)
            }
        };
        Ok(Self {
            student: Student::load(parts, settings)?,
            teacher_bytes: teacher.as_ref().map_or(0, |teacher| teacher.bytes),
            teacher: teacher.map(|teacher| teacher.encoders),
            teacher_tokens: settings.teacher_tokens,
            store: Store::new(cache),
            vae: OnceCell::new(),
            device: parts.device.clone(),
        })
    }

    /// Bytes of T5 and CLIP on the device.
    pub(crate) fn teacher_bytes(&self) -> u64 {
        self.teacher_bytes
    }

    pub(crate) fn student(&self) -> &Student {
        &self.student
    }

    /// The language model's hidden states of a caption.
    pub(crate) fn hidden(&self, caption: &str) -> Result<Tensor<4>> {
        let said = Said {
            caption: caption.to_owned(),
            answer: None,
        };
        Ok(self.hidden_of(&[said])?.remove(0))
    }

    /// The same of a whole prompt of text and pictures.
    pub(crate) fn hidden_of_parts(&self, prompt: &Prompt) -> Result<Tensor<4>> {
        let mut key = Key::of("hidden states of parts").with("form", &self.student.says());
        let mut pixels = vec![];
        for part in &prompt.parts {
            match part {
                Part::Text(text) => key = key.with("text", text),
                Part::Image(image) => {
                    key = key.with("picture", &format!("{}x{}", image.width(), image.height()));
                    pixels.extend_from_slice(image.pixels());
                }
                Part::Video(_) | Part::Audio(_) => unreachable!("a sample has text and pictures"),
            }
        }
        let keeping = Keeping {
            encoding: Encoding::Q8,
            in_memory: false,
        };
        let mut kept = self.store.one(&key.content(&pixels), keeping, || {
            Ok(vec![array("states", self.student.states_of(prompt)?)?])
        })?;
        self.tensor(kept.remove(0))
    }

    /// Those of several captions, or of their answers; answers that are known before are read together.
    pub(crate) fn hidden_of(&self, all: &[Said]) -> Result<Vec<Tensor<4>>> {
        let keys = all.iter().map(|said| {
            let form = self.student.says();
            let mut key = Key::of("hidden states").with("form", &form);
            if let Some(answer) = &said.answer {
                key = key.with("answer", answer);
            }
            key.content(said.caption.as_bytes())
        });
        if !self.store.has_cache() {
            return self.read(&all.iter().collect::<Vec<_>>());
        }
        let keeping = Keeping {
            encoding: Encoding::Q8,
            in_memory: false,
        };
        let keys: Vec<Key> = keys.collect();
        let kept = self.store.all(&keys, keeping, |missing| {
            let all: Vec<&Said> = missing.iter().map(|&number| &all[number]).collect();
            let states = self.read(&all)?.into_iter();
            states.map(|x| Ok(vec![array("states", x)?])).collect()
        })?;
        kept.into_iter().flatten().map(|x| self.tensor(x)).collect()
    }

    /// The states of captions and answers as the language model gives them.
    fn read(&self, all: &[&Said]) -> Result<Vec<Tensor<4>>> {
        let pairs = all.iter().filter_map(|said| {
            let answer = said.answer.as_ref()?;
            Some((said.caption.as_str(), answer.as_str()))
        });
        let told = self.student.told(&pairs.collect::<Vec<_>>())?;
        let mut told = told.into_iter();
        let states = all.iter().map(|said| match &said.answer {
            Some(_) => Ok(told.next().expect("every answer has states")),
            None => self.student.states(&said.caption),
        });
        states.collect()
    }

    /// T5's and CLIP's conditioning of each caption; captions that are not kept are encoded together.
    pub(crate) fn teacher(&self, captions: &[&str]) -> Result<Vec<Conditioning>> {
        let tokens = self.teacher_tokens;
        let key = |caption: &&str| {
            let mut key = Key::of("teacher");
            if tokens != T5_TOKENS {
                key = key.with("tokens", &tokens.to_string());
            }
            key.content(caption.as_bytes())
        };
        let keeping = Keeping {
            encoding: Encoding::Bf16,
            in_memory: true,
        };
        let keys: Vec<Key> = captions.iter().map(key).collect();
        let kept = self.store.all(&keys, keeping, |missing| {
            let teacher = self.teacher.as_ref();
            let teacher = teacher.expect("a run that learns from it has it");
            let captions: Vec<&str> = missing.iter().map(|&number| captions[number]).collect();
            let Conditioning { txt, vec } = teacher.encode_batch(&captions, tokens)?;
            let rows = 0..captions.len();
            let row = |row| {
                let (txt, vec) = (txt.clone(), vec.clone());
                Ok(vec![
                    array("txt", txt.narrow(0, row, 1))?,
                    array("vec", vec.narrow(0, row, 1))?,
                ])
            };
            rows.map(row).collect()
        })?;
        let conditioning = |mut kept: Vec<Array>| {
            let vec = self.tensor(kept.remove(1))?;
            let txt = self.tensor(kept.remove(0))?;
            Ok(Conditioning { txt, vec })
        };
        kept.into_iter().map(conditioning).collect()
    }

    /// The scaled latents of a sample's picture in its bucket's size, packed, `[1, tokens, channels]`, and their rows and
    /// columns of tokens.
    ///
    /// # Errors
    /// [`Error::Image`] for a picture that can't be read.
    pub(crate) fn latents(
        &self,
        parts: &Parts<'_>,
        sample: &Sample,
        buckets: &Buckets,
    ) -> Result<(Tensor<3>, [usize; 2])> {
        let picture = sample.target().map_or(&[][..], |picture| &picture.bytes);
        let key = Key::of("latents")
            .with("sizes", &format!("{:?}", buckets.sizes()))
            .content(picture);
        let keeping = Keeping {
            encoding: Encoding::F16,
            in_memory: true,
        };
        let mut kept = self.store.one(&key, keeping, || {
            let pictures = sample.decode();
            let pictures = pictures.map_err(|problem| sample.unread(problem))?;
            let image = buckets.fit(&pictures.target)?.image;
            let encoder = self.vae.get_or_init(|| parts.vae_encoder());
            let encoder = encoder
                .as_ref()
                .map_err(|error| Error::config("VAE", error.to_string()))?;
            let mut on_part = async |_: &str, _: &Bands| Ok(());
            let encoded = encoder.encode(image.to_tensor(&self.device), &mut on_part);
            let mean = encoder.scale(pollster::block_on(encoded)?.mean);
            Ok(vec![array("latents", mean)?])
        })?;
        let latents: Tensor<4> = self.tensor(kept.remove(0))?;
        let [_, _, height, width] = latents.dims();
        let grid = [height / latents::PACK, width / latents::PACK];
        Ok((latents::pack(latents), grid))
    }

    fn tensor<const D: usize>(&self, array: Array) -> Result<Tensor<D>> {
        let data = TensorData::new(array.values, array.shape);
        Ok(Tensor::from_data(data, &self.device))
    }
}

/// T5 and CLIP with their files.
struct Loaded {
    encoders: Teacher,
    /// On the device.
    bytes: u64,
    /// Of its own, or the model's.
    folder: Option<FolderSource>,
    files: Vec<String>,
}

impl Loaded {
    fn load(model: &Model, parts: &Parts<'_>, settings: &Settings) -> Result<Self> {
        let folder = settings.teacher.as_ref().map(FolderSource::open_part);
        let folder = folder.transpose()?;
        let (source, places) = teacher_source(model, folder.as_ref());
        let found = pollster::block_on(read_teacher(source, &places)).map_err(|error| {
            match (error, &folder) {
                (Error::MissingFile { file }, None) => {
                    let reason = format!(
                        "has no {file}: T5 and CLIP, which AlignNet learns from; name their folder as `teacher`"
                    );
                    Error::config(model.files().place(), reason)
                }
                (error, _) => error,
            }
        })?;
        let bytes = pollster::block_on(async {
            let t5 = open_weights(source, Component::T5, &found.t5.weights).await?;
            let clip = open_weights(source, Component::ClipText, &found.clip.weights).await?;
            Ok::<_, Error>(t5.device_len("", &parts.device) + clip.device_len("", &parts.device))
        })?;
        let files = found.t5.weights.iter().chain(&found.clip.weights);
        Ok(Self {
            encoders: pollster::block_on(Teacher::load(source, &found, &parts.device, None))?,
            bytes,
            files: files.cloned().collect(),
            folder,
        })
    }

    /// The hashes of its files, which are the model's where it has no folder of its own.
    fn hashes(&self) -> Result<BTreeMap<String, String>> {
        let mut hashes = BTreeMap::new();
        for file in &self.files {
            let hash = match &self.folder {
                Some(folder) => hash_file(&folder.path(file))?,
                None => file.clone(),
            };
            hashes.insert(format!("teacher {file}"), hash);
        }
        Ok(hashes)
    }
}

/// The hashes of a model's files.
fn model_hashes(model: &Model) -> Result<BTreeMap<String, String>> {
    let mut hashes = ModelHashes::begin(model.files(), model.config(), Verify::WhenNew)?;
    Ok(hashes.get()?.clone())
}

fn array<const D: usize>(name: &str, tensor: Tensor<D>) -> Result<Array> {
    let shape = tensor.dims().to_vec();
    let data = pollster::block_on(tensor.into_data_async())?;
    let values = data.try_to_vec();
    Ok(Array {
        name: name.to_owned(),
        shape,
        values: values.map_err(|error| Error::device("readback", format!("{error:?}")))?,
    })
}
