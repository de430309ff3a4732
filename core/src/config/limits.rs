//! The most that a config's numbers may be. Each is far above every published model, and keeps products
//! of two within 64 bits, so that a config can't ask for memory before its weights are looked at.

use super::checks::check;
use crate::error::Result;

/// Layers or blocks of one kind.
pub(super) const LAYERS: usize = 1024;
/// Numbers in a row: widths of streams, MLPs and embeddings, channels.
pub(super) const WIDTH: usize = 1 << 18;
/// Heads of an attention.
pub(super) const HEADS: usize = 1024;
/// Channels of one head.
pub(super) const HEAD_WIDTH: usize = 4096;
/// Tokens of a vocabulary.
pub(super) const VOCABULARY: usize = 1 << 22;
/// Positions of a sequence.
pub(super) const POSITIONS: usize = 1 << 22;
/// Tokens that a prompt is padded to: scores are computed for all pairs of them.
pub(super) const PADDING: usize = 1 << 14;
/// Pixels of the side of a patch, a tile, a window or a slice.
pub(super) const SIDE: usize = 1 << 14;
/// Small counts: frames of a patch, patches of a token, tiles, resnets of a level.
pub(super) const COUNT: usize = 1024;
/// Pixels that a picture is made larger to, at least.
pub(super) const LEAST_PIXELS: usize = 1 << 24;
/// Pixels that a picture is made smaller to.
pub(super) const MOST_PIXELS: usize = 1 << 28;
/// Pixels of a side of the image, a multiple of 16, and steps: as for a request.
pub(super) const IMAGE_SIDE: usize = 8192;
pub(super) const STEPS: usize = 1000;
/// Tokens of an answer.
pub(super) const ANSWER: usize = 1 << 16;

/// Fails at the first number that is above its limit. `prefix` stands before the keys.
///
/// # Errors
/// [`crate::Error::Config`] naming the key and the limit.
pub(super) fn check_limits(
    file: &str,
    prefix: &str,
    numbers: &[(&str, usize, usize)],
) -> Result<()> {
    numbers.iter().try_for_each(|&(key, number, most)| {
        check(file, number <= most, || {
            format!("{prefix}{key} {number} is too large; at most {most} is read")
        })
    })
}
