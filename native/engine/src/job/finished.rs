//! Recognizes images that are finished, so that an interrupted batch goes on where it ended.

use std::path::Path;

use x2i_core::Result;
use x2i_core::png::{ControlRecord, InitRecord, LoraRecord, Metadata, PartRecord};

use super::outline::Outline;
use super::record::Record;
use super::spec::{ControlSpec, InitSpec, PartSpec, STRENGTH, sampling};
use crate::files::NamedFile;
use crate::media::{self, Kind};
use crate::models::{Hashes, Model, ModelHashes, Verify};
use crate::options::EngineOptions;

/// Compares images with what a model would be asked for.
pub struct Finished<'a> {
    model: &'a Model,
    is_exact: bool,
    verify: Verify,
    /// The hashes of the model's files, once they are needed.
    hashes: Option<Hashes>,
}

impl<'a> Finished<'a> {
    /// For jobs of this model with these options.
    pub fn new(model: &'a Model, options: &EngineOptions) -> Self {
        Self {
            model,
            is_exact: options.is_exact(),
            verify: options.verify,
            hashes: None,
        }
    }

    /// Whether the file is an image of the same request, of any `seed` if that is `None`. Paths, the
    /// device and the versions of programs may differ; the content of every file may not.
    ///
    /// # Errors
    /// [`x2i_core::Error::Io`] when a file of the job or of the model can't be hashed.
    pub fn is(&mut self, path: &Path, outline: &Outline, seed: Option<u64>) -> Result<bool> {
        let Ok(record) = Record::read(path) else {
            return Ok(false);
        };
        let metadata = record.metadata();
        Ok(self.has_numbers(metadata, outline, seed)
            && self.has_files(metadata, outline)?
            && metadata.model.files == *self.hashes()?)
    }

    fn has_numbers(&self, metadata: &Metadata, outline: &Outline, seed: Option<u64>) -> bool {
        let request = outline.request();
        let made = (metadata.width, metadata.height, metadata.steps);
        made == (request.width, request.height, request.steps)
            && metadata.guidance == request.guidance
            && metadata.cache == request.cache.threshold()
            && metadata.conditioning == request.conditioning
            && metadata.background == outline.spec.background()
            && seed.is_none_or(|seed| seed == metadata.seed)
            && metadata.model.name == self.model.config().name
            && metadata.device.exact == self.is_exact
    }

    fn has_files(&self, metadata: &Metadata, outline: &Outline) -> Result<bool> {
        let spec = &outline.spec;
        let loras = self.model.adapters().lora_records();
        if metadata.prompt.len() != spec.parts.len() || !same_loras(&metadata.loras, &loras) {
            return Ok(false);
        }
        for (made, part) in metadata.prompt.iter().zip(&spec.parts) {
            if !self.is_part(made, part, outline)? {
                return Ok(false);
            }
        }
        Ok(is_init(metadata.init.as_ref(), spec.init.as_ref())?
            && self.is_control(metadata.control.as_ref(), spec.control.as_ref())?)
    }

    fn is_part(&self, made: &PartRecord, part: &PartSpec, outline: &Outline) -> Result<bool> {
        let (kind, file, fps) = match part {
            PartSpec::Text(text) => return Ok(*made == PartRecord::Text(text.clone())),
            PartSpec::Ready { record, .. } => return Ok(record.as_ref() == Some(made)),
            PartSpec::File { kind, file, fps } => (*kind, file, *fps),
        };
        let fps = outline.spec.settings.video_fps.or(fps);
        let sha256 = match (kind, made) {
            (Kind::Image, PartRecord::Image { sha256, .. }) => sha256,
            (Kind::Audio, PartRecord::Audio { sha256, .. }) => sha256,
            (
                Kind::Video,
                PartRecord::Video {
                    sha256, fps: at, ..
                },
            ) if *at == sampling(self.model, fps)?.fps() => sha256,
            _ => return Ok(false),
        };
        has_hash(file, kind, sha256)
    }

    fn is_control(&self, made: Option<&ControlRecord>, spec: Option<&ControlSpec>) -> Result<bool> {
        let (Some(made), Some(spec)) = (made, spec) else {
            return Ok(made.is_none() && spec.is_none());
        };
        let weights = self.model.adapters().control_weights();
        Ok(made.scale == spec.scale
            && made.hint == spec.hint
            && weights.is_some_and(|weights| weights.sha256 == made.weights.sha256)
            && has_hash(&spec.image, Kind::Image, &made.picture.sha256)?)
    }

    fn hashes(&mut self) -> Result<&Hashes> {
        if self.hashes.is_none() {
            let mut hashes =
                ModelHashes::begin(self.model.files(), self.model.config(), self.verify)?;
            self.hashes = Some(hashes.get()?.clone());
        }
        Ok(self.hashes.get_or_insert_default())
    }
}

fn same_loras(made: &[LoraRecord], now: &[LoraRecord]) -> bool {
    let same = |(a, b): (&LoraRecord, &LoraRecord)| {
        let config = |record: &LoraRecord| record.config.as_ref().map(|file| file.sha256.clone());
        a.scale == b.scale && a.weights.sha256 == b.weights.sha256 && config(a) == config(b)
    };
    made.len() == now.len() && made.iter().zip(now).all(same)
}

fn is_init(made: Option<&InitRecord>, spec: Option<&InitSpec>) -> Result<bool> {
    let (Some(made), Some(spec)) = (made, spec) else {
        return Ok(made.is_none() && spec.is_none());
    };
    Ok(made.strength == spec.strength.unwrap_or(STRENGTH)
        && has_hash(&spec.image, Kind::Image, &made.picture.sha256)?)
}

fn has_hash(file: &NamedFile, kind: Kind, sha256: &str) -> Result<bool> {
    Ok(media::hash(kind, file.path())? == sha256)
}
