//! A transformer's blocks: kept on the device, or read for every call.
//!
//! A model larger than its device keeps as many blocks there as fit; the others are read when their
//! turn comes and dropped after it. The device still computes one block while the next one is read,
//! so that at most two streamed blocks are on the device. Not here: how much memory there is, and
//! how it is divided (`pipeline`).

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{Device, Tensor};

use super::layers::{DoubleStreamBlock, SingleStreamBlock};
use crate::config::FluxConfig;
use crate::error::Result;
use crate::nn::{InputBits, computed};
use crate::weights::{Scope, Weights};

/// A kind of block, as checkpoints number them.
pub(super) trait Block: Clone + Sized {
    /// The prefix of its tensors.
    const PREFIX: &'static str;
    /// The number of such blocks in a model.
    fn count(config: &FluxConfig) -> usize;
    /// Reads one.
    async fn read(scope: &Scope<'_>, config: &FluxConfig) -> Result<Self>;
}

impl Block for DoubleStreamBlock {
    const PREFIX: &'static str = "double_blocks";

    fn count(config: &FluxConfig) -> usize {
        config.num_layers
    }

    async fn read(scope: &Scope<'_>, config: &FluxConfig) -> Result<Self> {
        Self::load(scope, config).await
    }
}

impl Block for SingleStreamBlock {
    const PREFIX: &'static str = "single_blocks";

    fn count(config: &FluxConfig) -> usize {
        config.num_single_layers
    }

    async fn read(scope: &Scope<'_>, config: &FluxConfig) -> Result<Self> {
        Self::load(scope, config).await
    }
}

/// The source of the blocks that did not fit, read in every call.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    pub weights: Arc<Weights>,
    pub device: Device,
    pub config: FluxConfig,
    pub input_bits: InputBits,
}

/// All blocks of one kind.
#[derive(Debug)]
pub(super) struct Blocks<B> {
    /// The first ones.
    resident: Vec<B>,
    /// The rest.
    streamed: Option<(Range<usize>, Stream)>,
}

impl<B: Block> Blocks<B> {
    /// Reads the first `resident` blocks under `scope`; the others, if any, are read from `stream`.
    pub async fn load(
        scope: &Scope<'_>,
        config: &FluxConfig,
        resident: usize,
        stream: Option<&Stream>,
    ) -> Result<Self> {
        let mut blocks = Vec::with_capacity(resident);
        for index in 0..resident {
            blocks.push(B::read(&scope.child(B::PREFIX).child(index), config).await?);
        }
        let rest = resident..B::count(config);
        Ok(Self {
            resident: blocks,
            streamed: stream
                .filter(|_| !rest.is_empty())
                .cloned()
                .map(|from| (rest, from)),
        })
    }

    /// The number of blocks.
    pub fn len(&self) -> usize {
        match &self.streamed {
            Some((rest, _)) => rest.end,
            None => self.resident.len(),
        }
    }

    /// Block `index`, read first where it is not on the device. A streamed block waits for `x`,
    /// what it will work on: the block that gave it is then done with its memory.
    pub async fn get(&self, index: usize, x: &Tensor<3>) -> Result<Cow<'_, B>> {
        let Some((rest, from)) = &self.streamed else {
            return Ok(Cow::Borrowed(&self.resident[index]));
        };
        if index < rest.start {
            return Ok(Cow::Borrowed(&self.resident[index]));
        }
        let scope = from
            .weights
            .scope(&from.device)
            .with_input_bits(from.input_bits);
        let block = B::read(&scope.child(B::PREFIX).child(index), &from.config).await?;
        computed(x).await?;
        Ok(Cow::Owned(block))
    }
}

/// Numbers of blocks that stay on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Resident {
    pub double: usize,
    pub single: usize,
}

/// Bytes that a transformer's parts take on a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FluxBytes {
    /// Everything that is no block.
    embedders: u64,
    double: Vec<u64>,
    single: Vec<u64>,
}

impl FluxBytes {
    /// Counted from the headers, for `device`.
    pub fn of(config: &FluxConfig, weights: &Weights, device: &Device) -> Self {
        let blocks = |prefix: &str, count| -> Vec<u64> {
            let block = |index| weights.device_len(&format!("{prefix}.{index}."), device);
            (0..count).map(block).collect()
        };
        let double = blocks(DoubleStreamBlock::PREFIX, config.num_layers);
        let single = blocks(SingleStreamBlock::PREFIX, config.num_single_layers);
        let in_blocks: u64 = double.iter().chain(&single).sum();
        Self {
            embedders: weights.device_len("", device).saturating_sub(in_blocks),
            double,
            single,
        }
    }

    /// Bytes of all parts.
    pub fn total(&self) -> u64 {
        self.embedders + self.double.iter().chain(&self.single).sum::<u64>()
    }

    /// The least with which an image can be painted: all but the blocks, and two of those.
    pub fn least(&self) -> u64 {
        let largest = self.double.iter().chain(&self.single).max();
        self.embedders + 2 * largest.copied().unwrap_or(0)
    }

    /// Bytes of `weights` that are read to load what fits into `budget`.
    pub fn read_within(&self, budget: u64, weights: &Weights) -> u64 {
        let Resident { double, single } = self.resident(budget);
        let kinds = [
            (DoubleStreamBlock::PREFIX, double..self.double.len()),
            (SingleStreamBlock::PREFIX, single..self.single.len()),
        ];
        let streamed = kinds.into_iter().flat_map(|(prefix, rest)| {
            rest.map(move |index| weights.byte_len(&format!("{prefix}.{index}.")))
        });
        weights.byte_len("").saturating_sub(streamed.sum())
    }

    /// The blocks that stay within `budget` bytes, the first ones first; beside them there is
    /// place for two that are streamed.
    pub(super) fn resident(&self, budget: u64) -> Resident {
        if self.total() <= budget {
            return Resident {
                double: self.double.len(),
                single: self.single.len(),
            };
        }
        let mut left = budget.saturating_sub(self.least());
        let mut fit = |blocks: &[u64]| {
            let taken = blocks.iter().take_while(|&&bytes| {
                let fits = bytes <= left;
                left -= if fits { bytes } else { 0 };
                fits
            });
            taken.count()
        };
        Resident {
            double: fit(&self.double),
            single: fit(&self.single),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_blocks_stay_as_fit_beside_two_streamed_ones() {
        let bytes = FluxBytes {
            embedders: 100,
            double: vec![20, 20],
            single: vec![10, 10, 10],
        };
        let resident = |budget| {
            let Resident { double, single } = bytes.resident(budget);
            (double, single)
        };
        assert_eq!((bytes.total(), bytes.least()), (170, 140));
        assert_eq!(resident(170), (2, 3));
        assert_eq!(resident(169), (1, 0));
        assert_eq!(resident(159), (0, 1));
        assert_eq!(resident(140), (0, 0));
        assert_eq!(resident(0), (0, 0));
    }
}
