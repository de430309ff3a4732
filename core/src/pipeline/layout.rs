//! Where a model's parts lie, told before a weight is read.
//!
//! For a picture of the model's default size; a larger one leaves less place for blocks.

use std::ops::Range;

use burn::tensor::Device;

use super::parts::Files;
use super::plan::{LoadOptions, Plan, Residency, Sizes, default_tokens};
use crate::error::Result;
use crate::model::{ModelSource, read_config};

/// Where a model's parts lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// All parts stay between pictures. Else each is loaded when its turn comes, and dropped after it.
    pub stays: bool,
    /// What lies on each device, the first one first. The encoder, AlignNet and the VAE are on the first.
    pub shares: Vec<Share>,
    /// Blocks that are read in every step, to the first device.
    pub streamed: usize,
}

/// What lies on a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The numbers of the transformer's double blocks.
    pub double: Range<usize>,
    /// Those of its single blocks.
    pub single: Range<usize>,
    /// Bytes of weights at once.
    pub bytes: u64,
}

impl Layout {
    pub(super) fn of(plan: &Plan, sizes: &Sizes, tokens: usize) -> Self {
        let stays = plan.residency == Residency::All;
        let limit = match stays {
            true => plan.limit.clone(), // beside the activations already
            false => plan.limit.beside(false, tokens),
        };
        let placement = sizes.flux.place(limit.flux_weights());
        let share = |device| {
            let blocks = sizes.flux.on(device, &placement);
            let [double, single] = placement.on(device);
            Share {
                double,
                single,
                bytes: match (device, stays) {
                    (0, true) => blocks + sizes.others(),
                    (0, false) => blocks.max(sizes.largest_other(plan.limit.first())),
                    _ => blocks,
                },
            }
        };
        Self {
            stays,
            shares: (0..limit.flux_weights().len()).map(share).collect(),
            streamed: sizes.flux.streamed(&placement),
        }
    }

    /// True when the first device has all blocks, and none is streamed.
    pub fn is_whole(&self) -> bool {
        let mut others = self.shares.iter().skip(1);
        self.streamed == 0 && others.all(|share| share.bytes == 0)
    }
}

/// Where the parts of a model would lie. Reads its headers.
///
/// # Errors
/// Errors from the model's files; [`crate::Error::Request`] for a limit that no image can be painted within.
pub async fn layout(
    options: &LoadOptions,
    source: &dyn ModelSource,
    device: &Device,
) -> Result<Layout> {
    let config = read_config(source).await?;
    let files = Files::open(source, &config, device, options).await?;
    let sizes = files.sizes();
    let plan = Plan::of(options, &config, &sizes)?;
    Ok(Layout::of(&plan, &sizes, default_tokens(&config)))
}
