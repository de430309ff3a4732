//! The sound of a file through ffmpeg.

use x2i_core::{Error, Result};

use super::ffmpeg::{Failure, Source};
use super::kind::Kind;
use super::length;

/// The most bytes of decoded audio: half an hour of 32-bit stereo at 48 kHz.
const MAX_SOUND: usize = 700 << 20;

/// The first audio track of a file as the bytes of a WAV file: at most `seconds` and one more.
///
/// # Errors
/// [`Error::Audio`] when the program is missing, fails (with the reason in its output) or takes too
/// long, and when the file has no audio; [`Error::Cancelled`].
pub fn wave(name: &str, source: &Source, seconds: f64) -> Result<Vec<u8>> {
    if let Some(reason) = length::cut(source.path, source.format) {
        return Err(Error::audio(name, reason));
    }
    // One second more than allowed, so that a longer file is noticed.
    let most = (seconds + 1.0).to_string();
    let output = [
        "-map",
        "0:a:0",
        "-t",
        &most,
        "-c:a",
        "pcm_f32le",
        "-f",
        "wav",
        "-",
    ];
    let wave = source
        .bytes(&output, MAX_SOUND)
        .map_err(|failure| match failure {
            // The last line is then ffmpeg's advice to make the audio optional.
            Failure::Reason(reason) if reason.contains("trailing '?'") => {
                Error::audio(name, "has no audio")
            }
            failure => failure.error(Kind::Audio, name),
        })?;
    wave.ok_or_else(|| {
        Error::audio(
            name,
            format!("has more than {MAX_SOUND} bytes of audio; cut it"),
        )
    })
}
