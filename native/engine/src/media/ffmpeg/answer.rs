//! What ffprobe prints, read: a video's track, and its packets.
//!
//! Headers are not believed: the packets that are there are counted. A packet that an edit list hides
//! (the lead-in of a clip that a phone has cut) has the flag `D`; its frame is decoded and not shown.
//! Left out: how ffprobe is asked (`probe`).

use std::io::{self, BufRead, Read};

use serde::Deserialize;

use crate::media::limits::VIDEO_PACKETS;

/// The longest line about a packet, in bytes.
const MAX_LINE: u64 = 4096;
/// The message for a file without a video track.
pub(crate) const NO_VIDEO: &str = "has no video track";
/// The header may count so many frames more than can be decoded: the last one is often incomplete.
const LOST_FRAMES: f64 = 1.5;
/// And so great a part of the duration that it states: clocks are rounded.
const LOST_PART: f64 = 0.01;
/// A header's rate is taken when what is counted differs less: it is exact, and times are rounded.
const SAME_RATE: f64 = 0.01;

/// The track that a player shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Track {
    /// Its number in the file.
    pub index: usize,
    /// Width and height in pixels, before it is turned.
    pub size: [u64; 2],
    /// The header's frames per second.
    rate: Option<f64>,
    /// The seconds that a header which counts frames states.
    promised: Option<f64>,
    /// HDR, if the track says so: the curve (`smpte2084` or `arib-std-b67`).
    pub hdr: Option<String>,
}

/// The frames that a player shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeline {
    /// Their number.
    pub frames: usize,
    /// Frames per second, on average.
    pub fps: f64,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    streams: Vec<Stream>,
}

#[derive(Deserialize)]
struct Stream {
    index: usize,
    width: Option<u64>,
    height: Option<u64>,
    color_transfer: Option<String>,
    avg_frame_rate: Option<String>,
    r_frame_rate: Option<String>,
    duration: Option<String>,
    nb_frames: Option<String>,
    nb_read_frames: Option<String>,
    #[serde(default)]
    disposition: Disposition,
}

#[derive(Deserialize, Default)]
struct Disposition {
    #[serde(default)]
    attached_pic: u8,
}

/// The first video track that is not a cover.
///
/// # Errors
/// For an answer that is not ffprobe's JSON, and for one without a video track.
pub fn track(json: &[u8]) -> Result<Track, String> {
    let mut streams = streams(json)?.into_iter();
    let stream = streams.find(|stream| stream.disposition.attached_pic == 0);
    let stream = stream.ok_or(NO_VIDEO)?;
    let rates = [&stream.avg_frame_rate, &stream.r_frame_rate];
    let counted = stream.nb_frames.and_then(|count| count.parse().ok());
    let seconds: Option<f64> = stream.duration.and_then(|seconds| seconds.parse().ok());
    // A count beyond all budgets is no count: a recorder that was stopped leaves such numbers.
    let promised = seconds.filter(|seconds| {
        seconds.is_finite() && counted.is_some_and(|count: usize| count <= VIDEO_PACKETS)
    });
    let transfer = stream.color_transfer.unwrap_or_default();
    Ok(Track {
        index: stream.index,
        size: [stream.width.unwrap_or(0), stream.height.unwrap_or(0)],
        rate: rates.into_iter().flatten().find_map(|rate| fraction(rate)),
        promised,
        hdr: ["smpte2084", "arib-std-b67"]
            .contains(&transfer.as_str())
            .then_some(transfer),
    })
}

/// Parses `30000/1001`; `None` for `0/0`.
fn fraction(text: &str) -> Option<f64> {
    let (above, below) = text.split_once('/')?;
    let value = above.parse::<f64>().ok()? / below.parse::<f64>().ok()?;
    (value.is_finite() && value > 0.0).then_some(value)
}

/// The number of frames that a track gave when ffprobe decoded it; 0 where that is not said.
///
/// # Errors
/// For an answer that is not ffprobe's JSON.
pub fn count(json: &[u8]) -> Result<usize, String> {
    let stream = streams(json)?.into_iter().next();
    let count = stream.and_then(|stream| stream.nb_read_frames?.parse().ok());
    Ok(count.unwrap_or(0))
}

