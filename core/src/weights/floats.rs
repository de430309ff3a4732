//! Matrices that stay on a device as the floats of 8 bits that their files hold.
//!
//! [`Weights::read`] gives the floats that a quantizer's own library gives, which rounds a scaled weight to
//! the type of its scale. Here numbers and scales stay apart, and a product takes both in f32, without that
//! rounding. Left out: scales of blocks that are no rows, such as 128 by 128, and rows that are no multiple
//! of 32 numbers, which are read as dense matrices.

use std::borrow::Cow;
use std::ops::Range;

use burn::tensor::{AllocationProperty, Bytes, Device};
use x2i_shaders::BlockType;

use crate::error::Result;

use super::coded::Formula;
use super::file::WeightFile;
use super::footprint::Target;
use super::memory_len;
use super::set::Weights;
use super::stored::StoredType;
use super::tensor::{Order, Piece, Tensor};

/// Rows of a matrix: the numbers as blocks, and a scale for each row where any has one.
pub(super) struct Floats {
    pub(super) bytes: Bytes,
    pub(super) scales: Option<Vec<f32>>,
}

impl Tensor {
    /// The blocks in which products take the matrix, where all its numbers are floats of one type.
    fn float_blocks(&self, files: &[WeightFile]) -> Option<BlockType> {
        let &[_, cols] = self.shape.as_slice() else {
            return None;
        };
        let mut types = self.pieces.iter().map(|piece| piece.floats(files, cols));
        let first = types.next()??;
        let alike = types.all(|stored| stored == Some(first));
        let in_rows = !matches!(self.order, Order::Interleaved { .. });
        first.fp8_blocks(&self.shape).filter(|_| alike && in_rows)
    }

    fn is_scaled(&self) -> bool {
        self.pieces.iter().any(|piece| piece.coded.is_some())
    }

    fn loaded_len(&self, files: &[WeightFile], target: Target) -> u64 {
        match self.float_blocks(files) {
            Some(block_type) => {
                let scales = target == Target::Gpu || self.is_scaled();
                let scales = if scales { self.shape[0] as u64 * 4 } else { 0 };
                let numbers = target.blocks_len(block_type, &self.shape);
                numbers.saturating_add(scales)
            }
            None => target.loaded_len(self.stored, &self.shape),
        }
    }
}

impl Piece {
    /// The type of its numbers, where they have no other scales than those of rows of `cols` numbers.
    fn floats(&self, files: &[WeightFile], cols: usize) -> Option<StoredType> {
        let Some(coded) = &self.coded else {
            return Some(self.stored);
        };
        match &coded.formula {
            Formula::Scaled(scaled) if scaled.scales_rows(cols as u64) => {
                Some(scaled.numbers.info(files).stored)
            }
            _ => None,
        }
    }

    /// The scales of some rows; ones where it has none.
    async fn row_scales(&self, files: &[WeightFile], rows: Range<u64>) -> Result<Vec<f32>> {
        match self.coded.as_ref().map(|coded| &coded.formula) {
            Some(Formula::Scaled(scaled)) => scaled.row_scales(files, rows).await,
            _ => Ok(rows.map(|_| 1.0).collect()),
        }
    }
}

impl Weights {
    /// The blocks of floats in which products take a matrix.
    pub(super) fn float_blocks(&self, name: &str) -> Option<BlockType> {
        self.get(name)?.float_blocks(self.files())
    }

    /// Rows of a matrix that has [`float_blocks`](Self::float_blocks); the source's own bytes where it shares
    /// them and nothing needs to be joined.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(super) async fn read_floats(&self, name: &str, rows: Range<usize>) -> Result<Floats> {
        let tensor = self.tensor(name)?;
        let cols = tensor.shape[1] as u64;
        let runs = tensor.runs(rows.start as u64 * cols..rows.end as u64 * cols);
        let scales = match tensor.is_scaled() {
            true => {
                let mut scales = Vec::with_capacity(rows.len());
                for (piece, run) in &runs {
                    let rows = run.start / cols..run.end / cols;
                    scales.extend(piece.row_scales(self.files(), rows).await?);
                }
                Some(scales)
            }
            false => None,
        };
        if let [(piece, run)] = runs.as_slice()
            && let Some(shared) = self.files()[piece.place.file].share(&piece.place.name)
        {
            let shared = shared.slice(run.start as usize..run.end as usize);
            let bytes = Bytes::from_shared(shared, AllocationProperty::File);
            return Ok(Floats { bytes, scales });
        }
        let what = format_args!("tensor `{name}`");
        let length = memory_len(self.file_of(name), what, rows.len() as u64 * cols)?;
        let mut joined = Vec::with_capacity(length);
        for (piece, run) in runs {
            let bytes: Cow<'_, [u8]> = piece.place.bytes(self.files(), run).await?;
            joined.extend_from_slice(&bytes);
            self.files()[piece.place.file].release(&piece.place.name);
        }
        let bytes = Bytes::from_bytes_vec(joined);
        Ok(Floats { bytes, scales })
    }

    /// The bytes of a tensor on a device.
    pub fn loaded_len(&self, name: &str, target: Target) -> u64 {
        self.get(name)
            .map_or(0, |tensor| tensor.loaded_len(self.files(), target))
    }

    /// The bytes that the tensors whose names begin with `prefix` take on `device`, with their LoRAs.
    pub fn device_len(&self, prefix: &str, device: &Device) -> u64 {
        let target = Target::of(device);
        let names = self.names().filter(|name| name.starts_with(prefix));
        names.fold(self.change_len(prefix), |sum, name| {
            sum.saturating_add(self.loaded_len(name, target))
        })
    }
}
