//! Which of the transformer's blocks lies on which device.
//!
//! The first device has the embedders and the last layer; the blocks fill it and the further devices in
//! their order, so that what they work on crosses each border once. What fits nowhere is streamed to the
//! first device, which then keeps place for two blocks. Not here: how much memory there is (`pipeline`).

use burn::tensor::Device;

use super::blocks::Block;
use super::layers::{DoubleStreamBlock, SingleStreamBlock};
use crate::config::FluxConfig;
use crate::weights::Weights;

/// How many blocks stay on each device, first those of the first one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Double blocks.
    pub double: Vec<usize>,
    /// Single blocks.
    pub single: Vec<usize>,
}

impl Placement {
    /// How many blocks stay, of both kinds.
    fn count(&self) -> usize {
        self.double.iter().chain(&self.single).sum()
    }

    /// The blocks that stay on a device, double and single ones, by their numbers.
    pub fn on(&self, device: usize) -> [std::ops::Range<usize>; 2] {
        [&self.double, &self.single].map(|counts| {
            let start = counts.iter().take(device).sum();
            start..start + counts.get(device).copied().unwrap_or(0)
        })
    }
}

/// Bytes that a transformer's parts take on the devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FluxBytes {
    /// Everything that is no block, on the first device.
    embedders: u64,
    /// The blocks on each device.
    blocks: Vec<BlockBytes>,
}

/// Bytes of the blocks on one device.
#[derive(Debug, Clone, PartialEq, Eq)]
struct BlockBytes {
    double: Vec<u64>,
    single: Vec<u64>,
}

impl BlockBytes {
    fn all(&self) -> impl Iterator<Item = &u64> {
        self.double.iter().chain(&self.single)
    }
}

impl FluxBytes {
    /// Counted from the headers, for the first device and all `others`.
    pub fn of(config: &FluxConfig, weights: &Weights, first: &Device, others: &[Device]) -> Self {
        let on = |device: &Device| {
            let of = |prefix: &str, count| -> Vec<u64> {
                let block = |index| weights.device_len(&format!("{prefix}.{index}."), device);
                (0..count).map(block).collect()
            };
            BlockBytes {
                double: of(DoubleStreamBlock::PREFIX, config.num_layers),
                single: of(SingleStreamBlock::PREFIX, config.num_single_layers),
            }
        };
        let blocks: Vec<BlockBytes> = std::iter::once(first).chain(others).map(on).collect();
        let in_blocks: u64 = blocks[0].all().sum();
        Self {
            embedders: weights.device_len("", first).saturating_sub(in_blocks),
            blocks,
        }
    }

    /// The least with which an image can be painted on the first device: all but the blocks, and two of those.
    pub fn least(&self) -> u64 {
        let largest = self.blocks[0].all().max();
        self.embedders + 2 * largest.copied().unwrap_or(0)
    }

    /// True when all blocks stay within the devices' `budgets`, in bytes.
    pub fn fits(&self, budgets: &[u64]) -> bool {
        self.embedders <= budgets[0] && self.streamed(&self.place(budgets)) == 0
    }

    /// How many blocks a placement leaves to be streamed.
    pub fn streamed(&self, placement: &Placement) -> usize {
        self.blocks[0].all().count() - placement.count()
    }

    /// Bytes of what a placement puts on a device.
    pub fn on(&self, device: usize, placement: &Placement) -> u64 {
        let BlockBytes { double, single } = &self.blocks[device];
        let [doubles, singles] = placement.on(device);
        let embedders = if device == 0 { self.embedders } else { 0 };
        embedders + double[doubles].iter().chain(&single[singles]).sum::<u64>()
    }

    /// Bytes of `weights` that are read to load what fits into `budgets`.
    pub fn read_within(&self, budgets: &[u64], weights: &Weights) -> u64 {
        let Placement { double, single } = self.place(budgets);
        let BlockBytes {
            double: doubles,
            single: singles,
        } = &self.blocks[0];
        let kinds = [
            (
                DoubleStreamBlock::PREFIX,
                double.iter().sum()..doubles.len(),
            ),
            (
                SingleStreamBlock::PREFIX,
                single.iter().sum()..singles.len(),
            ),
        ];
        let streamed = kinds.into_iter().flat_map(|(prefix, rest)| {
            rest.map(move |index| weights.byte_len(&format!("{prefix}.{index}.")))
        });
        weights.byte_len("").saturating_sub(streamed.sum())
    }

