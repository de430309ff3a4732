//! Where one tensor of a part lies among the part's files.

use std::borrow::Cow;
use std::ops::Range;

use crate::error::{Error, Result};

use super::file::WeightFile;
use super::quant;
use super::stored::TensorInfo;

/// A tensor by its file and the name that it has there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: usize,
    pub(super) name: String,
}

impl Place {
    /// What the file's header says of it.
    pub(super) fn info<'f>(&self, files: &'f [WeightFile]) -> &'f TensorInfo {
        &files[self.file].tensors()[&self.name]
    }

    /// A run of its numbers as stored.
    pub(super) async fn bytes<'f>(
        &self,
        files: &'f [WeightFile],
        elements: Range<u64>,
    ) -> Result<Cow<'f, [u8]>> {
        files[self.file].read_part(&self.name, elements).await
    }

    /// A run of its numbers as f32.
    pub(super) async fn values(
        &self,
        files: &[WeightFile],
        elements: Range<u64>,
    ) -> Result<Vec<f32>> {
        let bytes = self.bytes(files, elements).await?;
        Ok(quant::dequantize(&bytes, self.info(files).stored))
    }

    /// All its numbers as f32.
    pub(super) async fn all(&self, files: &[WeightFile]) -> Result<Vec<f32>> {
        self.values(files, 0..self.info(files).elements()).await
    }

    /// A refusal that names the tensor.
    pub(super) fn refuse(&self, files: &[WeightFile], reason: impl AsRef<str>) -> Error {
        let reason = format!("tensor `{}` {}", self.name, reason.as_ref());
        Error::format(files[self.file].name(), reason)
    }
}
