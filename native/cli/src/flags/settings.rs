//! The flags for an image's settings, equal in `generate`, `chat` and `gallery`.

use clap::Args;
use x2i_core::Cache;

use super::values::{Seed, Size};

/// The size, the steps, the guidance, the cache and the seed.
#[derive(Debug, Default, Args)]
pub struct SettingsArgs {
    /// Width and height in pixels, multiples of 16, or one number for a square (default: the model's)
    #[arg(long, value_name = "WxH", allow_hyphen_values = true, conflicts_with_all = ["width", "height"])]
    pub size: Option<Size>,
    /// Width in pixels
    #[arg(
        long,
        short = 'W',
        value_name = "PIXELS",
        allow_negative_numbers = true
    )]
    pub width: Option<usize>,
    /// Height in pixels
    #[arg(
        long,
        short = 'H',
        value_name = "PIXELS",
        allow_negative_numbers = true
    )]
    pub height: Option<usize>,
    /// Number of steps (default: the model's)
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub steps: Option<usize>,
    /// How closely a guidance-distilled transformer follows the prompt (default: the model's)
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub guidance: Option<f32>,
    /// Skip most of a step's work where it would change little: `off`, or a threshold such as 0.1; the
    /// larger, the faster, and the further from the image without (default: off)
    #[arg(long, value_name = "off|X", allow_negative_numbers = true)]
    pub cache: Option<Cache>,
    /// Seed of the noise; the same seed gives the same image (default, and -1: a random one, printed)
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub seed: Option<Seed>,
}
