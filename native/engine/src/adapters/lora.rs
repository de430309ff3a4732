//! Opens a LoRA: a file, or a folder as diffusers and PEFT save one, with PEFT's config beside it.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use x2i_core::png::{LoraRecord, UsedFile};
use x2i_core::{Error, Field, Lora, LoraConfig, Result};

use crate::files::{NamedFile, io_error, open_regular};
use crate::models::MappedFile;

/// A LoRA to load.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraSpec {
    /// The file, with the tensor names of any common trainer, or its folder.
    pub file: NamedFile,
    /// PEFT's config; where none is given, the `adapter_config.json` beside the file, if there is one.
    pub config: Option<NamedFile>,
    /// The factor of its change to the matrices, finite; 1 is the scale of its training.
    pub scale: f32,
}

/// PEFT's name of the config beside an adapter.
const CONFIG: &str = "adapter_config.json";
/// Names of the weights in a folder, the first one that is there.
const WEIGHTS: &[&str] = &[
    "pytorch_lora_weights.safetensors",
    "adapter_model.safetensors",
    "pytorch_lora_weights.bin",
    "adapter_model.bin",
];
/// Bytes of a config; real ones have a few thousand.
const MOST_CONFIG: u64 = 4 << 20;

/// Opens and hashes a LoRA, and its config.
pub(super) fn open(spec: &LoraSpec) -> Result<(Arc<Lora>, LoraRecord)> {
    spec.file.check_place(Field::Lora)?;
    let file = match spec.file.path().is_dir() {
        true => {
            &NamedFile::new(inside(spec.file.path()).map_err(|e| spec.file.error(e, Field::Lora))?)
        }
        false => &spec.file,
    };
    let at = |error| file.error(error, Field::Lora);
    // Before it is hashed: a device or a pipe has no end.
    let source = MappedFile::open(file.path()).map_err(at)?;
    let weights = file.used(Field::Lora)?;
    let config = match spec.config.clone().or_else(|| beside(file)) {
        Some(config) => Some(open_config(&config)?),
        None => None,
    };
    let (config, used) = config.unzip();
    let lora = Lora::open_with(Arc::new(source), spec.scale, config.as_ref());
    let lora = pollster::block_on(lora).map_err(at)?;
    pollster::block_on(lora.check_values()).map_err(at)?;
    let record = LoraRecord {
        weights,
        config: used,
        scale: spec.scale,
    };
    Ok((Arc::new(lora), record))
}

/// The weights in a folder.
fn inside(folder: &Path) -> Result<PathBuf> {
    let name = folder.display().to_string();
    if let Some(found) = WEIGHTS.iter().find(|name| folder.join(name).is_file()) {
        return Ok(folder.join(found));
    }
    let entries = fs::read_dir(folder).map_err(|error| io_error(&name, error))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let is_weights = |path: &PathBuf| path.extension().is_some_and(|end| end == "safetensors");
    let mut found: Vec<PathBuf> = paths.filter(is_weights).collect();
    match (found.pop(), found.len()) {
        (Some(only), 0) => Ok(only),
        (None, _) => Err(Error::format(
            name,
            format!(
                "holds no LoRA ({} or another .safetensors file)",
                WEIGHTS[..2].join(", ")
            ),
        )),
        (Some(_), more) => Err(Error::format(
            name,
            format!("holds {} .safetensors files; name one of them", more + 1),
        )),
    }
}

/// The config beside a file. A recorded file has a recorded config or none.
fn beside(file: &NamedFile) -> Option<NamedFile> {
    let config = file.path().with_file_name(CONFIG);
    (!file.is_recorded() && config.is_file()).then(|| NamedFile::new(config))
}

fn open_config(file: &NamedFile) -> Result<(LoraConfig, UsedFile)> {
    let read = || {
        let (name, open, len) = open_regular(file.path())?;
        if len > MOST_CONFIG {
            let reason = format!("has {len} bytes, the limit is {MOST_CONFIG}");
            return Err(Error::config(name, reason));
        }
        let mut json = vec![];
        let read = open.take(MOST_CONFIG).read_to_end(&mut json);
        read.map_err(|error| io_error(&name, error))?;
        LoraConfig::parse(&name, &json)
    };
    let config = read().map_err(|error| file.error(error, Field::Lora))?;
    Ok((config, file.used(Field::Lora)?))
}
