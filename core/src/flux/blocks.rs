//! A transformer's blocks: kept on the devices, or read for every call.
//!
//! A model larger than its devices keeps as many blocks there as fit; the others are read when their
//! turn comes and dropped after it. The device still computes one block while the next one is read,
//! so that at most two streamed blocks are on the device. Not here: which block lies where
//! (`placement`), and how much memory there is (`pipeline`).

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{Device, Tensor};

use super::layers::{DoubleStreamBlock, SingleStreamBlock};
use crate::config::FluxConfig;
use crate::error::Result;
use crate::nn::{InputBits, computed};
use crate::weights::{Leaves, Scope, Weights};

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
    pub leaves: Option<Leaves>,
}

/// All blocks of one kind.
#[derive(Debug)]
pub(super) struct Blocks<B> {
    /// The first ones.
    resident: Vec<B>,
    /// The numbers of their devices.
    pub homes: Vec<usize>,
    /// The rest, on the first device.
    streamed: Option<(Range<usize>, Stream)>,
}

impl<B: Block> Blocks<B> {
    /// Reads as many blocks as `counts` says of each device, whose scopes are `scopes`; the others, if any,
    /// are read from `stream`.
    pub async fn load(
        scopes: &[Scope<'_>],
        config: &FluxConfig,
        counts: &[usize],
        stream: Option<&Stream>,
    ) -> Result<Self> {
        let (mut resident, mut homes) = (vec![], vec![]);
        for (home, (scope, &count)) in scopes.iter().zip(counts).enumerate() {
            for _ in 0..count {
                let scope = scope.child(B::PREFIX).child(resident.len());
                resident.push(B::read(&scope, config).await?);
                homes.push(home);
            }
        }
        let rest = resident.len()..B::count(config);
        Ok(Self {
            resident,
            homes,
            streamed: stream
                .filter(|_| !rest.is_empty())
                .cloned()
                .map(|from| (rest, from)),
        })
    }

    /// The number of the device that computes block `index`.
    pub fn home(&self, index: usize) -> usize {
        self.homes.get(index).copied().unwrap_or(0)
    }

    /// The number of blocks.
    pub fn len(&self) -> usize {
        match &self.streamed {
            Some((rest, _)) => rest.end,
            None => self.resident.len(),
        }
    }

    /// True where no block is read for a call.
    pub fn is_resident(&self) -> bool {
        self.streamed.is_none()
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
        let scope = match &from.leaves {
            Some(leaves) => scope.with_leaves(leaves),
            None => scope,
        };
        let block = B::read(&scope.child(B::PREFIX).child(index), &from.config).await?;
        computed(x).await?;
        Ok(Cow::Owned(block))
    }
}