    /// The blocks that stay within the devices' `budgets`, in bytes. Where not all of them fit, there is place
    /// for two that are streamed on the first device.
    pub fn place(&self, budgets: &[u64]) -> Placement {
        // The fewest borders first.
        let all =
            [Order::Chain, Order::Kinds].map(|order| self.fill(budgets, self.embedders, order));
        let all = all.into_iter().find(|placed| self.streamed(placed) == 0);
        all.unwrap_or_else(|| self.fill(budgets, self.least(), Order::Kinds))
    }

    /// Blocks in an order, beside what the first device has `taken`.
    fn fill(&self, budgets: &[u64], taken: u64, order: Order) -> Placement {
        let mut placed = Placement {
            double: vec![],
            single: vec![],
        };
        for (device, (bytes, &budget)) in self.blocks.iter().zip(budgets).enumerate() {
            let mut left = match device {
                0 => budget.saturating_sub(taken),
                _ => budget,
            };
            for (blocks, counts) in [
                (&bytes.double, &mut placed.double),
                (&bytes.single, &mut placed.single),
            ] {
                let rest = &blocks[counts.iter().sum()..];
                let fits = rest.iter().take_while(|&&bytes| {
                    let fits = bytes <= left;
                    left -= if fits { bytes } else { 0 };
                    fits
                });
                let count = fits.count();
                counts.push(count);
                if order == Order::Chain && count < rest.len() {
                    left = 0;
                }
            }
        }
        placed
    }
}

/// In which order blocks are placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// That of their work: a device with the place for a single block leaves it free while double ones are left.
    Chain,
    /// Double and single ones each in their own.
    Kinds,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Double blocks of 20 bytes and single ones of 10 on each of the devices.
    fn bytes(devices: usize) -> FluxBytes {
        let blocks = BlockBytes {
            double: vec![20, 20],
            single: vec![10, 10, 10],
        };
        FluxBytes {
            embedders: 100,
            blocks: vec![blocks; devices],
        }
    }

    fn placed(budgets: &[u64]) -> (Vec<usize>, Vec<usize>) {
        let Placement { double, single } = bytes(budgets.len()).place(budgets);
        (double, single)
    }

    #[test]
    fn as_many_blocks_stay_as_fit_beside_two_streamed_ones() {
        assert!(bytes(1).fits(&[170]) && !bytes(1).fits(&[169]));
        assert_eq!(bytes(1).least(), 140);
        let one = |budget| {
            let (double, single) = placed(&[budget]);
            (double[0], single[0])
        };
        assert_eq!(one(170), (2, 3));
        assert_eq!(one(169), (1, 0));
        assert_eq!(one(159), (0, 1));
        assert_eq!(one(140), (0, 0));
        assert_eq!(one(0), (0, 0));
    }

    #[test]
    fn devices_are_filled_in_their_order_without_place_for_streamed_blocks() {
        assert_eq!(placed(&[170, 1000]), (vec![2, 0], vec![3, 0]));
        assert_eq!(placed(&[169, 10]), (vec![2, 0], vec![2, 1]));
        assert_eq!(placed(&[120, 50]), (vec![1, 1], vec![0, 3]));
        assert_eq!(placed(&[100, 30, 40]), (vec![0, 1, 1], vec![0, 1, 2]));
        assert!(bytes(2).fits(&[120, 50]) && !bytes(2).fits(&[120, 49]));
        assert!(
            !bytes(2).fits(&[99, 1000]),
            "the embedders are on the first"
        );
    }

    #[test]
    fn what_fits_on_no_device_is_streamed_on_the_first() {
        let tight = bytes(2).place(&[150, 10]);
        assert_eq!(bytes(2).streamed(&tight), 3);
        assert_eq!((tight.double, tight.single), (vec![0, 0], vec![1, 1]));
        assert!(!bytes(2).fits(&[150, 10]) && bytes(2).fits(&[150, 20]));
    }

    #[test]
    fn a_border_is_crossed_twice_where_one_crossing_leaves_no_place() {
        assert_eq!(placed(&[130, 50]), (vec![1, 1], vec![0, 3]));
        assert_eq!(placed(&[130, 40]), (vec![1, 1], vec![1, 2]));
    }

    #[test]
    fn the_bytes_of_a_placement_are_those_of_its_blocks() {
        let placement = Placement {
            double: vec![1, 1],
            single: vec![0, 3],
        };
        assert_eq!(placement.on(1), [1..2, 0..3]);
        let on = |device| bytes(2).on(device, &placement);
        assert_eq!((on(0), on(1)), (120, 50));
    }
}
