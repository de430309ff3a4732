//! The models and LoRAs that a server has, by the names that clients use. Clients never name a path.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use x2i_core::Conditioning;
use x2i_core::image::Hint;
use x2i_core::{Error, Field, Result};
use x2i_engine::{AdapterSpec, LoraSpec, Model, NamedFile, trained_hint};

use crate::job::LoraOrder;

/// A model of the server.
#[derive(Clone)]
pub struct Served {
    /// Its files and config.
    pub model: Model,
    /// LightControl's weights for it.
    pub control_weights: Option<PathBuf>,
}

/// What a model reads, and its defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelFacts {
    /// `text`, `image`, `video`, `audio`.
    pub modalities: Vec<String>,
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Steps.
    pub steps: usize,
    /// Guidance.
    pub guidance: f32,
    /// `prompt` or `answer`.
    #[schema(value_type = String)]
    pub conditioning: Conditioning,
}

impl Served {
    /// What its model reads, and its defaults.
    pub fn facts(&self) -> ModelFacts {
        let defaults = &self.model.config().defaults;
        ModelFacts {
            modalities: defaults.modalities.clone(),
            width: defaults.width,
            height: defaults.height,
            steps: defaults.steps,
            guidance: defaults.guidance,
            conditioning: defaults.conditioning,
        }
    }

    /// What steers where a job does not say: what the control weights were trained with.
    pub fn hint(&self) -> Hint {
        let weights = self.control_weights.as_deref();
        weights.and_then(trained_hint).unwrap_or_default()
    }
}

/// All models and LoRAs of the server.
#[derive(Clone, Default)]
pub struct Models {
    /// In the order in which they were given; the first is the default.
    models: Vec<(String, Served)>,
    loras: BTreeMap<String, PathBuf>,
}

impl Models {
    /// Adds a model.
    ///
    /// # Errors
    /// When one of that name is there.
    pub fn add(&mut self, name: impl Into<String>, served: Served) -> Result<()> {
        let name = name.into();
        if self.models.iter().any(|(other, _)| *other == name) {
            return Err(Error::request(
                Field::Model,
                format!("there are two of the name {name}"),
            ));
        }
        // Records of its images name it as clients do.
        let model = served.model.clone().recorded_as(&name);
        self.models.push((name, Served { model, ..served }));
        Ok(())
    }

    /// Adds a LoRA.
    ///
    /// # Errors
    /// When one of that name is there, or there is no such file.
    pub fn add_lora(&mut self, name: impl Into<String>, path: PathBuf) -> Result<()> {
        let name = name.into();
        if !path.exists() {
            return Err(Error::MissingFile {
                file: path.display().to_string(),
            }
            .at(Field::Lora));
        }
        match self.loras.insert(name.clone(), path) {
            Some(_) => Err(Error::request(
                Field::Lora,
                format!("there are two of the name {name}"),
            )),
            None => Ok(()),
        }
    }

    /// The names of the models; the first is the default.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.models.iter().map(|(name, _)| name.as_str())
    }

    /// The names of the LoRAs.
    pub fn loras(&self) -> impl Iterator<Item = &str> {
        self.loras.keys().map(String::as_str)
    }

    /// All models with their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Served)> {
        self.models
            .iter()
            .map(|(name, served)| (name.as_str(), served))
    }

    /// The model of this name, or the default.
    ///
    /// # Errors
    /// [`Error::Request`] for [`Field::Model`], naming those that are there.
    pub fn get(&self, name: Option<&str>) -> Result<(&str, &Served)> {
        let found = match name.filter(|name| !name.is_empty()) {
            None => self.iter().next(),
            Some(name) => self.iter().find(|(other, _)| *other == name),
        };
        found.ok_or_else(|| {
            let names: Vec<_> = self.names().collect();
            let reason = format!(
                "the server has no model {}; it has {}",
                name.unwrap_or_default(),
                names.join(", ")
            );
            Error::request(Field::Model, reason)
        })
    }

    /// The adapters of a job.
    ///
    /// # Errors
    /// [`Error::Request`] for a LoRA that is not there, or a scale that is no number.
    pub fn adapters(&self, served: &Served, loras: &[LoraOrder]) -> Result<AdapterSpec> {
        let loras = loras.iter().map(|LoraOrder { name, scale }| {
            let path = self.loras.get(name).ok_or_else(|| {
                let names: Vec<_> = self.loras().collect();
                let has = match names.is_empty() {
                    true => "it has none".into(),
                    false => format!("it has {}", names.join(", ")),
                };
                Error::request(Field::Lora, format!("the server has no LoRA {name}; {has}"))
            })?;
            if !scale.is_finite() {
                return Err(Error::request(
                    Field::LoraScale,
                    format!("{scale} is no scale"),
                ));
            }
            let file = NamedFile::labelled(path, name);
            Ok(LoraSpec {
                file,
                config: None,
                scale: *scale,
            })
        });
        Ok(AdapterSpec {
            loras: loras.collect::<Result<_>>()?,
            control_weights: served.control_weights.as_deref().map(without_folders),
        })
    }
}

/// A file of the server whose record has no folder.
fn without_folders(path: &Path) -> NamedFile {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    NamedFile::labelled(path, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_and_loras_are_found_by_name_alone() {
        let mut models = Models::default();
        assert!(models.get(None).is_err());
        let served = Served {
            model: Model::open("emoji").unwrap(),
            control_weights: None,
        };
        models.add("emoji", served.clone()).unwrap();
        assert!(models.add("emoji", served.clone()).is_err());
        assert_eq!(models.get(None).unwrap().0, "emoji");
        assert_eq!(models.get(Some("")).unwrap().0, "emoji");
        models.add("mine", served.clone()).unwrap();
        // Its images tell the name, not the place.
        assert_eq!(models.get(Some("mine")).unwrap().1.model.place(), "mine");
        let error = models.get(Some("../x")).err().unwrap().to_string();
        assert_eq!(
            error,
            "model: the server has no model ../x; it has emoji, mine"
        );
        let order = LoraOrder {
            name: "/etc/passwd".into(),
            scale: 1.0,
        };
        let error = models
            .adapters(&served, &[order])
            .err()
            .unwrap()
            .to_string();
        assert_eq!(
            error,
            "LoRA: the server has no LoRA /etc/passwd; it has none"
        );
    }
}
