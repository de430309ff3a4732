//! Matrices that stay on a device as the floats of 8 or 4 bits that their files hold.
//!
//! [`Weights::read`] gives the floats that a quantizer's own library gives, which rounds a scaled weight to
//! the type of its scale. Here numbers and scales stay apart, and a product takes both in f32, without that
//! rounding. Left out: scales of blocks that are no rows, such as 128 by 128, maps of four bits that no
//! product knows, and rows that are no multiple of 32 numbers, which are read as dense matrices.

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
        let mut types = self.pieces.iter().map(|piece| piece.blocks(files, cols));
        let first = types.next()??;
        let alike = types.all(|block_type| block_type == Some(first));
        let in_rows = !matches!(self.order, Order::Interleaved { .. });
        (alike && in_rows).then_some(first)
    }

    /// True where a row has a scale.
    fn is_scaled(&self) -> bool {
        let formulas = self.pieces.iter().map(Piece::formula);
        formulas
            .flatten()
            .any(|formula| matches!(formula, Formula::Scaled(_)))
    }

    fn loaded_len(&self, files: &[WeightFile], target: Target) -> u64 {
        match self.float_blocks(files) {
            Some(block_type) => {
                let scales = block_type.has_row_scales() && target == Target::Gpu;
                let scales = if scales || self.is_scaled() {
                    self.shape[0] as u64 * 4
                } else {
                    0
                };
                let numbers = target.blocks_len(block_type, &self.shape);
                numbers.saturating_add(scales)
            }
            None => target.loaded_len(self.stored, &self.shape),
        }
    }
}

impl Piece {
    fn formula(&self) -> Option<&Formula> {
        self.coded.as_ref().map(|coded| &coded.formula)
    }

    /// The blocks of its numbers in rows of `cols`, where they have no other scales than those blocks know.
    fn blocks(&self, files: &[WeightFile], cols: usize) -> Option<BlockType> {
        let row = [1, cols];
        match self.formula() {
            None => self.stored.fp8_blocks(&row),
            Some(Formula::Scaled(scaled)) if scaled.scales_rows(cols as u64) => {
                scaled.numbers.info(files).stored.fp8_blocks(&row)
            }
            Some(Formula::FourBit(four_bit)) => {
                let block_type = four_bit.products?;
                cols.is_multiple_of(block_type.len()).then_some(block_type)
            }
            _ => None,
        }
    }

    /// A run of its numbers in blocks.
    async fn read_blocks<'f>(
        &self,
        files: &'f [WeightFile],
        elements: Range<u64>,
    ) -> Result<Cow<'f, [u8]>> {
        match self.formula() {
            Some(Formula::FourBit(four_bit)) => {
                four_bit.blocks(files, elements).await.map(Cow::Owned)
            }
            _ => self.place.bytes(files, elements).await,
        }
    }

    /// The scales of some rows; ones where it has none.
    async fn row_scales(&self, files: &[WeightFile], rows: Range<u64>) -> Result<Vec<f32>> {
        match self.formula() {
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
        let block_type = tensor.float_blocks(self.files());
        if let [(piece, run)] = runs.as_slice()
            && block_type.is_some_and(BlockType::has_row_scales)
            && let Some(shared) = self.files()[piece.place.file].share(&piece.place.name)
        {
            let shared = shared.slice(run.start as usize..run.end as usize);
            let bytes = Bytes::from_shared(shared, AllocationProperty::File);
            return Ok(Floats { bytes, scales });
        }
        let what = format_args!("tensor `{name}`");
        let bytes = block_type.map_or(1, BlockType::bytes) * rows.len() * tensor.shape[1];
        let bytes = bytes / block_type.map_or(1, BlockType::len);
        let length = memory_len(self.file_of(name), what, bytes as u64)?;
        let mut joined = Vec::with_capacity(length);
        for (piece, run) in runs {
            joined.extend_from_slice(&piece.read_blocks(self.files(), run).await?);
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
