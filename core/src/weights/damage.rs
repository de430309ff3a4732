//! Signs that a weight file's numbers were lost: values that are not finite, a file that ends in
//! zeros, a PyTorch archive whose checksums do not fit.
//!
//! A download that reserves its place first and is then cut leaves a file of the right length whose end
//! is zero; no header shows it. The last matrix of a file tells: a trained one is never all zeros. Zeros
//! before the end are left alone, since pruned layers have them.

use std::ops::ControlFlow;

use crate::error::{Error, Result};

use super::file::{FileFormat, WeightFile};
use super::finite::all_finite;
use super::pickle;
use super::set::Weights;
use super::stored::TensorInfo;

/// Numbers that are looked at together; a multiple of every block.
const PART: u64 = 1 << 20;

impl Weights {
    /// Whether all numbers of a tensor are finite; reads all of them. `heard` hears how many bytes of it
    /// were read since it heard last, and may stop the reading.
    ///
    /// # Errors
    /// As [`read_part`](Self::read_part); [`Error::Cancelled`] when `heard` breaks.
    pub async fn is_finite(
        &self,
        name: &str,
        heard: &mut impl FnMut(u64) -> ControlFlow<()>,
    ) -> Result<bool> {
        let (Some(stored), Some(shape)) = (self.stored(name), self.shape(name)) else {
            return Ok(true);
        };
        let elements = shape.iter().map(|&size| size as u64).product::<u64>();
        let mut start = 0;
        while start < elements {
            let end = elements.min(start + PART);
            let bytes = self.read_part(name, start..end).await?;
            if !all_finite(&bytes, stored) {
                return Ok(false);
            }
            if heard(bytes.len() as u64).is_break() {
                return Err(Error::Cancelled);
            }
            start = end;
        }
        Ok(true)
    }
}

impl WeightFile {
    /// The first tensor that holds NaN or an infinity. Reads all tensors, and gives their pages back.
    ///
    /// # Errors
    /// As [`read_part`](Self::read_part).
    pub async fn first_not_finite(&self) -> Result<Option<&str>> {
        for (name, info) in self.tensors() {
            let (mut start, elements) = (0, info.elements());
            while start < elements {
                let end = elements.min(start + PART);
                let bytes = self.read_part(name, start..end).await?;
                if !all_finite(&bytes, info.stored) {
                    return Ok(Some(name));
                }
                start = end;
            }
            self.release(name);
        }
        Ok(None)
    }

    /// The path of an entry of a PyTorch archive whose bytes do not fit their checksum. Reads all of it.
    ///
    /// # Errors
    /// As [`read_part`](Self::read_part).
    pub async fn broken_entry(&self) -> Result<Option<String>> {
        match self.format() {
            FileFormat::PickleZip => pickle::broken_entry(self.source()).await,
            _ => Ok(None),
        }
    }

    /// The name of the file's last matrix, if that is all zeros: the file was cut. Stops reading at the
    /// first byte that is not zero. Pickles are not looked at: their archives end in an index, and have checksums.
    ///
    /// # Errors
    /// As [`read_part`](Self::read_part).
    pub async fn zero_end(&self) -> Result<Option<&str>> {
        if !matches!(self.format(), FileFormat::Safetensors | FileFormat::Gguf) {
            return Ok(None);
        }
        let is_matrix = |info: &TensorInfo| info.shape.iter().filter(|&&size| size > 1).count() > 1;
        let matrices = self.tensors().iter().filter(|(_, info)| is_matrix(info));
        let Some((name, info)) = matrices.max_by_key(|(_, info)| info.offset) else {
            return Ok(None);
        };
        let (mut start, elements) = (0, info.elements());
        while start < elements {
            let end = elements.min(start + PART);
            let bytes = self.read_part(name, start..end).await?;
            if bytes.iter().any(|&byte| byte != 0) {
                return Ok(None);
            }
            start = end;
        }
        Ok(Some(name))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::weights::{Component, MemorySource};

    /// A safetensors file of three tensors, whose bytes from `zero` on are zeros.
    fn file(zero: usize, value: f32) -> MemorySource {
        let header = serde_json::json!({
            "mlp.fc.1.weight": {"dtype": "F32", "shape": [4, 4], "data_offsets": [0, 64]},
            "mlp.projector.0.weight": {"dtype": "F32", "shape": [8, 4], "data_offsets": [64, 192]},
            "mlp.fc.1.bias": {"dtype": "F32", "shape": [4], "data_offsets": [192, 208]},
        });
        let header = serde_json::to_vec(&header).unwrap();
        let mut data = vec![1f32; 52];
        data[7] = value;
        let mut data: Vec<u8> = data.iter().flat_map(|value| value.to_le_bytes()).collect();
        data[zero..].fill(0);
        let length = (header.len() as u64).to_le_bytes();
        MemorySource::new("a.safetensors", [&length[..], &header, &data].concat())
    }

    fn zero_end(zero: usize) -> Option<String> {
        let file = pollster::block_on(WeightFile::open(Arc::new(file(zero, 1.0)))).unwrap();
        let name = pollster::block_on(file.zero_end()).unwrap();
        name.map(str::to_owned)
    }

    #[test]
    fn a_file_whose_last_matrix_is_zero_was_cut() {
        assert_eq!(zero_end(208), None);
        assert_eq!(zero_end(192), None); // a bias of zeros
        assert_eq!(zero_end(128), None); // half of the matrix: rows of an embedding may be unused
        let name = Some("mlp.projector.0.weight".to_owned());
        assert_eq!((zero_end(64), zero_end(0)), (name.clone(), name));
    }

    #[test]
    fn numbers_that_are_not_finite_are_found_by_their_tensor() {
        for (value, found) in [
            (1.0, None),
            (f32::NAN, Some("mlp.fc.1.weight")),
            (f32::NEG_INFINITY, Some("mlp.fc.1.weight")),
        ] {
            let sources = vec![Arc::new(file(208, value)) as _];
            let weights = Weights::open("a", Component::AlignNet, sources);
            let weights = pollster::block_on(weights).unwrap();
            let is_finite = |name: &&str| {
                let mut heard = |_| ControlFlow::Continue(());
                pollster::block_on(weights.is_finite(name, &mut heard)).unwrap()
            };
            let name = weights.names().find(|name| !is_finite(name));
            assert_eq!(name, found, "{value}");
            let in_file = pollster::block_on(weights.files()[0].first_not_finite());
            assert_eq!(in_file.unwrap(), found.map(|_| "mlp.fc.1.weight"));
            let first = weights.names().next().unwrap();
            let mut stopped = |_| ControlFlow::Break(());
            let stopped = pollster::block_on(weights.is_finite(first, &mut stopped));
            assert!(matches!(stopped, Err(Error::Cancelled) | Ok(false)));
        }
    }
}
