//! Asks ffprobe about a video: its track, and when its frames are shown. What it prints is read in `answer`.

use super::answer::{self, Packet, Shown, Timeline, Track, read_packets};
use super::process::{Failure, run};
use super::{Source, read_piece};
use crate::media::limits::{self, PROBE_TIME, VIDEO_PACKETS};

/// The largest answer of ffprobe about tracks, in bytes: a few numbers of each.
const MAX_ANSWER: usize = 1 << 20;

/// The first video track that is not a cover.
///
/// # Errors
/// [`Failure`]: those of the program, or [`NO_VIDEO`](answer::NO_VIDEO).
pub fn track(source: &Source) -> Result<Track, Failure> {
    let entries = "stream=index,width,height,color_transfer,avg_frame_rate,r_frame_rate,duration,\
                   nb_frames:stream_disposition=attached_pic";
    let ask = [
        "-select_streams",
        "v",
        "-show_entries",
        entries,
        "-of",
        "json",
    ];
    Ok(answer::track(&whole(source, &ask, PROBE_TIME)?)?)
}

/// All that ffprobe prints.
fn whole(source: &Source, ask: &[&str], time: std::time::Duration) -> Result<Vec<u8>, Failure> {
    let call = source.call("ffprobe", ask, &[], time)?;
    let mut json = vec![];
    let mut keep = |bytes: Vec<u8>| {
        json.extend(bytes);
        json.len() <= MAX_ANSWER
    };
    run(&call, read_piece, &mut keep)?;
    Ok(json)
}

/// When the frames of the track are shown: all its packets are looked at, none is decoded.
///
/// # Errors
/// [`Failure`]: those of the program; when there are no frames, too many, or far fewer than promised.
pub fn timeline(source: &Source, track: &Track) -> Result<Timeline, Failure> {
    let index = track.index.to_string();
    let ask = [
        "-select_streams",
        &index,
        "-show_entries",
        "packet=pts_time,duration_time,size,flags",
        "-of",
        "compact=print_section=0",
    ];
    let bytes = source.path.metadata().map_or(0, |metadata| metadata.len());
    let call = source.call("ffprobe", &ask, &[], limits::read_time(bytes))?;
    let (mut shown, mut packets) = (Shown::default(), 0);
    let mut keep = |lines: Vec<Packet>| {
        packets += lines.len();
        lines.iter().for_each(|packet| shown.add(packet));
        packets <= VIDEO_PACKETS
    };
    run(&call, read_packets, &mut keep)?;
    if packets > VIDEO_PACKETS {
        let reason = format!("has more than {VIDEO_PACKETS} frames; cut it");
        return Err(reason.into());
    }
    Ok(shown.timeline(track)?)
}

/// The number of frames that the track gives when it is decoded.
///
/// # Errors
/// [`Failure`]: those of the program.
pub fn count_frames(source: &Source, track: &Track) -> Result<usize, Failure> {
    let index = track.index.to_string();
    let entries = "stream=index,nb_read_frames";
    let ask = [
        "-select_streams",
        &index,
        "-count_frames",
        "-show_entries",
        entries,
        "-of",
        "json",
    ];
    let bytes = source.path.metadata().map_or(0, |metadata| metadata.len());
    let json = whole(source, &ask, limits::read_time(bytes))?;
    Ok(answer::count(&json)?)
}
