//! A folder of files that all sides of a benchmark read, with a JSON file that describes them.
//!
//! The files are written once and kept: a user's run maps files too, and all sides get the same
//! numbers. Weights are GGUF files with the names of BFL's checkpoint, quantized from bf16 by the rules
//! of `x2i convert`; inputs and results are raw little-endian f32.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use x2i_core::weights::gguf::GgufWriter;
use x2i_core::weights::{Component, Weights};

use super::synthetic::SyntheticSource;
use crate::convert::{plan, store};
use crate::flags::Quantize;

/// The description of a folder's content, in its JSON file.
pub(super) trait Content: PartialEq + Serialize + DeserializeOwned {
    /// The JSON file's name.
    const FILE: &str;
}

/// The folder.
pub(super) struct Folder<C> {
    path: PathBuf,
    content: C,
}

impl<C: Content> Folder<C> {
    /// Makes the folder. Removes files of another `content`.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn create(path: &Path, content: C) -> Result<Self> {
        let shown = || format!("--weights: {}", path.display());
        fs::create_dir_all(path).with_context(shown)?;
        let folder = Self {
            path: path.to_owned(),
            content,
        };
        if Self::open(path).is_ok_and(|found| found.content == folder.content) {
            return Ok(folder);
        }
        for entry in fs::read_dir(path).with_context(shown)? {
            let path = entry.with_context(shown)?.path();
            if path
                .extension()
                .is_some_and(|end| end == "gguf" || end == "f32")
            {
                fs::remove_file(&path).with_context(|| path.display().to_string())?;
            }
        }
        let json = serde_json::to_vec_pretty(&folder.content)?;
        folder.write(C::FILE, |out| Ok(out.write_all(&json)?))?;
        Ok(folder)
    }

    /// Opens an existing folder.
    ///
    /// # Errors
    /// When it has no readable JSON file.
    pub fn open(path: &Path) -> Result<Self> {
        let file = path.join(C::FILE);
        let shown = || format!("--weights: {}", file.display());
        let json = fs::read(&file).with_context(shown)?;
        Ok(Self {
            path: path.to_owned(),
            content: serde_json::from_slice(&json).with_context(shown)?,
        })
    }

    /// The description of its content.
    pub fn content(&self) -> &C {
        &self.content
    }

    /// The path of a file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes generated weights of these shapes to the file `name`, unless it exists.
    ///
    /// # Errors
    /// When they can't be written.
    pub fn need_weights(
        &self,
        name: &str,
        component: Component,
        shapes: &[(String, Vec<usize>)],
        quantize: Quantize,
    ) -> Result<()> {
        let path = self.path(name);
        if path.exists() {
            return Ok(());
        }
        pollster::block_on(async {
            let sources = vec![Arc::new(SyntheticSource::new(shapes)) as _];
            let weights = Weights::open("synthetic", component, sources).await?;
            let tensors = plan::tensors(component, &weights, quantize);
            let metadata = plan::metadata(component, "generated");
            let writer = GgufWriter::new(metadata, tensors.clone())?;
            self.write(name, |out| {
                let mut body = writer.start(path.display().to_string(), out)?;
                for planned in &tensors {
                    store::store(&weights, planned, |bytes| Ok(body.write_part(bytes)?))?;
                }
                body.finish()?;
                Ok(())
            })
        })
    }

    /// Writes raw f32 to the file `name`, unless it exists.
    ///
    /// # Errors
    /// When they can't be written.
    pub fn need_floats(&self, name: &str, numbers: impl Iterator<Item = f32>) -> Result<()> {
        match self.path(name).exists() {
            true => Ok(()),
            false => self.write(name, |out| write_floats(out, numbers)),
        }
    }

    /// Writes a file under another name and renames it, so that an existing file is always complete.
    fn write(&self, name: &str, content: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
        let path = self.path(name);
        let shown = || path.display().to_string();
        let part = self.path(&format!("{name}.part"));
        let mut out = BufWriter::with_capacity(1 << 20, File::create(&part).with_context(shown)?);
        content(&mut out)?;
        out.flush().with_context(shown)?;
        fs::rename(&part, &path).with_context(shown)
    }
}

/// Writes raw f32.
pub(super) fn write_floats(out: &mut dyn Write, numbers: impl Iterator<Item = f32>) -> Result<()> {
    for number in numbers {
        out.write_all(&number.to_le_bytes())?;
    }
    Ok(())
}

/// Reads a file of raw f32.
pub(super) fn read_floats(path: &Path) -> Result<Vec<f32>> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    let numbers = bytes.as_chunks().0.iter();
    Ok(numbers.map(|&number| f32::from_le_bytes(number)).collect())
}
