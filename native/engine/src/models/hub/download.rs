//! One file: in several connections, gone on with after a stop, and compared with its hash.
//!
//! The Hub keeps no hashes of ranges, so that a file with a wrong hash is downloaded again as a whole.

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use x2i_core::{Error, Result};

use super::answers::header;
use super::client::{Answer, Client, Question};
use super::meter::{Meter, Pulling};
use super::parts::Parts;
use super::patience::{Failure, Patience};
use super::reference::Reference;
use super::repository::{Listed, Remote, page, remote};
use super::verify::Hash;
use crate::files::LockFile;
use crate::files::write_error;

/// How often a file may turn out to be another one.
const CHANGES: u32 = 4;
/// Bytes of one read.
const CHUNK: usize = 64 << 10;
/// The pause before the lock of another process is asked for again.
const PAUSE: Duration = Duration::from_millis(200);

/// Downloads files of one commit.
pub(super) struct Download<'a> {
    pub(super) client: &'a Client,
    pub(super) reference: &'a Reference,
    pub(super) commit: &'a str,
    /// The folder of the blobs.
    pub(super) blobs: &'a Path,
    pub(super) meter: &'a Meter<'a>,
}

/// How the server gives a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// In ranges, over so many connections.
    Ranges(usize),
    /// From its beginning to its end.
    Stream,
}

/// How an attempt ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Complete,
    /// The server gave something else than the range that was asked for: the file is another one now, or
    /// the server gives no ranges.
    Unlike,
}

impl Download<'_> {
    /// Downloads a file to its blob, over so many connections. Returns it as it came: it may have changed
    /// since it was looked at.
    ///
    /// # Errors
    /// [`Error::Io`] with the Hub's or the disk's reason, [`Error::Format`] for a wrong hash,
    /// [`Error::Cancelled`]. What was downloaded is kept, but for a wrong hash.
    pub(super) fn run(&self, file: &Remote, connections: usize) -> Result<Remote> {
        let mut file = file.clone();
        let (mut way, mut is_second) = (Way::Ranges(connections), false);
        for _ in 0..CHANGES {
            let blob = self.blobs.join(&file.etag);
            let _lock = self.lock(&file, &blob)?;
            if is_blob(&blob, file.size) {
                self.meter.add(file.size, Pulling::Download)?;
                return Ok(file);
            }
            let connections = match way {
                Way::Ranges(connections) => connections,
                Way::Stream => 0,
            };
            let parts = Parts::open(self.blobs, &file, connections)?;
            self.meter.add(parts.done(), Pulling::Download)?;
            let end = self.fill(&file, &parts, way);
            if end.is_err() {
                parts.save()?;
            }
            match end? {
                End::Complete => match self.wrong_hash(&file, parts.path())? {
                    None => {
                        parts.finish(&blob)?;
                        return Ok(file);
                    }
                    Some(reason) if is_second => {
                        parts.discard();
                        return Err(Error::format(self.what(&file), reason));
                    }
                    Some(_) => is_second = true,
                },
                End::Unlike => {
                    let now = self.look_again(&file)?;
                    if now == file {
                        way = Way::Stream;
                    }
                    self.meter.change(file.size, now.size);
                    self.meter.take(parts.discard());
                    file = now;
                    continue;
                }
            }
            self.meter.take(parts.discard());
        }
        let reason = "changes on the server again and again while it is downloaded; try it later";
        Err(Error::format(self.what(&file), reason))
    }

    fn what(&self, file: &Remote) -> String {
        format!("{}: {}", self.reference, file.path)
    }

    /// Waits until no other process downloads the same file.
    fn lock(&self, file: &Remote, blob: &Path) -> Result<LockFile> {
        let path = self.blobs.join(format!(".x2i-{}.lock", file.etag));
        loop {
            match LockFile::try_take(&path) {
                Ok(Some(lock)) => return Ok(lock),
                Ok(None) => self.meter.wait(PAUSE)?,
                Err(error) => return Err(write_error(blob, error)),
            }
        }
    }

    fn look_again(&self, file: &Remote) -> Result<Remote> {
        let listed = Listed {
            path: file.path.clone(),
            size: None,
            hash: None,
        };
        let now = remote(
            self.client,
            (self.reference, self.commit),
            &listed,
            self.meter,
        )?;
        // The hash may be one that only the list of the repository has.
        Ok(match now.etag == file.etag && now.size == file.size {
            true => file.clone(),
            false => now,
        })
    }

    /// What is wrong with a complete file; `None` where nothing is, or no hash is known.
    fn wrong_hash(&self, file: &Remote, path: &Path) -> Result<Option<String>> {
        let Some(hash) = &file.hash else {
            return Ok(None);
        };
        let found = hash.of_file(path, self.meter)?;
        Ok((found != hash.digits()).then(|| wrong(hash, &found)))
    }

    fn fill(&self, file: &Remote, parts: &Parts, way: Way) -> Result<End> {
        let filling = Filling {
            download: self,
            file,
            parts,
            page: page(self.client, self.reference),
            direct: Mutex::new(None),
            halt: AtomicBool::new(false),
        };
        match way {
            Way::Ranges(connections) => filling.in_ranges(connections),
            Way::Stream => filling.in_order(),
        }
    }
}