fn streams(json: &[u8]) -> Result<Vec<Stream>, String> {
    let answer = serde_json::from_slice(json);
    let answer: Answer = answer.map_err(|_| "ffprobe printed no JSON".to_owned())?;
    Ok(answer.streams)
}

/// The facts of a packet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Packet {
    /// When its frame is shown, in seconds.
    time: Option<f64>,
    seconds: Option<f64>,
    hidden: bool,
}

/// The packets of the next lines, up to 1000; `None` at the end.
///
/// # Errors
/// Those of reading.
pub fn read_packets(output: &mut dyn BufRead) -> io::Result<Option<Vec<Packet>>> {
    let mut packets = vec![];
    while packets.len() < 1000 {
        let mut line = vec![];
        (&mut *output).take(MAX_LINE).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            break;
        }
        packets.extend(packet(&String::from_utf8_lossy(&line)));
    }
    Ok((!packets.is_empty()).then_some(packets))
}

/// Parses `pts_time=0.1|duration_time=0.1|size=34|flags=K_`; `None` for another line.
fn packet(line: &str) -> Option<Packet> {
    let value = |key: &str| {
        let mut fields = line.trim_end().split('|');
        fields.find_map(|field| field.split_once('=').filter(|(name, _)| *name == key))
    };
    let number =
        |key| -> Option<f64> { value(key)?.1.parse().ok().filter(|n: &f64| n.is_finite()) };
    let (_, flags) = value("flags")?;
    Some(Packet {
        time: number("pts_time"),
        seconds: number("duration_time"),
        hidden: flags.contains('D') || value("size").is_some_and(|(_, size)| size == "0"),
    })
}

/// The packets that are shown, so far.
#[derive(Default)]
pub struct Shown {
    frames: usize,
    timed: usize,
    /// From the start of the first to the end of the last, in seconds.
    span: Option<(f64, f64)>,
}

impl Shown {
    /// Adds the next one.
    pub fn add(&mut self, packet: &Packet) {
        if packet.hidden {
            return;
        }
        self.frames += 1;
        if let Some(time) = packet.time {
            self.timed += 1;
            let end = time + packet.seconds.unwrap_or(0.0);
            let (first, last) = self.span.unwrap_or((time, end));
            self.span = Some((first.min(time), last.max(end)));
        }
    }

