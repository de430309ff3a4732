//! Replays an image from its metadata, and warns of differences to the machine that generated it.

use std::path::{Path, PathBuf};

use x2i_core::png::{LoraRecord, Metadata, PartRecord, UsedFile, Versions};
use x2i_core::{Error, Field, ModelConfig, Request, Result};

use super::settings::Settings;
use super::spec::{ControlSpec, InitSpec, JobSpec, PartSpec};
use crate::adapters::{AdapterSpec, LoraSpec};
use crate::device::{self, OpenDevice, Precision, ids};
use crate::files::{NamedFile, Place, Trust, find, folder_of, open_regular, outside};
use crate::format;
use crate::media::Kind;
use crate::models::{EMBEDDED_NAME, Hashes};

/// The most work that the record of an image that is not trusted may ask for: pixels times steps. It is
/// that of 4096x4096 in 128 steps.
const MAX_WORK: usize = 1 << 31;

/// The metadata of an image that x2i generated.
#[derive(Debug, Clone)]
pub struct Record {
    /// The path of the PNG, as it was given.
    image: String,
    /// Its folder, in which the input files are looked up too.
    folder: PathBuf,
    metadata: Metadata,
    trust: Trust,
}

impl Record {
    /// Reads the metadata of a PNG, JPEG or WebP that x2i generated.
    ///
    /// # Errors
    /// [`Error::Field`] for [`Field::Record`] around [`Error::MissingFile`], [`Error::Io`], or
    /// [`Error::Image`] when it is not a complete image; [`Error::Format`] when it is not a regular file;
    /// [`Error::Request`] when it has no metadata.
    pub fn read(path: &Path) -> Result<Self> {
        let image = path.display().to_string();
        let at = |error: Error| error.at(Field::Record);
        let (_, file, _) = open_regular(path).map_err(at)?;
        let facts = format::read_facts(&image, file).map_err(at)?;
        let metadata = facts.metadata.ok_or_else(|| {
            let reason = "has no x2i metadata; only images that x2i generated can be replayed";
            Error::request(Field::Record, format!("{image} {reason}"))
        })?;
        Ok(Self {
            image,
            folder: folder_of(path).to_owned(),
            metadata,
            trust: Trust::Folders,
        })
    }

    /// The same record, trusted so far.
    pub fn trusting(self, trust: Trust) -> Self {
        Self { trust, ..self }
    }

    /// The recorded model: the embedded one's name, or the path of a folder.
    ///
    /// # Errors
    /// [`Error::Request`] for [`Field::Record`] when the folder lies where the record may not reach.
    pub fn model(&self) -> Result<String> {
        let place = &self.metadata.model.place;
        if place == EMBEDDED_NAME {
            return Ok(place.clone());
        }
        match find(place, &self.folder, self.trust) {
            Place::Open(path) => Ok(path.display().to_string()),
            Place::Outside => Err(outside(&self.image, place, Field::Model)),
        }
    }

    /// Checks that a replay is no more work than a record may ask for.
    ///
    /// # Errors
    /// [`Error::Request`] for [`Field::Record`] when it is; its remedies are [`Field::Steps`] and
    /// [`Field::Trust`].
    pub fn check_work(&self, request: &Request) -> Result<()> {
        let Request {
            width,
            height,
            steps,
            ..
        } = request;
        if self.trust == Trust::Anything || width * height * steps <= MAX_WORK {
            return Ok(());
        }
        let reason = format!(
            "{} asks for {width}x{height} in {steps} steps, more than a record may ask for",
            self.image
        );
        let error = Error::request(Field::Record, reason);
        Err(error.mended_by(Field::Steps).mended_by(Field::Trust))
    }

    /// The metadata.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The specification of a job that generates the same image again.
    pub fn job(&self) -> JobSpec {
        let Metadata {
            prompt,
            init,
            control,
            ..
        } = &self.metadata;
        JobSpec {
            parts: prompt.iter().map(|part| self.part(part)).collect(),
            earlier: vec![],
            settings: self.settings(),
            init: init.as_ref().map(|init| InitSpec {
                image: self.used(&init.picture),
                strength: Some(init.strength),
            }),
            control: control.as_ref().map(|control| ControlSpec {
                image: self.used(&control.picture),
                scale: control.scale,
                hint: control.hint,
            }),
        }
    }

