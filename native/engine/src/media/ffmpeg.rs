//! The programs ffmpeg and ffprobe: what they may open, how long they may run, and what they print.
//!
//! The container is the one that the file's first bytes show. Text that names other files (HLS, DASH,
//! concat) is never such a container, and the only protocols are `file` and `pipe`, so that a file can't
//! make ffmpeg open another one or a network address. Nothing is written to disk.

pub mod answer;
mod child;
pub mod ppm;
mod probe;
mod process;

use std::ffi::OsString;
use std::io::{self, BufRead, Read};
use std::path::Path;
use std::time::Duration;

use self::process::{Call, run};
use super::limits;
use super::sniff::Format;

pub(super) use answer::{NO_VIDEO, Timeline, Track};
pub(super) use probe::{count_frames, timeline, track};
pub(super) use process::Failure;

/// A file for ffmpeg, whose format was recognized.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub path: &'a Path,
    pub format: Format,
    /// The most pixels of a frame.
    pub pixels: u64,
    /// What to give when there is no ffmpeg, as the end of a message.
    pub instead: &'static str,
    /// Asked often; `true` stops the program.
    pub cancelled: &'a dyn Fn() -> bool,
}

impl<'a> Source<'a> {
    /// ffmpeg's name of the container; `None` for a format that ffmpeg is not asked to read.
    pub fn demuxer(&self) -> Option<&'static str> {
        self.format.demuxer()
    }

    /// A call of `program` on the file: `before` its name, and `after` it.
    fn call(
        &self,
        program: &str,
        before: &[&str],
        after: &[&str],
        time: Duration,
    ) -> Result<Call<'a>, Failure> {
        let demuxer = self
            .demuxer()
            .ok_or("is in no format that ffmpeg is given")?;
        let pixels = self.pixels.to_string();
        let safe = [
            "-v",
            "error",
            "-f",
            demuxer,
            "-format_whitelist",
            demuxer,
            "-protocol_whitelist",
            "file,pipe",
            "-max_pixels",
            &pixels,
        ];
        let mut arguments: Vec<OsString> = safe.iter().chain(before).map(OsString::from).collect();
        arguments.push("-i".into());
        // A URL, so that no name is taken for an option or another protocol; names need not be UTF-8.
        let mut address = OsString::from("file:");
        address.push(self.path);
        arguments.push(address);
        arguments.extend(after.iter().map(OsString::from));
        Ok(Call {
            program: program.into(),
            arguments,
            time,
            instead: self.instead,
            cancelled: self.cancelled,
        })
    }

    /// Runs ffmpeg through the whole file: reads items of its output with `read`, hands them to `keep`.
    ///
    /// # Errors
    /// Those of [`run`].
    pub fn convert<T: Send + 'static>(
        &self,
        output: &[&str],
        read: impl FnMut(&mut dyn BufRead) -> io::Result<Option<T>> + Send + 'static,
        keep: &mut impl FnMut(T) -> bool,
    ) -> Result<(), Failure> {
        let bytes = self.path.metadata().map_or(0, |metadata| metadata.len());
        let call = self.call("ffmpeg", &["-nostdin"], output, limits::read_time(bytes))?;
        run(&call, read, keep)
    }

    /// What ffmpeg converts the file to, at most `most` bytes; `None` for more.
    ///
    /// # Errors
    /// As [`convert`](Self::convert).
    pub fn bytes(&self, output: &[&str], most: usize) -> Result<Option<Vec<u8>>, Failure> {
        let mut whole: Vec<u8> = vec![];
        let mut keep = |piece: Vec<u8>| {
            whole.extend(piece);
            whole.len() <= most
        };
        self.convert(output, read_piece, &mut keep)?;
        Ok((whole.len() <= most).then_some(whole))
    }
}

/// Whether the ffmpeg here has all of these filters.
pub(super) fn has_filters(names: &[&str], cancelled: &dyn Fn() -> bool) -> bool {
    let call = Call {
        program: "ffmpeg".into(),
        arguments: ["-v", "quiet", "-filters"].map(OsString::from).into(),
        time: limits::PROBE_TIME,
        instead: "",
        cancelled,
    };
    let mut text = vec![];
    let mut keep = |piece: Vec<u8>| {
        text.extend(piece);
        text.len() < 1 << 20
    };
    if run(&call, read_piece, &mut keep).is_err() {
        return false;
    }
    let text = String::from_utf8_lossy(&text).into_owned();
    let known = |name: &&str| {
        let mut lines = text.lines();
        lines.any(|line| line.split_whitespace().nth(1) == Some(name))
    };
    names.iter().all(known)
}

/// The next bytes, up to 64 KiB; `None` at the end.
fn read_piece(output: &mut dyn BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut piece = vec![];
    output.take(1 << 16).read_to_end(&mut piece)?;
    Ok((!piece.is_empty()).then_some(piece))
}
