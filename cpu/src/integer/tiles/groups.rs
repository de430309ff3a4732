//! How both sides of a product on tiles are packed.

use std::ops::Range;

use crate::formats::{BlockType, GROUP, Group};
use crate::integer::blocks::Weights;
use crate::integer::bytes::{self, Sign};
use crate::integer::inputs::scale;
use crate::integer::interleave::interleave;
use crate::integer::rounding::{COLUMNS, Panels, ROWS as WEIGHT_ROWS};
use crate::vectorize::{Kernel, ROUND};

pub(super) use bytes::{SPAN, WeightGroup};

/// Input rows of a tile.
pub(super) const ROWS: usize = 16;

/// Columns of a tile.
pub(super) const LANES: usize = 16;

/// Tiles of a panel.
pub(super) const HALVES: usize = COLUMNS.div_ceil(LANES);

/// The largest rounded input.
const LARGEST: f32 = i8::MAX as f32;

/// 32 numbers of each input row.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct InputGroup {
    pub(super) rows: [[i8; GROUP]; ROWS],
    /// Shared along a [`SPAN`].
    pub(super) scales: [f32; ROWS],
    /// The sum of a row's numbers, for the offsets of the weights.
    pub(super) sums: [f32; ROWS],
}

impl InputGroup {
    /// An empty group, which packing fills.
    pub(super) const NONE: Self = Self {
        rows: [[0; GROUP]; ROWS],
        scales: [0.0; ROWS],
        sums: [0.0; ROWS],
    };
}

/// Rounds and packs up to 16 rows. A tile that is not full repeats its last row; the sums of the copies are not read.
pub(super) struct Pack<'a> {
    /// `[rows, cols]`
    pub(super) x: &'a [f32],
    pub(super) cols: usize,
    pub(super) out: &'a mut [InputGroup],
}

impl Kernel for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let last = self.x.len() / self.cols - 1;
        for (span, groups) in self.out.chunks_mut(SPAN).enumerate() {
            let (first, length) = (span * SPAN * GROUP, groups.len() * GROUP);
            for row in 0..ROWS {
                let x = &self.x[row.min(last) * self.cols + first..][..length];
                let (scale, inverse) = scale(x, LARGEST);
                for (out, x) in groups.iter_mut().zip(x.as_chunks::<GROUP>().0) {
                    let mut numbers = [0; GROUP];
                    let mut sum = 0;
                    for (number, x) in numbers.iter_mut().zip(x) {
                        *number = (x * inverse + ROUND).to_bits() as i8;
                        sum += i32::from(*number);
                    }
                    out.rows[row] = numbers;
                    out.scales[row] = scale;
                    out.sums[row] = sum as f32;
                }
            }
        }
    }
}

/// Weights as signed bytes, in the order of [`bytes`].
pub(in crate::integer) struct Signed {
    zero: u8,
    pub(super) has_offsets: bool,
}

impl Signed {
    /// `None` for formats whose quants fit no byte.
    pub(in crate::integer) fn new(block_type: BlockType) -> Option<Self> {
        bytes::largest_quant(block_type).map(|_| Self {
            zero: block_type.zero(),
            has_offsets: block_type.has_offsets(),
        })
    }
}

impl Panels for Signed {
    type Quant = u8;
    type WeightGroup = WeightGroup;

    const NO_WEIGHTS: WeightGroup = bytes::NO_WEIGHTS;

    fn unpack_panel(
        &self,
        weights: &Weights<'_>,
        rows: Range<usize>,
        panel: &mut [WeightGroup],
    ) -> bool {
        bytes::unpack_panel(weights, rows, Sign::Signed, panel)
    }

    #[inline(always)]
    fn pack_weights(&self, rows: [&Group<u8>; WEIGHT_ROWS], first: usize, out: &mut WeightGroup) {
        for (row, group) in rows.into_iter().enumerate() {
            out.scales[first + row] = group.scale;
            out.offsets[first + row] = group.offset;
        }
        let mut quants = [[0; GROUP]; WEIGHT_ROWS];
        for (quants, group) in quants.iter_mut().zip(rows) {
            for (quant, stored) in quants.iter_mut().zip(group.quants) {
                *quant = stored.wrapping_sub(self.zero);
            }
        }
        interleave(&quants, first, &mut out.quads);
    }
}
