//! Reads videos and their audio through the programs ffmpeg and ffprobe.
//!
//! Frames come through a pipe as PPM: raw RGB, with a size for each frame, since ffmpeg rotates frames
//! as the file says. Nothing is written to disk. The only allowed protocol is `file`, so that a video
//! can't make ffmpeg open a network address.

pub mod ppm;
mod process;

use std::io::{self, BufRead, Read};
use std::path::Path;

use serde::Deserialize;
use x2i_core::video::sampling::Sampling;
use x2i_core::{Error, Field, Result, Video};

use self::process::{Call, run};
use super::kept::{Kept, MAX_FRAMES};

/// The largest answer of ffprobe, in bytes: a few numbers.
const MAX_ANSWER: u64 = 1 << 20;
/// The most bytes of decoded audio: half an hour of 32-bit stereo at 48 kHz.
const MAX_SOUND: usize = 700 << 20;
/// The message for a file without a video track.
const NO_VIDEO: &str = "has no video track";
/// The header may count so many frames more than can be decoded: the last one is often incomplete.
const LOST_FRAMES: usize = 1;

/// The frames of a video that `sampling` chooses; `name` is for messages.
///
/// # Errors
/// [`Error::Video`] when a program is missing, fails (with the last line of its output) or hangs, and
/// when the file has no video track or is cut short.
pub(crate) fn frames(name: &str, path: &Path, sampling: Sampling) -> Result<Video> {
    let wrong = |reason: String| {
        let without_video = reason == NO_VIDEO;
        let error = Error::video(name, reason);
        match without_video {
            true => error.mended_by(Field::Audio),
            false => error,
        }
    };
    let facts = facts(path).map_err(wrong)?;
    let chosen = sampling.choose(facts.frames, facts.fps);
    let chosen = chosen.map_err(|error| wrong(error.to_string()))?;
    if chosen.len() > MAX_FRAMES {
        let reason = format!(
            "{} frames would be sampled, at most {MAX_FRAMES} can be",
            chosen.len()
        );
        return Err(wrong(reason).mended_by(Field::VideoFps));
    }
    let mut kept = Kept::new(name, chosen.len());
    let call = Call::new("ffmpeg", frame_arguments(path, &chosen));
    let mut failed = None;
    let mut keep = |frame| {
        kept.push(frame)
            .map_err(|error| failed = Some(error))
            .is_ok()
    };
    run(&call, ppm::read, &mut keep).map_err(wrong)?;
    if let Some(error) = failed {
        return Err(error);
    }
    let found = kept.frames.len();
    if found + LOST_FRAMES < chosen.len() || found == 0 {
        let reason = format!(
            "is cut short or broken: {found} of {} frames could be decoded",
            chosen.len()
        );
        return Err(wrong(reason));
    }
    while kept.frames.len() < chosen.len() {
        kept.frames.extend(kept.frames.last().cloned());
    }
    kept.video(facts.fps * chosen.len() as f64 / facts.frames as f64)
}

/// A video's audio as the bytes of a WAV file: at most `seconds` and one more.
///
/// # Errors
/// [`Error::Audio`] as [`frames`].
pub(crate) fn sound(name: &str, path: &Path, seconds: f64) -> Result<Vec<u8>> {
    let wrong = |reason: String| Error::audio(name, reason);
    let mut arguments = input_arguments(path);
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
    arguments.extend(output.map(String::from));
    let mut wave: Vec<u8> = vec![];
    let mut keep = |bytes: Vec<u8>| {
        wave.extend(bytes);
        wave.len() <= MAX_SOUND
    };
    let done = run(&Call::new("ffmpeg", arguments), read_piece, &mut keep);
    if let Err(reason) = done {
        // The last line is then ffmpeg's advice to make the audio optional.
        return Err(wrong(match reason.contains("trailing '?'") {
            true => "has no audio".into(),
            false => reason,
        }));
    }
    if wave.len() > MAX_SOUND {
        return Err(wrong(format!(
            "has more than {MAX_SOUND} bytes of audio; cut it"
        )));
    }
    Ok(wave)
}

/// The facts of a container about its video track.
#[derive(Debug, PartialEq)]
struct Facts {
    frames: usize,
    fps: f64,
}

/// The JSON that ffprobe prints.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    streams: Vec<Stream>,
}

#[derive(Deserialize)]
struct Stream {
    nb_frames: Option<String>,
    nb_read_packets: Option<String>,
    avg_frame_rate: Option<String>,
    r_frame_rate: Option<String>,
}

