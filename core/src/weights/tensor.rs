//! A tensor in our naming: the pieces that it is read from, and their order.

use std::borrow::Cow;
use std::ops::Range;

use x2i_shaders::BlockType;

use crate::error::Result;

use super::coded::Coded;
use super::file::WeightFile;
use super::place::Place;
use super::quant;
use super::stored::{StoredType, element_count};

/// One tensor in our naming.
#[derive(Debug)]
pub(super) struct Tensor {
    pub(super) pieces: Vec<Piece>,
    pub(super) order: Order,
    pub(super) stored: StoredType,
    pub(super) shape: Vec<usize>,
}

impl Tensor {
    pub(super) fn byte_len(&self) -> u64 {
        self.stored.byte_len(&self.shape).unwrap_or(u64::MAX)
    }

    pub(super) fn elements(&self) -> u64 {
        element_count(&self.shape).unwrap_or(u64::MAX)
    }

    /// The blocks that a matrix of whole numbers with scales is repacked to, where all its pieces may be: other
    /// libraries' weights, and ggml's of few bits.
    pub(super) fn repacked(&self, files: &[WeightFile]) -> Option<BlockType> {
        if self.shape.len() != 2 || matches!(self.order, Order::Interleaved { .. }) {
            return None;
        }
        let mut types = self.pieces.iter().map(|piece| piece.repacked(files));
        let first = types.next()??;
        types.all(|other| other == Some(first)).then_some(first)
    }

    /// Where a run of its numbers stands: runs of pieces, in order.
    pub(super) fn runs(&self, elements: Range<u64>) -> Vec<(&Piece, Range<u64>)> {
        let mut runs = Vec::new();
        let mut add = |elements: Range<u64>| {
            let mut start = 0;
            for piece in &self.pieces {
                let end = start + piece.elements();
                let run = elements.start.max(start)..elements.end.min(end);
                if run.start < run.end {
                    runs.push((piece, run.start - start..run.end - start));
                }
                start = end;
            }
        };
        if self.order == Order::HalvesSwapped {
            let half = self.elements() / 2;
            let (middle, end) = (elements.start.max(half), elements.end.min(half));
            add(elements.start + half..end + half);
            add(middle - half..elements.end.max(half) - half);
        } else {
            add(elements);
        }
        runs
    }
}

/// A tensor as a file has it, or as it is made of what a file has.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) place: Place,
    pub(super) stored: StoredType,
    pub(super) shape: Vec<usize>,
    pub(super) coded: Option<Coded>,
}

impl Piece {
    pub(super) fn elements(&self) -> u64 {
        element_count(&self.shape).unwrap_or(u64::MAX)
    }

    /// A run of its numbers, as [`stored`](Self::stored).
    pub(super) async fn read<'f>(
        &self,
        files: &'f [WeightFile],
        elements: Range<u64>,
    ) -> Result<Cow<'f, [u8]>> {
        match &self.coded {
            Some(coded) => coded.read(files, elements).await.map(Cow::Owned),
            None => self.place.bytes(files, elements).await,
        }
    }

    fn repacked(&self, files: &[WeightFile]) -> Option<BlockType> {
        match &self.coded {
            Some(coded) => coded.block_type(files),
            None => quant::repacked(self.stored),
        }
    }

    /// A run of whole rows of `columns` numbers, as blocks of the type that it is repacked to.
    pub(super) async fn blocks(
        &self,
        files: &[WeightFile],
        block_type: BlockType,
        columns: u64,
        elements: Range<u64>,
    ) -> Result<Vec<u8>> {
        let Some(coded) = &self.coded else {
            let bytes = self.place.bytes(files, elements).await?;
            return Ok(quant::repack(&bytes, self.stored));
        };
        let rows = elements.start / columns..elements.end / columns;
        coded.blocks(files, block_type, rows).await
    }

    /// Every tensor that it is made of.
    pub(super) fn places(&self) -> Vec<&Place> {
        let coded = self.coded.as_ref();
        coded.map_or_else(|| vec![&self.place], Coded::places)
    }
}

/// How the numbers of the pieces follow each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Order {
    /// One piece after the other: they are joined along their first axis.
    Joined,
    /// The second half of the one piece, then the first.
    HalvesSwapped,
    /// So many numbers of each piece by turns.
    Interleaved { run: usize },
}