    /// The adapters of the recorded run.
    pub fn adapters(&self) -> AdapterSpec {
        let loras = self.metadata.loras.iter();
        let control = self.metadata.control.as_ref();
        AdapterSpec {
            loras: loras
                .map(|lora: &LoraRecord| LoraSpec {
                    file: self.used(&lora.weights),
                    config: lora.config.as_ref().map(|config| self.used(config)),
                    scale: lora.scale,
                })
                .collect(),
            control_weights: control.map(|control| self.used(&control.weights)),
        }
    }

    fn settings(&self) -> Settings {
        let metadata = &self.metadata;
        Settings {
            size: Some((metadata.width, metadata.height)),
            steps: Some(metadata.steps),
            guidance: Some(metadata.guidance),
            cache: Some(metadata.cache.into()),
            seed: Some(metadata.seed),
            conditioning: Some(metadata.conditioning),
            background: Some(metadata.background),
            ..Settings::default()
        }
    }

    fn part(&self, part: &PartRecord) -> PartSpec {
        let file = |kind, file: &str, sha256: &str, fps| PartSpec::File {
            kind,
            file: NamedFile::recorded(file, sha256, &self.image, &self.folder, self.trust),
            fps,
        };
        match part {
            PartRecord::Text(text) => PartSpec::Text(text.clone()),
            PartRecord::Image { file: name, sha256 } => file(Kind::Image, name, sha256, None),
            PartRecord::Video {
                file: name,
                sha256,
                fps,
            } => file(Kind::Video, name, sha256, Some(*fps)),
            PartRecord::Audio { file: name, sha256 } => file(Kind::Audio, name, sha256, None),
        }
    }

    fn used(&self, UsedFile { file, sha256 }: &UsedFile) -> NamedFile {
        NamedFile::recorded(file, sha256, &self.image, &self.folder, self.trust)
    }

    /// The error of a recorded model that is not where it was.
    pub fn model_error(&self, error: Error) -> Error {
        let place = &self.metadata.model.place;
        let reason = format!(
            "{} was made with the model `{place}`, which can't be opened from here: {error}",
            self.image
        );
        Error::request(Field::Record, reason).mended_by(Field::Model)
    }

    /// Checks that `config` is that of the recorded model.
    ///
    /// # Errors
    /// [`Error::Request`] for [`Field::Record`] when it is not; its remedy is [`Field::Model`].
    pub fn check_model(&self, config: &ModelConfig) -> Result<()> {
        let recorded = &self.metadata.model.name;
        if *recorded == config.name {
            return Ok(());
        }
        let reason = format!(
            "{} was made by the model `{recorded}`, this is `{}`",
            self.image, config.name
        );
        Err(Error::request(Field::Record, reason).mended_by(Field::Model))
    }

    /// Warnings about differences to the recorded devices and versions, one sentence each.
    pub fn device_warnings(&self, devices: &[OpenDevice]) -> Vec<String> {
        let (ids, names) = (ids(devices), device::names(devices));
        let mut warnings = vec![];
        let Self {
            image, metadata, ..
        } = self;
        let recorded = &metadata.device;
        if (&ids, &names) != (&recorded.id, &recorded.name) {
            warnings.push(format!(
                "{image} was made on {} ({}), this is {ids} ({names}): pixels may differ slightly",
                recorded.id, recorded.name
            ));
        }
        let other = devices.first();
        if let Some(device) = other.filter(|device| device.precision != self.precision()) {
            warnings.push(format!(
                "{image} was made in {}, this device multiplies in {}: pixels may differ slightly",
                self.precision(),
                device.precision
            ));
        }
        let (versions, current) = (&metadata.versions, Versions::current());
        if *versions != current {
            warnings.push(format!(
                "{image} was made by x2i {} with burn {}, this is x2i {} with burn {}: pixels may differ",
                versions.x2i, versions.burn, current.x2i, current.burn
            ));
        }
        warnings
    }

    /// The floats in which the image was made.
    pub fn precision(&self) -> Precision {
        let recorded = self.metadata.device.precision.as_deref();
        let known = recorded.and_then(|text| text.parse().ok());
        known.unwrap_or(Precision::F32)
    }

    /// A warning that names the model's files that differ from the recorded ones.
    pub fn model_warning(&self, hashes: &Hashes) -> Option<String> {
        let recorded = &self.metadata.model;
        let changed: Vec<&str> = recorded
            .files
            .iter()
            .filter(|(file, hash)| hashes.get(*file) != Some(hash))
            .map(|(file, _)| file.as_str())
            .collect();
        (!changed.is_empty()).then(|| {
            format!(
                "{} was made with other files of the model `{}`: {} changed since",
                self.image,
                recorded.name,
                changed.join(", ")
            )
        })
    }
}
