//! The frames of a video through ffmpeg: those that a player shows, upright, in 8-bit RGB.
//!
//! Frames come through a pipe as PPM: raw RGB, with a size for each frame, since ffmpeg rotates frames
//! as the file says. HDR is mapped to the range of ordinary screens where ffmpeg has the filters
//! `zscale` and `tonemap`; where it has none, its values are taken as they are, and look pale.

use x2i_core::{Error, Field, Image, Result, Video};

use super::kept::{self, Kept, MAX_FRAMES};
use super::select;
use crate::media::ffmpeg::{self, Failure, Source, Timeline, Track, ppm};
use crate::media::kind::Kind;
use crate::media::length;
use crate::media::reading::Reading;

/// A decoder may give one frame less than there are packets: the last one is often incomplete.
const LOST_FRAMES: usize = 1;
/// The least part of the packets that must give a frame. Some codecs have packets that show nothing.
const LEAST_PART: f64 = 0.8;
/// The nits of white in HDR (ITU-R BT.2408), and the multiple of it that still is told from lighter
/// ones: 1000 nits.
const WHITE_NITS: &str = "203";
const PEAK: &str = "4.926";

/// The frames of a video that the sampling chooses; `name` is for messages.
///
/// # Errors
/// [`Error::Video`] when a program is missing, fails (with the reason in its output) or takes too long,
/// and when the file has no video track, is too large or cut short; [`Error::Cancelled`].
pub fn read(name: &str, source: &Source, reading: &Reading) -> Result<Video> {
    let failed = |failure: Failure| {
        let without_video = failure == Failure::from(ffmpeg::NO_VIDEO);
        let error = failure.error(Kind::Video, name);
        match without_video {
            true => error.mended_by(Field::Audio),
            false => error,
        }
    };
    if let Some(reason) = length::cut(source.path, source.format) {
        return Err(Error::video(name, reason));
    }
    let track = ffmpeg::track(source).map_err(failed)?;
    let [width, height] = track.size;
    if width.saturating_mul(height) > source.pixels {
        let most = source.pixels;
        let reason = format!("has frames of {width}x{height}; the most are {most} pixels");
        return Err(Error::video(name, reason));
    }
    let mut timeline = ffmpeg::timeline(source, &track).map_err(failed)?;
    let mut chosen = choose(name, &timeline, reading)?;
    let mut frames = decode(name, source, &track, &chosen, reading)?;
    if frames.len() < chosen.len() {
        let packets = timeline.frames;
        let found = ffmpeg::count_frames(source, &track).map_err(failed)?;
        let broken = (found as f64) < packets as f64 * LEAST_PART;
        if found == 0 || broken && found + LOST_FRAMES < packets {
            let reason =
                format!("is cut short or broken: {found} of {packets} frames could be decoded");
            return Err(Error::video(name, reason));
        }
        if found + LOST_FRAMES < packets {
            timeline = Timeline {
                frames: found,
                fps: timeline.fps * found as f64 / packets as f64,
            };
            chosen = choose(name, &timeline, reading)?;
            frames = decode(name, source, &track, &chosen, reading)?;
        }
    }
    let last = frames.last().cloned();
    let last = last.ok_or_else(|| Error::video(name, "has no frame that can be decoded"))?;
    frames.resize(chosen.len(), last);
    let fps = timeline.fps * chosen.len() as f64 / timeline.frames as f64;
    kept::video(name, frames, fps)
}

fn choose(name: &str, timeline: &Timeline, reading: &Reading) -> Result<Vec<usize>> {
    let chosen = reading.sampling.choose(timeline.frames, timeline.fps);
    let chosen = chosen.map_err(|error| match error {
        Error::Video { reason, .. } => Error::video(name, reason),
        other => other,
    })?;
    if chosen.len() > MAX_FRAMES {
        let count = chosen.len();
        let reason = format!("{count} frames would be sampled, at most {MAX_FRAMES} can be");
        return Err(Error::video(name, reason).mended_by(Field::VideoFps));
    }
    Ok(chosen)
}

/// Decodes the track up to the last chosen frame, or less where it ends before.
fn decode(
    name: &str,
    source: &Source,
    track: &Track,
    chosen: &[usize],
    reading: &Reading,
) -> Result<Vec<Image>> {
    let filters = filters(track, chosen, reading.cancelled);
    let (map, count) = (format!("0:{}", track.index), chosen.len().to_string());
    let output = [
        "-map",
        &map,
        "-frames:v",
        &count,
        "-vf",
        &filters,
        "-r",
        "25",
        "-c:v",
        "ppm",
        "-f",
        "image2pipe",
        "-",
    ];
    let mut kept = Kept::new(name, chosen.len());
    let mut failed = None;
    let mut keep = |frame| {
        let kept = kept.push(frame);
        kept.map_err(|error| failed = Some(error)).is_ok()
    };
    let done = source.convert(&output, ppm::read, &mut keep);
    done.map_err(|failure| failure.error(Kind::Video, name))?;
    match failed {
        Some(error) => Err(error),
        None => Ok(kept.frames),
    }
}

/// The chosen frames, in 8-bit RGB, scaled down when they are large and many.
fn filters(track: &Track, chosen: &[usize], cancelled: &dyn Fn() -> bool) -> String {
    let mut filters = vec![format!("select='{}'", select::expression(chosen))];
    let pixels = track.size[0] * track.size[1];
    let most = (kept::MAX_PIXELS / chosen.len().max(1)) as f64;
    if pixels as f64 > most {
        let shrink = (most / pixels as f64).sqrt();
        // Names of the turned sides, since a phone's frames are turned before.
        filters.push(format!(
            "scale='max(1,trunc(iw*{shrink}))':'max(1,trunc(ih*{shrink}))':flags=bicubic"
        ));
    }
    if let Some(curve) = &track.hdr
        && ffmpeg::has_filters(&["zscale", "tonemap"], cancelled)
    {
        filters.push(tone_map(curve));
    }
    filters.push("format=rgb24".into());
    // Evenly spaced times, so that the muxer neither repeats nor drops a frame.
    filters.push("setpts=N/25/TB".into());
    filters.join(",")
}

/// Filters from an HDR curve to sRGB: to light, to BT.709's colors, the highlights pressed together.
fn tone_map(curve: &str) -> String {
    format!(
        "zscale=tin={curve}:t=linear:npl={WHITE_NITS},format=gbrpf32le,zscale=p=bt709,\
         tonemap=mobius:desat=0:peak={PEAK},zscale=t=iec61966-2-1:m=bt709:r=full"
    )
}
