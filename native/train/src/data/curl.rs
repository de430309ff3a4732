//! Files at URLs, read by ranges through the `curl` program, as ffmpeg is used for rare media: so x2i needs
//! no TLS of its own, and a user's proxies and certificates hold.
//!
//! Only URLs that a user named are asked for. curl is given no shell, no config file and no other
//! protocol than HTTP and HTTPS, also after a redirect.

use std::collections::VecDeque;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use x2i_core::{Error, Result};

/// How often a range is asked for.
const TRIES: u32 = 3;
/// Seconds without a byte after which a try ends.
const PATIENCE: &str = "30";

/// Bytes of a range that is asked for when a file is gone through.
pub(super) const STRIDE: u64 = 1 << 20;
/// Ranges that are kept: a sample's text stands before or behind its picture.
const KEPT: usize = 8;

/// A file at a URL.
pub(super) struct Remote {
    url: String,
    len: u64,
    /// The last large ranges, by their first byte.
    kept: Mutex<VecDeque<(u64, Vec<u8>)>>,
}

/// A range that came.
struct Answer {
    bytes: Vec<u8>,
    /// The whole file's length, from `Content-Range`.
    whole: u64,
}

impl Remote {
    /// Asks for a file's first byte, which tells its length.
    ///
    /// # Errors
    /// [`Error::Format`] with curl's reason, or where the server gives no ranges.
    pub(super) fn open(url: &str) -> Result<Self> {
        let answer = ask(url, 0, 1)?;
        Ok(Self {
            url: url.to_owned(),
            len: answer.whole,
            kept: Mutex::default(),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.url
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The bytes of a range.
    ///
    /// # Errors
    /// As [`open`](Self::open), and when the file has another length by now.
    pub(super) fn read(&self, at: u64, size: u64) -> Result<Vec<u8>> {
        if size == 0 {
            return Ok(vec![]);
        }
        if let Some(bytes) = self.kept(at, size) {
            return Ok(bytes);
        }
        let answer = ask(&self.url, at, size)?;
        if answer.whole != self.len {
            let reason = format!(
                "has {} bytes, it had {} when training began; keep it as it is",
                answer.whole, self.len
            );
            return Err(Error::format(&self.url, reason));
        }
        if size == STRIDE || (size < STRIDE && at + size == self.len) {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.truncate(KEPT - 1);
            kept.push_front((at, answer.bytes.clone()));
        }
        Ok(answer.bytes)
    }

    /// A range that came as a part of another one.
    fn kept(&self, at: u64, size: u64) -> Option<Vec<u8>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find_map(|(start, bytes)| {
            let from = usize::try_from(at.checked_sub(*start)?).ok()?;
            let bytes = bytes.get(from..from.checked_add(size as usize)?)?;
            Some(bytes.to_vec())
        })
    }
}

/// Asks for a range, several times where it does not come.
fn ask(url: &str, at: u64, size: u64) -> Result<Answer> {
    let mut failure = String::new();
    for _ in 0..TRIES {
        match ask_once(url, at, size) {
            Ok(answer) => return Ok(answer),
            Err(Failure::Final(reason)) => return Err(Error::format(url, reason)),
            Err(Failure::Passing(reason)) => failure = reason,
        }
    }
    Err(Error::format(url, failure))
}

/// Why a range did not come.
enum Failure {
    /// Another try may help.
    Passing(String),
    Final(String),
}

/// Starts curl for a range.
fn start(url: &str, at: u64, last: u64) -> std::io::Result<Child> {
    Command::new("curl")
        .args(["-q", "--silent", "--show-error", "--fail", "--globoff"])
        .args(["--proto", "=http,https", "--proto-redir", "=http,https"])
        .args(["--location", "--max-redirs", "5"])
        .args(["--connect-timeout", PATIENCE])
        .args(["--speed-limit", "1", "--speed-time", PATIENCE])
        .args(["--range", &format!("{at}-{last}")])
        .args([
            "--write-out",
            "%{stderr}\n%{http_code} %header{content-range}",
        ])
        .args(["--", url])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

fn ask_once(url: &str, at: u64, size: u64) -> Result<Answer, Failure> {
    let no_ranges = || {
        let reason = "its server gives no ranges of files; save the file, and name it";
        Failure::Final(reason.into())
    };
    let unread = |reason: String| Failure::Passing(format!("can't be read: {reason}"));
    let mut child = start(url, at, at + size - 1).map_err(|error| {
        let reason =
            format!("can't be read: curl does not run ({error}); install it, or save the file");
        Failure::Final(reason)
    })?;
    let mut bytes = vec![];
    if let Some(output) = child.stdout.take() {
        // A server that gives the whole file is not waited for.
        let read = output.take(size + 1).read_to_end(&mut bytes);
        read.map_err(|error| unread(error.to_string()))?;
    }
    if bytes.len() as u64 > size {
        let _ = child.kill();
        let _ = child.wait();
        return Err(no_ranges());
    }
    let done = child.wait_with_output();
    let done = done.map_err(|error| unread(error.to_string()))?;
    let said = String::from_utf8_lossy(&done.stderr);
    let (reason, status) = said.trim_end().rsplit_once('\n').unwrap_or(("", &said));
    if !done.status.success() {
        return Err(unread(reason.trim().escape_debug().take(200).collect()));
    }
    let whole = status.rsplit_once('/');
    let whole = whole.and_then(|(_, whole)| whole.trim().parse().ok());
    match whole {
        Some(whole) if bytes.len() as u64 == size => Ok(Answer { bytes, whole }),
        Some(_) => Err(unread("fewer bytes came than were asked for".into())),
        None => Err(no_ranges()),
    }
}
