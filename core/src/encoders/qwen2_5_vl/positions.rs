//! M-RoPE: the temporal, row and column position of every token.
//!
//! Text counts on all three axes at once. An image's tokens spread over rows and columns, a video's
//! over time as well; the text after it continues after the largest position. Source:
//! `get_rope_index` of transformers 4.49.

use super::patches::{Grid, Patches};
use crate::config::Qwen2_5VlConfig;
use crate::encoders::qwen2::Position;
use crate::encoders::sequence::Positions;

/// The position of padding tokens; no kept token attends to them.
const PADDING: Position = [1; 3];

/// Positions of `ids` in which `images` and `videos` stand, in order, as runs of placeholders.
pub fn positions(
    ids: &[u32],
    keep: &[bool],
    images: &[Patches],
    videos: &[Patches],
    config: &Qwen2_5VlConfig,
) -> Positions {
    let merge = config.vision_config.spatial_merge_size;
    let (mut images, mut videos) = (images.iter(), videos.iter());
    let mut tokens = Vec::with_capacity(ids.len());
    let mut next = 0;
    // Places of the image or video that the scan is inside of.
    let mut places = Vec::new().into_iter();
    for (&id, &kept) in ids.iter().zip(keep) {
        if !kept {
            tokens.push(PADDING);
            continue;
        }
        if places.len() == 0 {
            let visual = match id {
                _ if id == config.image_token_id => images.next(),
                _ if id == config.video_token_id => videos.next(),
                _ => None,
            };
            if let Some(visual) = visual {
                let step = visual.seconds_per_grid * config.vision_config.tokens_per_second as f32;
                let inside = visual_places(visual.grid, merge, step, next);
                next = inside
                    .iter()
                    .flatten()
                    .max()
                    .map_or(next, |largest| largest + 1);
                places = inside.into_iter();
            }
        }
        tokens.push(places.next().unwrap_or_else(|| {
            next += 1;
            [next - 1; 3]
        }));
    }
    let largest = tokens.iter().flatten().max().copied().unwrap_or(-1);
    Positions {
        delta: largest + 1 - ids.len() as i64,
        tokens,
    }
}

/// Places of a grid's merged patches, from `first`; `step` temporal positions from frame to frame.
fn visual_places(grid: Grid, merge: usize, step: f32, first: i64) -> Vec<Position> {
    let (rows, columns) = (grid.h / merge, grid.w / merge);
    let place = |t: usize, row: usize, column: usize| {
        [
            (t as f32 * step) as i64 + first,
            row as i64 + first,
            column as i64 + first,
        ]
    };
    let frames = (0..grid.t).flat_map(|t| (0..rows).map(move |row| [t, row]));
    frames
        .flat_map(|[t, row]| (0..columns).map(move |column| place(t, row, column)))
        .collect()
}
