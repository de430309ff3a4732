//! Matrices that stay on a device in blocks of 4 to 16 bits, and the bytes that tensors take there.
//!
//! Blocks are ggml's as a file has them, floats of 8 bits with the scales of their rows, floats of 4 bits, and
//! whole numbers with scales, which [`coded`](super::coded) and [`quant`](super::quant) repack. [`Weights::read`]
//! gives the floats that a quantizer's own library gives, which rounds a scaled weight to the type of its scale.
//! Here numbers and scales stay apart, and a product takes both in f32, without that rounding. Left out: scales
//! of blocks that are no rows, such as 128 by 128, maps of four bits that no product knows, and groups that are
//! no multiple of 32 numbers, which are read as dense matrices.

use std::borrow::Cow;
use std::ops::Range;

use burn::tensor::{AllocationProperty, Bytes, Device};
use x2i_shaders::BlockType;

use crate::error::Result;

use super::coded::{Coded, Formula};
use super::file::WeightFile;
use super::set::Weights;
use super::target::Target;
use super::tensor::{Order, Piece, Tensor};
use super::{memory_len, quant};

/// Rows of a matrix in blocks.
pub(super) struct Blocks {
    pub(super) bytes: Bytes,
    /// A scale for each row, where any has one beside its blocks.
    pub(super) scales: Option<Vec<f32>>,
}

impl Tensor {
    fn as_blocks(&self, files: &[WeightFile], target: Target) -> Option<BlockType> {
        let &[_, columns] = self.shape.as_slice() else {
            return None;
        };
        let mut types = self
            .pieces
            .iter()
            .map(|piece| piece.as_blocks(files, columns, target));
        let first = types.next()??;
        let alike = types.all(|block_type| block_type == Some(first));
        let in_rows = !matches!(self.order, Order::Interleaved { .. });
        (alike && in_rows).then_some(first)
    }

    /// True where a row has a scale beside its blocks.
    fn scales_rows(&self, block_type: BlockType) -> bool {
        let scaled = |coded: &Coded| matches!(coded.formula, Formula::Scaled(_));
        let mut coded = self.pieces.iter().filter_map(|piece| piece.coded.as_ref());
        block_type.has_row_scales() && coded.any(scaled)
    }

    fn loaded_len(&self, files: &[WeightFile], target: Target) -> u64 {
        let Some(block_type) = self.as_blocks(files, target) else {
            // What is computed or joined out of order is no words, whatever its type.
            let target = match target {
                Target::Gpu => Target::Other,
                other => other,
            };
            return target.loaded_len(self.stored, &self.shape);
        };
        let needs_scales = block_type.has_row_scales() && target != Target::Cpu;
        let scales = match needs_scales || self.scales_rows(block_type) {
            true => self.shape[0] as u64 * 4,
            false => 0,
        };
        let numbers = target.blocks_len(block_type, &self.shape);
        numbers.saturating_add(scales)
    }
}

impl Piece {
    fn as_blocks(&self, files: &[WeightFile], columns: usize, target: Target) -> Option<BlockType> {
        match &self.coded {
            None => self.stored.as_blocks(&[1, columns], target),
            Some(coded) => coded.as_blocks(files),
        }
    }

    /// True where the file's own bytes are the blocks.
    fn holds(&self, block_type: BlockType) -> bool {
        let plain = self.coded.is_none() && self.stored.block_type().is_some();
        plain || block_type.has_row_scales()
    }

    /// Some rows in blocks; `elements` are the numbers of them.
    async fn read_blocks<'f>(
        &self,
        files: &'f [WeightFile],
        block_type: BlockType,
        rows: Range<u64>,
        elements: Range<u64>,
    ) -> Result<Cow<'f, [u8]>> {
        if self.holds(block_type) {
            return self.place.bytes(files, elements).await;
        }
        Ok(Cow::Owned(match &self.coded {
            Some(coded) => coded.blocks(files, block_type, rows).await?,
            None => {
                let bytes = self.place.bytes(files, elements).await?;
                quant::repack(&bytes, self.stored, block_type)
            }
        }))
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
    /// The blocks in which a device of this kind takes a matrix; `None` for a tensor that it takes as floats of 16 or 32
    /// bits.
    pub fn as_blocks(&self, name: &str, target: Target) -> Option<BlockType> {
        self.get(name)?.as_blocks(self.files(), target)
    }

    /// Rows of a matrix in the `block_type` that [`as_blocks`](Self::as_blocks) tells; the source's own bytes
    /// where it shares them and nothing needs to be joined.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(super) async fn read_blocks(
        &self,
        name: &str,
        block_type: BlockType,
        rows: Range<usize>,
    ) -> Result<Blocks> {
        let tensor = self.tensor(name)?;
        let columns = tensor.shape[1].max(1) as u64;
        let runs = tensor.runs(rows.start as u64 * columns..rows.end as u64 * columns);
        let in_rows = |run: &Range<u64>| run.start / columns..run.end / columns;
        let bytes_of = |elements: u64| {
            let blocks = elements / block_type.len() as u64;
            blocks.saturating_mul(block_type.bytes() as u64)
        };
        let mut scales = tensor.scales_rows(block_type).then(Vec::new);
        if let Some(scales) = &mut scales {
            for (piece, run) in &runs {
                scales.extend(piece.row_scales(self.files(), in_rows(run)).await?);
            }
        }
        if let [(piece, run)] = runs.as_slice()
            && piece.holds(block_type)
            && let Some(shared) = self.files()[piece.place.file].share(&piece.place.name)
        {
            let shared = shared.slice(bytes_of(run.start) as usize..bytes_of(run.end) as usize);
            let bytes = Bytes::from_shared(shared, AllocationProperty::File);
            return Ok(Blocks { bytes, scales });
        }
        let what = format_args!("tensor `{name}`");
        let bytes = bytes_of(rows.len() as u64 * columns);
        let length = memory_len(self.file_of(name), what, bytes)?;
        let mut joined = Vec::new();
        for (piece, run) in runs {
            let rows = in_rows(&run);
            let blocks = piece.read_blocks(self.files(), block_type, rows, run);
            match blocks.await? {
                Cow::Owned(all) if all.len() == length => joined = all,
                part => {
                    joined.reserve_exact(length - joined.len());
                    joined.extend_from_slice(&part);
                }
            }
            for place in piece.places() {
                self.files()[place.file].release(&place.name);
            }
        }
        let bytes = Bytes::from_bytes_vec(joined);
        Ok(Blocks { bytes, scales })
    }

    /// The bytes of a tensor on a device; 0 if it is not there.
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
