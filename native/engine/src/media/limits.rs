//! The most that an input file may ask of this machine, in one place.
//!
//! All are checked before the work begins: a small file may claim to be huge.

use std::time::Duration;

/// The most pixels of a picture: a phone's 108 million fit. All of them at 8 bits take 360 MB.
pub const PICTURE_PIXELS: u64 = 120_000_000;
/// The longest side of a picture, in pixels. Resizing a long line takes minutes and teaches nothing.
pub const PICTURE_SIDE: u32 = 32_768;
/// The most bytes of a decoded picture: 16-bit pictures have fewer pixels.
pub const PICTURE_BYTES: u64 = 400_000_000;
/// The largest picture file, in bytes: no compression at all of [`PICTURE_BYTES`], and its header.
pub const PICTURE_FILE: u64 = PICTURE_BYTES + (1 << 20);

/// The most bytes of a HEIF file's `meta` box; ICC profiles are in it.
pub const HEIF_META: u64 = 8 << 20;
/// The most items of a HEIF file. Phones write some hundreds.
pub const HEIF_ITEMS: usize = 1 << 14;
/// The most places of all items.
pub const HEIF_EXTENTS: usize = 1 << 16;
/// The most tiles of a picture: 120 million pixels in tiles of 256x256.
pub const HEIF_TILES: usize = 2048;

/// The largest animation (GIF, APNG, WebP) file, in bytes: it is read into memory.
pub const ANIMATION_FILE: u64 = 1 << 30;
/// The most frames of an animation.
pub const ANIMATION_FRAMES: usize = 100_000;
/// The most pixels of one frame of an animation: 8K. Decoders hold a few of them at 4 bytes a pixel.
pub const ANIMATION_SCREEN: u64 = 7680 * 4320;
/// Pixels of all decoded frames that any animation may have: two seconds of work.
const ANIMATION_PIXELS: u64 = 200_000_000;
/// And pixels more for each byte of its file: honest animations have less than 60.
const ANIMATION_PIXELS_PER_BYTE: u64 = 60;
/// The most pixels of all decoded frames: a minute of work.
const ANIMATION_MOST: u64 = 5_000_000_000;

/// The most pixels of a frame that a video is coded in: 8K. ffmpeg holds about 20 of them.
pub const VIDEO_PIXELS: u64 = 8192 * 4352;
/// The most packets of a video's track: 18 hours at 30 a second.
pub const VIDEO_PACKETS: usize = 2_000_000;

/// The longest time that ffprobe may take for the facts of a file's header.
pub const PROBE_TIME: Duration = Duration::from_secs(15);
/// The time that ffmpeg or ffprobe may take for any file.
const READ_SECONDS: u64 = 20;
/// And a second more for so many bytes of the file.
const BYTES_PER_SECOND: u64 = 1 << 16;
/// The most seconds for any file.
const READ_MOST: u64 = 1800;

/// The longest time that ffmpeg or ffprobe may take to go through a file of so many bytes.
pub fn read_time(bytes: u64) -> Duration {
    Duration::from_secs((READ_SECONDS + bytes / BYTES_PER_SECOND).min(READ_MOST))
}

/// The most pixels of all frames that an animation of so many bytes may decode to.
pub fn animation_pixels(bytes: u64) -> u64 {
    let more = bytes.saturating_mul(ANIMATION_PIXELS_PER_BYTE);
    more.saturating_add(ANIMATION_PIXELS).min(ANIMATION_MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn larger_files_get_more_time_and_pixels_up_to_an_end() {
        assert_eq!(read_time(0).as_secs(), 20);
        assert_eq!(read_time(10 << 20).as_secs(), 180);
        assert_eq!(read_time(u64::MAX).as_secs(), 1800);
        assert_eq!(animation_pixels(710), 200_042_600);
        assert_eq!(animation_pixels(u64::MAX), 5_000_000_000);
    }
}
