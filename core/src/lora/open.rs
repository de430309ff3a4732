//! Opens a LoRA file: sorts its keys by what they change, and finds each change's scale.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::error::{Error, Field, Result};
use crate::weights::gguf::MetaValue;
use crate::weights::names::lora::{Beside, Place, Role, bare, beside, place, split, unread_kind};
use crate::weights::{CHECKPOINT_KEY, WeightFile, WeightSource};

use super::kinds::{Besides, Change, How, Keys, Kind, Magnitude, VectorChange};
use super::message::{short, some};
use super::{Lora, LoraConfig};

/// Bytes of a key; every trainer's are far shorter. Patterns of a config are matched with each of them.
const LONGEST_KEY: usize = 1024;

/// The keys of a file, sorted by what they change.
#[derive(Default)]
struct Sorted<'a> {
    /// Place and keys of each module.
    modules: BTreeMap<&'a str, (Place, Keys<'a>)>,
    strangers: Vec<String>,
    beside: Besides,
    /// Keys of kinds that are not read, by kind.
    unread: BTreeMap<&'static str, Vec<&'a str>>,
    /// Matrices that are no changes.
    weights: Vec<&'a str>,
    /// Names of adapters in keys.
    adapters: BTreeSet<&'a str>,
}

impl<'a> Sorted<'a> {
    fn of(all: impl Iterator<Item = &'a String>) -> Self {
        let mut sorted = Self::default();
        for key in all {
            match beside(key) {
                Some(Beside::TextEncoder) => sorted.beside.text_encoders += 1,
                Some(Beside::Embedding) => sorted.beside.embeddings += 1,
                None => sorted.add(key),
            }
        }
        sorted
    }

    fn add(&mut self, key: &'a str) {
        if let Some(kind) = unread_kind(key) {
            return self.unread.entry(kind).or_default().push(key);
        }
        let found = split(key).filter(|_| key.len() <= LONGEST_KEY);
        let found = found.and_then(|found| Some((found, place(found.module)?)));
        let Some((found, place)) = found else {
            return self.strangers.push(key.to_owned());
        };
        if found.role == Role::Weight && !place.is_norm() {
            return self.weights.push(key);
        }
        self.adapters.extend(found.adapter);
        let entry = self.modules.entry(found.module);
        let (_, keys) = entry.or_insert_with(|| (place, Keys::new()));
        // A second key for the same role.
        let second = keys.insert(found.role, key).map(ToOwned::to_owned);
        self.strangers.extend(second);
    }

    /// What no transformer mends.
    fn problems(&self) -> Vec<String> {
        let mut problems = vec![];
        for (kind, keys) in &self.unread {
            let keys = some(keys.iter().copied());
            problems.push(format!("holds {kind}, which x2i does not read: {keys}"));
        }
        if !self.weights.is_empty() {
            problems.push(format!(
                "{} keys are weights themselves, not changes of them; this looks like a model: {}",
                self.weights.len(),
                some(self.weights.iter().copied())
            ));
        }
        if self.adapters.len() > 1 {
            let names = some(self.adapters.iter().copied());
            problems.push(format!(
                "holds several adapters ({names}); save each in a file of its own"
            ));
        }
        problems
    }
}

impl Lora {
    /// Opens a file, whose changes shall count `strength` times.
    ///
    /// # Errors
    /// As [`open_with`](Self::open_with).
    pub async fn open(source: Arc<dyn WeightSource>, strength: f32) -> Result<Self> {
        Self::open_with(source, strength, None).await
    }