fn facts(path: &Path) -> Result<Facts, String> {
    let facts = probe(path, &[])?;
    // Only some containers state the number of frames; in the others, ffprobe counts packets.
    match facts {
        Some(facts) => Ok(facts),
        None => probe(path, &["-count_packets"])?.ok_or_else(|| "has no frames".into()),
    }
}

/// The facts; `None` when the number of frames is unknown.
fn probe(path: &Path, options: &[&str]) -> Result<Option<Facts>, String> {
    let mut arguments: Vec<String> = ["-v", "error", "-protocol_whitelist", "file"]
        .iter()
        .chain(options)
        .map(|&argument| argument.into())
        .collect();
    let entries = "stream=nb_frames,nb_read_packets,avg_frame_rate,r_frame_rate";
    let ask = [
        "-select_streams",
        "v:0",
        "-show_entries",
        entries,
        "-of",
        "json",
        "-i",
    ];
    arguments.extend(ask.map(String::from));
    arguments.push(address(path));
    let mut json = vec![];
    let mut keep = |bytes: Vec<u8>| {
        json.extend(bytes);
        json.len() as u64 <= MAX_ANSWER
    };
    run(&Call::new("ffprobe", arguments), read_piece, &mut keep)?;
    understand(&json)
}

fn understand(json: &[u8]) -> Result<Option<Facts>, String> {
    let answer: Answer =
        serde_json::from_slice(json).map_err(|_| "ffprobe printed no JSON".to_owned())?;
    let stream = answer.streams.first();
    let stream = stream.ok_or(NO_VIDEO)?;
    let rates = [&stream.avg_frame_rate, &stream.r_frame_rate];
    let fps = rates.into_iter().flatten().find_map(|rate| fraction(rate));
    let fps = fps.ok_or("does not state its frames per second")?;
    let counts = [&stream.nb_frames, &stream.nb_read_packets];
    let mut counts = counts.into_iter().flatten();
    let frames = counts.find_map(|count| count.parse().ok().filter(|&count| count > 0));
    Ok(frames.map(|frames| Facts { frames, fps }))
}

/// Parses `30000/1001`; `None` for `0/0`.
fn fraction(text: &str) -> Option<f64> {
    let (above, below) = text.split_once('/')?;
    let value = above.parse::<f64>().ok()? / below.parse::<f64>().ok()?;
    (value.is_finite() && value > 0.0).then_some(value)
}

/// The path as a URL, so that no name is taken for an option or another protocol.
fn address(path: &Path) -> String {
    format!("file:{}", path.display())
}

fn input_arguments(path: &Path) -> Vec<String> {
    let address = address(path);
    let arguments = [
        "-v",
        "error",
        "-nostdin",
        "-protocol_whitelist",
        "file",
        "-i",
        &address,
    ];
    arguments.map(String::from).into()
}

/// Arguments that decode all frames and print only the chosen ones.
fn frame_arguments(path: &Path, chosen: &[usize]) -> Vec<String> {
    let chosen: Vec<String> = chosen
        .iter()
        .map(|frame| format!("eq(n,{frame})"))
        .collect();
    // Evenly spaced times, so that the muxer neither repeats nor drops a frame.
    let filter = format!("select='{}',setpts=N/25/TB", chosen.join("+"));
    let mut arguments = input_arguments(path);
    let output = [
        "-map",
        "0:v:0",
        "-vf",
        &filter,
        "-r",
        "25",
        "-c:v",
        "ppm",
        "-f",
        "image2pipe",
        "-",
    ];
    arguments.extend(output.map(String::from));
    arguments
}

/// The next bytes, up to 64 KiB; `None` at the end.
fn read_piece(output: &mut dyn BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut piece = vec![];
    output.take(1 << 16).read_to_end(&mut piece)?;
    Ok((!piece.is_empty()).then_some(piece))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_ffprobe_are_understood() {
        let ask = |json: &str| understand(json.as_bytes());
        let facts = ask(r#"{"streams": [{"nb_frames": "90", "avg_frame_rate": "30000/1001"}]}"#);
        assert_eq!(
            facts.unwrap().unwrap(),
            Facts {
                frames: 90,
                fps: 30_000.0 / 1001.0
            }
        );
        let unknown = r#"{"streams": [{"avg_frame_rate": "0/0", "r_frame_rate": "25/1"}]}"#;
        assert_eq!(ask(unknown), Ok(None));
        assert!(
            ask(r#"{"streams": []}"#)
                .unwrap_err()
                .contains("no video track")
        );
        assert!(
            ask(r#"{"streams": [{"nb_frames": "3"}]}"#)
                .unwrap_err()
                .contains("per second")
        );
        assert!(ask("").is_err());
    }
}