fn wrong(hash: &Hash, found: &str) -> String {
    format!(
        "came twice with the {} {found}, and the Hub records {}; it is removed. A proxy or a mirror may have \
         changed it",
        hash.kind(),
        hash.digits()
    )
}

/// Whether a blob is there in its length. Its name is its hash, and it got there whole.
pub(super) fn is_blob(path: &Path, size: u64) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() == size)
}

/// The parts of one file, on their way.
struct Filling<'a> {
    download: &'a Download<'a>,
    file: &'a Remote,
    parts: &'a Parts,
    page: String,
    /// Where the Hub has redirected to; asked without the Hub until it answers no more.
    direct: Mutex<Option<String>>,
    /// The other threads end.
    halt: AtomicBool,
}

impl Filling<'_> {
    fn in_ranges(&self, connections: usize) -> Result<End> {
        thread::scope(|scope| {
            let worker = || {
                scope.spawn(|| {
                    let end = self.take_parts();
                    if !matches!(end, Ok(End::Complete)) {
                        self.halt.store(true, Ordering::Relaxed);
                    }
                    end
                })
            };
            let workers: Vec<_> = (0..connections).map(|_| worker()).collect();
            let mut whole = Ok(End::Complete);
            for worker in workers {
                let end = worker
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                match (&whole, &end) {
                    (Ok(End::Complete), _) | (Ok(_), Err(_)) => whole = end,
                    _ => {}
                }
            }
            whole
        })
    }

    fn take_parts(&self) -> Result<End> {
        while !self.halts()
            && let Some(index) = self.parts.take()
        {
            if self.part(index)? == End::Unlike {
                return Ok(End::Unlike);
            }
        }
        Ok(End::Complete)
    }

    fn halts(&self) -> bool {
        self.halt.load(Ordering::Relaxed)
    }

    /// Downloads what is missing of a part.
    fn part(&self, index: usize) -> Result<End> {
        let mut patience = Patience::default();
        loop {
            let left = self.parts.left(index);
            if left.is_empty() || self.halts() {
                return Ok(End::Complete);
            }
            let range = format!("bytes={}-{}", left.start, left.end - 1);
            let before = left.start;
            let failure = match self.ask(Some(range), self.parts.server()) {
                Ok(answer) if !self.is_range(&answer, index, left.start) => return Ok(End::Unlike),
                Ok(answer) => match self.copy(answer, index)? {
                    None => continue,
                    Some(failure) => failure,
                },
                Err(failure) => failure,
            };
            if self.parts.left(index).start > before {
                patience.renew();
            }
            patience.wait(&self.what(), failure, self.download.meter)?;
        }
    }

    /// Downloads the whole file, one byte after the other, from a server that may know no ranges.
    fn in_order(&self) -> Result<End> {
        let mut patience = Patience::default();
        while !self.parts.left(0).is_empty() {
            let start = self.parts.left(0).start;
            let range = (start > 0).then(|| format!("bytes={start}-"));
            let etag = self.parts.server().filter(|_| start > 0);
            let failure = match self.ask(range, etag) {
                Ok(answer) => {
                    if start > 0 && !self.is_range(&answer, 0, start) {
                        self.download.meter.take(self.parts.reset()?);
                        if answer.status != 200 {
                            return Ok(End::Unlike);
                        }
                    }
                    let told = header(&answer.headers, "content-length");
                    let told = told.and_then(|told| told.parse::<u64>().ok());
                    let left = self.parts.left(0);
                    if told.is_some_and(|told| told != left.end - left.start) {
                        return Ok(End::Unlike);
                    }
                    self.parts.is_of(header(&answer.headers, "etag"));
                    match self.copy(answer, 0)? {
                        None => continue,
                        Some(failure) => failure,
                    }
                }
                Err(failure) => failure,
            };
            if self.parts.left(0).start > start {
                patience.renew();
            }
            patience.wait(&self.what(), failure, self.download.meter)?;
        }
        Ok(End::Complete)
    }

    fn what(&self) -> String {
        self.download.what(self.file)
    }

    fn direct(&self) -> MutexGuard<'_, Option<String>> {
        self.direct.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the host that the Hub has redirected to, or the Hub itself.
    fn ask(&self, range: Option<String>, if_range: Option<String>) -> Result<Answer, Failure> {
        let direct = self.direct().clone();
        let question = Question {
            url: direct.as_deref().unwrap_or(&self.file.url),
            page: &self.page,
            range,
            if_range,
        };
        let answer = self.download.client.get(&question);
        let mut now = self.direct();
        match answer {
            Ok(answer) => {
                *now = Some(answer.url.clone()).filter(|url| *url != self.file.url);
                Ok(answer)
            }
            // A signed address is good for a while only: the Hub gives another one.
            Err(failure) => {
                *now = None;
                Err(failure)
            }
        }
    }

    /// Whether an answer is the range that was asked for, of the same file as before.
    fn is_range(&self, answer: &Answer, index: usize, start: u64) -> bool {
        let size = self.file.size;
        match answer.status {
            206 => {
                let range = header(&answer.headers, "content-range");
                let range = range.and_then(|range| range.trim().strip_prefix("bytes "));
                let (range, total) = range
                    .and_then(|range| range.split_once('/'))
                    .unwrap_or_default();
                let first = range
                    .split_once('-')
                    .and_then(|(first, _)| first.parse().ok());
                first == Some(start)
                    && (total == "*" || total.parse() == Ok(size))
                    && self.parts.is_of(header(&answer.headers, "etag"))
            }
            // All of a file that is one part, from a server without ranges.
            200 if index == 0 && self.parts.is_untouched() => {
                let length = header(&answer.headers, "content-length");
                length.is_none_or(|length| length.parse() == Ok(size))
            }
            _ => false,
        }
    }

    /// Writes an answer's bytes; `Some` with the reason when they end too early.
    fn copy(&self, answer: Answer, index: usize) -> Result<Option<Failure>> {
        let mut reader = answer.body.into_reader();
        let mut buffer = vec![0; CHUNK];
        loop {
            let left = self.parts.left(index);
            let most = usize::try_from(left.end - left.start)
                .unwrap_or(CHUNK)
                .min(CHUNK);
            if most == 0 || self.halts() {
                return Ok(None);
            }
            let read = match reader.read(&mut buffer[..most]) {
                Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
                read => read,
            };
            match read {
                Ok(read) => {
                    self.parts.write(index, &buffer[..read])?;
                    self.download.meter.add(read as u64, Pulling::Download)?;
                }
                Err(error) => {
                    let reason = format!("the connection was cut: {error}");
                    let error = io::Error::new(io::ErrorKind::ConnectionAborted, reason);
                    return Ok(Some(Failure::passing(error)));
                }
            }
        }
    }
}