    /// Opens a file with the config that PEFT keeps beside it. The config of diffusers in the file's own
    /// header counts where none is given.
    ///
    /// # Errors
    /// [`Error::Request`] for a strength that is no number; [`Error::Format`] for a broken file and
    /// [`Error::Config`] for a config that can't be applied. Whether the changes fit is known beside a
    /// transformer: [`crate::weights::Weights::adapt`].
    pub async fn open_with(
        source: Arc<dyn WeightSource>,
        strength: f32,
        config: Option<&LoraConfig>,
    ) -> Result<Self> {
        if !strength.is_finite() {
            return Err(Error::request(
                Field::LoraScale,
                format!("{strength} is no scale"),
            ));
        }
        let file = WeightFile::open(source).await?;
        if let Some((name, stored)) = file.unread().first_key_value() {
            return Err(file.unreadable(name, stored));
        }
        if file.metadata_value(CHECKPOINT_KEY).is_some() {
            let reason =
                "holds the parameters of a checkpoint, without alpha; take the LoRA beside it";
            return Err(Error::format(file.name(), reason));
        }
        let own = match file.metadata_value("lora_adapter_metadata") {
            Some(MetaValue::String(json)) => LoraConfig::parse_metadata(file.name(), json)?,
            _ => None,
        };
        let sorted = Sorted::of(file.tensors().keys());
        let mut reader = Reader {
            file: &file,
            config: config.or(own.as_ref()),
            changes: vec![],
            vectors: vec![],
            problems: sorted.problems(),
            alphas: 0,
        };
        for (module, (place, keys)) in &sorted.modules {
            if let Err(problem) = reader.add(module, place, keys).await? {
                reader.problems.push(problem);
            }
        }
        reader.refuse_twice();
        let notes = reader.notes();
        let Reader {
            changes,
            vectors,
            problems,
            ..
        } = reader;
        let (strangers, beside) = (sorted.strangers, sorted.beside);
        Ok(Self {
            strength,
            changes,
            vectors,
            strangers,
            beside,
            problems,
            notes,
            file,
        })
    }
}

/// Makes changes of modules.
struct Reader<'a> {
    file: &'a WeightFile,
    config: Option<&'a LoraConfig>,
    changes: Vec<Change>,
    vectors: Vec<VectorChange>,
    problems: Vec<String>,
    /// Modules with an alpha of their own.
    alphas: usize,
}