    /// When they are shown, as far as they and the track say.
    ///
    /// # Errors
    /// When there are none, when nothing tells their rate, or when the track promised far more.
    pub fn timeline(&self, track: &Track) -> Result<Timeline, String> {
        if self.frames == 0 {
            return Err("has no frames".into());
        }
        let seconds = self.span.map(|(first, end)| end - first);
        let measured = seconds.filter(|&seconds| self.timed == self.frames && seconds > 0.0);
        let measured = measured.map(|seconds| self.frames as f64 / seconds);
        let fps = match (track.rate, measured) {
            (Some(rate), Some(fps)) if (rate / fps - 1.0).abs() > SAME_RATE => fps,
            (Some(rate), _) => rate,
            (None, Some(fps)) => fps,
            (None, None) => return Err("does not state its frames per second".into()),
        };
        if let (Some(promised), Some(seconds)) = (track.promised, seconds)
            && promised - seconds > LOST_FRAMES / fps + LOST_PART * promised
        {
            return Err(format!(
                "is cut short: its header promises {promised:.2} seconds, {seconds:.2} are there"
            ));
        }
        Ok(Timeline {
            frames: self.frames,
            fps,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Track = Track {
        index: 0,
        size: [64, 48],
        rate: None,
        promised: None,
        hdr: None,
    };

    #[test]
    fn answers_of_ffprobe_are_understood() {
        let ask = |json: &str| super::track(json.as_bytes());
        let cover = r#"{"index": 0, "disposition": {"attached_pic": 1}}"#;
        let film = r#"{"index": 2, "width": 64, "height": 48, "avg_frame_rate": "0/0", "r_frame_rate": "30000/1001",
                       "nb_frames": "90", "duration": "3.003", "color_transfer": "smpte2084"}"#;
        let expected = Track {
            index: 2,
            rate: Some(30_000.0 / 1001.0),
            promised: Some(3.003),
            hdr: Some("smpte2084".into()),
            ..PLAIN
        };
        let streams = format!(r#"{{"streams": [{cover}, {film}]}}"#);
        assert_eq!(ask(&streams).unwrap(), expected);
        let endless = streams.replace("\"90\"", "\"4294967295\"");
        assert_eq!(ask(&endless).unwrap().promised, None);
        for none in [
            r#"{"streams": []}"#.into(),
            format!(r#"{{"streams": [{cover}]}}"#),
        ] {
            assert_eq!(ask(&none).unwrap_err(), NO_VIDEO);
        }
        for broken in [
            "",
            "[]",
            r#"{"streams": [{}]}"#,
            r#"{"streams": [{"index": -1}]}"#,
        ] {
            assert!(ask(broken).is_err());
        }
        let counted = br#"{"streams": [{"index": 0, "nb_read_frames": "15"}]}"#;
        assert_eq!(count(counted), Ok(15));
        assert_eq!(count(br#"{"streams": []}"#), Ok(0));
        assert!(count(b"[").is_err());
    }

    fn timeline(lines: &str, track: &Track) -> Result<Timeline, String> {
        let mut shown = Shown::default();
        let mut output = lines.as_bytes();
        while let Some(packets) = read_packets(&mut output).unwrap() {
            packets.iter().for_each(|packet| shown.add(packet));
        }
        shown.timeline(track)
    }

    #[test]
    fn hidden_and_empty_packets_are_not_shown() {
        let lines = "pts_time=-0.2|duration_time=0.1|size=9|flags=KD\n\
                     pts_time=-0.1|duration_time=0.1|size=9|flags=_D_\n\
                     pts_time=0.1|duration_time=0.1|size=9|flags=___\n\
                     pts_time=0.0|duration_time=0.1|size=9|flags=K__\n\
                     pts_time=0.2|duration_time=0.1|size=0|flags=___\n\
                     noise\n";
        let found = timeline(lines, &PLAIN).unwrap();
        assert_eq!(found.frames, 2);
        assert!((found.fps - 10.0).abs() < 1e-9);
        assert_eq!(timeline("", &PLAIN).unwrap_err(), "has no frames");
    }

    #[test]
    fn a_rate_that_the_times_contradict_is_not_believed() {
        let lines = "pts_time=0|duration_time=0.0333|flags=K\npts_time=0.0333|duration_time=0.0334|flags=_\n";
        let rate = |rate| Track {
            rate: Some(rate),
            ..PLAIN
        };
        assert_eq!(timeline(lines, &rate(29.97)).unwrap().fps, 29.97);
        let fps = timeline(lines, &rate(1000.0)).unwrap().fps;
        assert!((fps - 29.985).abs() < 0.01, "{fps}");
        let untimed = "pts_time=N/A|flags=K\n".repeat(3);
        assert_eq!(timeline(&untimed, &rate(25.0)).unwrap().fps, 25.0);
        assert!(
            timeline(&untimed, &PLAIN)
                .unwrap_err()
                .contains("per second")
        );
    }

    #[test]
    fn a_header_that_promises_more_than_is_there_is_found_out() {
        let lines =
            "pts_time=0|duration_time=0.1|flags=K\npts_time=0.1|duration_time=0.1|flags=_\n";
        let promised = |seconds| Track {
            promised: Some(seconds),
            ..PLAIN
        };
        assert!(timeline(lines, &promised(0.3)).is_ok());
        let cut = timeline(lines, &promised(2.0)).unwrap_err();
        assert_eq!(
            cut,
            "is cut short: its header promises 2.00 seconds, 0.20 are there"
        );
    }
}
