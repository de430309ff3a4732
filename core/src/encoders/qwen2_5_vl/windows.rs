//! The layout of the vision tower's patches: windows, frames and rotary positions.
//!
//! Most blocks attend only inside windows of `window_size` pixels. The tower therefore works in
//! window order, and returns to the image's order at its end. Runs on the host. Source:
//! `get_window_index` and `rot_pos_emb` of transformers 4.49.

use super::patches::{Grid, merged_raster};
use crate::config::VisionConfig;

/// Base of the vision tower's rotary frequencies.
const THETA: f32 = 10_000.0;

/// Which patches attend to each other: their order in windows, lengths of windows and frames.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    /// For every place in window order, the merged patch that stands there.
    pub window_index: Vec<usize>,
    /// Patches of every window, in window order.
    pub window_lengths: Vec<usize>,
    /// Patches of every frame of every image.
    pub frame_lengths: Vec<usize>,
    /// Rotary angles `[patches, head_dim / 2]`, in the image's order: rows, then columns.
    pub rope_freqs: Vec<f32>,
}

impl Layout {
    /// The layout of several images or videos, one after another.
    pub fn new(grids: &[Grid], config: &VisionConfig) -> Self {
        let merge = config.spatial_merge_size;
        let side = config.window_size / merge / config.patch_size;
        let mut layout = Self {
            window_index: vec![],
            window_lengths: vec![],
            frame_lengths: vec![],
            rope_freqs: vec![],
        };
        let frequencies = frequencies(config.hidden_size / config.num_heads);
        for grid in grids {
            let (rows, columns) = (grid.h / merge, grid.w / merge);
            for _ in 0..grid.t {
                let start = layout.window_index.len();
                layout.push_windows(start, [rows, columns], side, merge * merge);
                layout.frame_lengths.push(grid.h * grid.w);
                for position in merged_raster(grid.h, grid.w, merge) {
                    let angles = position.map(|place| {
                        frequencies
                            .iter()
                            .map(move |frequency| place as f32 * frequency)
                    });
                    layout.rope_freqs.extend(angles.into_iter().flatten());
                }
            }
        }
        layout
    }

    /// Windows of one frame whose first merged patch is `start`; those at the border are smaller.
    fn push_windows(
        &mut self,
        start: usize,
        [rows, columns]: [usize; 2],
        side: usize,
        patches: usize,
    ) {
        for top in (0..rows).step_by(side) {
            for left in (0..columns).step_by(side) {
                let (bottom, right) = ((top + side).min(rows), (left + side).min(columns));
                for row in top..bottom {
                    self.window_index
                        .extend((left..right).map(|column| start + row * columns + column));
                }
                self.window_lengths
                    .push((bottom - top) * (right - left) * patches);
            }
        }
    }
}

/// A quarter of a head turns by the row, a quarter by the column, and the other half repeats them.
fn frequencies(head_dim: usize) -> Vec<f32> {
    let width = (head_dim / 2) as f32;
    (0..head_dim / 4)
        .map(|k| 1.0 / THETA.powf((2 * k) as f32 / width))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn config() -> VisionConfig {
        VisionConfig {
            hidden_size: 32,
            num_heads: 2,
            ..VisionConfig::default()
        }
    }

    #[test]
    fn windows_at_the_border_are_smaller() {
        let layout = Layout::new(&[Grid { t: 1, h: 10, w: 10 }], &config());
        assert_eq!(layout.window_lengths, [64, 16, 16, 4]);
        assert_eq!(layout.window_index[..5], [0, 1, 2, 3, 5]);
        assert_eq!(layout.frame_lengths, [100]);
    }

    proptest! {
        #[test]
        fn every_patch_has_one_place(t in 1usize..4, h in 1usize..12, w in 1usize..12, count in 1usize..3) {
            let grids = vec![Grid { t, h: h * 2, w: w * 2 }; count];
            let layout = Layout::new(&grids, &config());
            let patches: usize = grids.iter().map(Grid::patches).sum();
            prop_assert_eq!(layout.window_lengths.iter().sum::<usize>(), patches);
            prop_assert_eq!(layout.frame_lengths.iter().sum::<usize>(), patches);
            prop_assert_eq!(layout.rope_freqs.len(), patches * 8);
            let mut sorted = layout.window_index;
            sorted.sort_unstable();
            prop_assert!(sorted.into_iter().eq(0..patches / 4));
        }
    }
}