impl Reader<'_> {
    /// Adds what a module changes; inside is what is wrong with the module.
    ///
    /// # Errors
    /// When its alpha can't be read.
    async fn add(
        &mut self,
        module: &str,
        place: &Place,
        keys: &Keys<'_>,
    ) -> Result<Result<(), String>> {
        let alpha = match keys.get(&Role::Alpha) {
            Some(key) => Some(read_alpha(self.file, key).await?),
            None => None,
        };
        self.alphas += usize::from(alpha.is_some());
        Ok(match place.is_norm() {
            true => self.add_norm(module, place, keys),
            false => self.add_matrix(module, place, keys, alpha),
        })
    }

    fn add_norm(&mut self, module: &str, place: &Place, keys: &Keys<'_>) -> Result<(), String> {
        if keys.keys().eq([&Role::Alpha]) {
            return Err(format!("`{}` has an alpha alone", short(module)));
        }
        for (role, key) in keys {
            let how = match role {
                Role::Difference => How::Add(1.0),
                Role::Weight => How::Replace,
                Role::Alpha => continue,
                _ => return Err(format!("`{}`: a norm has no such change", short(key))),
            };
            self.add_vector(place, place.weight(), key, how);
        }
        Ok(())
    }

    fn add_matrix(
        &mut self,
        module: &str,
        place: &Place,
        keys: &Keys<'_>,
        alpha: Option<f32>,
    ) -> Result<(), String> {
        let short_name = short(module);
        self.check_numbers(keys)?;
        let kind = Kind::of(self.file, &short_name, keys)?;
        let magnitude = keys.get(&Role::Magnitude);
        let mut scale = 1.0;
        match (kind, magnitude) {
            (Some(kind), magnitude) => {
                scale = self.scale(module, &kind, alpha)?;
                let shape = kind.shape();
                let magnitude = magnitude.map(|key| Magnitude::of(self.file, key, shape));
                let magnitude = magnitude.transpose()?;
                let is_dora = self.config.is_some_and(|config| config.dora);
                if is_dora && magnitude.is_none() && matches!(kind, Kind::Pair(_)) {
                    return Err(format!(
                        "`{short_name}` has no magnitude, its config says `use_dora`"
                    ));
                }
                self.changes.push(Change {
                    place: place.clone(),
                    kind,
                    magnitude,
                    scale,
                });
            }
            (None, Some(key)) => return Err(format!("`{}` has no change beside it", short(key))),
            (None, None) if keys.contains_key(&Role::UpBias) => {
                return Err(format!("`{short_name}` has one half of a pair only"));
            }
            (None, None) if keys.keys().eq([&Role::Alpha]) => {
                return Err(format!("`{short_name}` has an alpha alone"));
            }
            (None, None) => {}
        }
        for (role, how) in [
            (Role::UpBias, How::Add(scale)),
            (Role::BiasDifference, How::Add(1.0)),
            (Role::Bias, How::Replace),
        ] {
            if let Some(key) = keys.get(&role) {
                self.add_vector(place, place.bias(), key, how);
            }
        }
        Ok(())
    }

    /// Fails for factors of whole numbers, which are quantized in a way that the file does not tell.
    fn check_numbers(&self, keys: &Keys<'_>) -> Result<(), String> {
        let numbers = keys.iter().filter(|(role, _)| **role != Role::Alpha);
        for (_, key) in numbers {
            let stored = self.file.tensors()[*key].stored;
            if stored.is_whole() {
                return Err(format!(
                    "`{}` holds whole numbers ({stored}) and no scale; take the file as bf16 or f16",
                    short(key)
                ));
            }
        }
        Ok(())
    }

    fn add_vector(&mut self, place: &Place, tensor: String, key: &str, how: How) {
        self.vectors.push(VectorChange {
            place: place.clone(),
            tensor,
            key: key.to_owned(),
            how,
        });
    }

    /// What a change is multiplied by. LyCORIS scales no change of which nothing has a rank.
    fn scale(&self, module: &str, kind: &Kind, alpha: Option<f32>) -> Result<f32, String> {
        let rank = kind.rank();
        if let Kind::Whole(_) = kind {
            return Ok(1.0);
        }
        match (alpha, self.config) {
            (Some(alpha), _) => Ok(rank.map_or(1.0, |rank| alpha / rank as f32)),
            (None, Some(config)) => config.scaling(bare(module), rank).map(|scale| scale as f32),
            (None, None) => Ok(1.0),
        }
    }

    /// Adds a problem for each module of which two keys change the same rows: under two prefixes they are
    /// one change that was saved twice, and would count double.
    fn refuse_twice(&mut self) {
        let name = |change: &Change| change.keys().next().map_or_else(String::new, short);
        let mut twice = vec![];
        for (index, second) in self.changes.iter().enumerate() {
            let mut before = self.changes[..index].iter();
            if let Some(first) = before.find(|first| first.place == second.place) {
                twice.push(format!(
                    "`{}` and `{}` change the same layer",
                    name(first),
                    name(second)
                ));
            }
        }
        self.problems.extend(twice);
    }

    /// What is worth a warning.
    fn notes(&self) -> Vec<String> {
        let is_peft = |key: &String| key.starts_with("base_model.model.");
        let lacks_alpha = self.alphas == 0 && self.config.is_none() && !self.changes.is_empty();
        if lacks_alpha && self.file.tensors().keys().any(is_peft) {
            return vec![
                "there is no `adapter_config.json` beside it; its alpha is taken to be its rank"
                    .to_owned(),
            ];
        }
        vec![]
    }
}

/// Reads the one number of an `alpha`.
async fn read_alpha(file: &WeightFile, key: &str) -> Result<f32> {
    let is_one = file.tensors()[key].elements() == 1;
    let values = match is_one {
        true => file.read(key).await?.to_f32(),
        false => vec![],
    };
    match values.as_slice() {
        [alpha] if alpha.is_finite() => Ok(*alpha),
        _ => Err(Error::format(
            file.name(),
            format!("tensor `{}` should be one number", short(key)),
        )),
    }
}
