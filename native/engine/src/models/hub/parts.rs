//! A file that is being downloaded: its bytes, and beside it which of them are there.
//!
//! The bytes lie in `blobs/ETAG.x2i.incomplete`, and `blobs/ETAG.x2i.json` says of each part how much of it
//! was written. A run that is killed loses what it wrote since the last second.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use x2i_core::Result;

use super::repository::Remote;
use crate::files::temporary;
use crate::files::write_error;

/// The shortest and the longest part, in bytes.
const PART: (u64, u64) = (1 << 20, 64 << 20);
/// Parts for each connection, so that all end at about the same time.
const PARTS_EACH: u64 = 4;
/// How often the state is written.
const PAUSE: Duration = Duration::from_secs(1);

/// Which bytes are there.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    etag: String,
    size: u64,
    /// Bytes of each part; the last one has the rest.
    part: u64,
    /// Bytes of each part that were written.
    done: Vec<u64>,
    /// The etag of the server that gives the bytes, which may be another one than the Hub.
    server: Option<String>,
}

/// A file that is being downloaded. Threads may write its parts at the same time.
pub(super) struct Parts {
    file: File,
    path: PathBuf,
    state_path: PathBuf,
    state: Mutex<State>,
    saved: Mutex<Instant>,
    next: AtomicUsize,
}

impl Parts {
    /// Goes on with a download, or begins one in parts for so many connections; 0 is one part, which is
    /// written from its beginning to its end.
    ///
    /// # Errors
    /// [`Error::Io`] when nothing can be written.
    pub(super) fn open(blobs: &Path, remote: &Remote, connections: usize) -> Result<Self> {
        let (path, state_path) = places(blobs, &remote.etag);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options
            .open(&path)
            .map_err(|error| write_error(&path, error))?;
        let length = file
            .metadata()
            .map_err(|error| write_error(&path, error))?
            .len();
        let earlier = State::read(&state_path, remote, length);
        let earlier = earlier.filter(|state| connections > 0 || state.done.len() == 1);
        let state = earlier.unwrap_or_else(|| State::new(remote, connections));
        Ok(Self {
            file,
            path,
            state_path,
            state: Mutex::new(state),
            saved: Mutex::new(Instant::now()),
            next: AtomicUsize::new(0),
        })
    }

    /// Where its bytes are.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that are there.
    pub(super) fn done(&self) -> u64 {
        self.state().done.iter().sum()
    }

    /// A part that no other thread has taken.
    pub(super) fn take(&self) -> Option<usize> {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        (index < self.state().done.len()).then_some(index)
    }

    /// The bytes of a part that are not there yet.
    pub(super) fn left(&self, index: usize) -> Range<u64> {
        let state = self.state();
        let whole = state.range(index);
        whole.start + state.done[index]..whole.end
    }

    /// Whether the whole file is one part, of which nothing is there.
    pub(super) fn is_untouched(&self) -> bool {
        self.state().done == [0]
    }

    /// The etag of the server that gave the first bytes.
    pub(super) fn server(&self) -> Option<String> {
        self.state().server.clone()
    }

    /// Remembers the etag of the server; `false` when it was another one before.
    pub(super) fn is_of(&self, etag: Option<&str>) -> bool {
        let mut state = self.state();
        match (&state.server, etag) {
            (Some(before), Some(now)) => before == now,
            (None, Some(now)) => {
                state.server = Some(now.to_owned());
                true
            }
            (_, None) => true,
        }
    }

    /// Writes the next bytes of a part.
    ///
    /// # Errors
    /// [`Error::Io`], in one sentence, when the disk is full.
    pub(super) fn write(&self, index: usize, bytes: &[u8]) -> Result<()> {
        let at = self.left(index).start;
        write_at(&self.file, bytes, at).map_err(|error| write_error(&self.path, error))?;
        self.state().done[index] += bytes.len() as u64;
        if let Ok(mut saved) = self.saved.try_lock()
            && saved.elapsed() >= PAUSE
        {
            *saved = Instant::now();
            self.save()?;
        }
        Ok(())
    }

    /// Writes the state, whole or not at all.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn save(&self) -> Result<()> {
        let json = serde_json::to_vec(&*self.state()).unwrap_or_default();
        let folder = self.state_path.parent().unwrap_or(Path::new("."));
        let written = temporary(folder, None).and_then(|mut file| {
            io::Write::write_all(&mut file, &json)?;
            file.persist(&self.state_path).map_err(|error| error.error)
        });
        match written {
            Ok(_) => Ok(()),
            Err(error) => Err(write_error(&self.state_path, error)),
        }
    }

    /// Begins anew; returns the bytes that are lost.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn reset(&self) -> Result<u64> {
        let lost = self.done();
        let mut state = self.state();
        state.done.fill(0);
        state.server = None;
        self.next.store(0, Ordering::Relaxed);
        self.file
            .set_len(0)
            .map_err(|error| write_error(&self.path, error))?;
        Ok(lost)
    }

    /// Removes the bytes and the state; returns the bytes that are lost.
    pub(super) fn discard(self) -> u64 {
        let lost = self.done();
        let _ = fs::remove_file(&self.state_path);
        let _ = fs::remove_file(&self.path);
        lost
    }

    /// Makes it the blob.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn finish(self, blob: &Path) -> Result<()> {
        let placed = self
            .file
            .set_len(self.state().size)
            .and_then(|()| self.file.sync_data())
            .and_then(|()| fs::rename(&self.path, blob));
        // Where locks do nothing, another process may have been faster, with the same bytes.
        match placed {
            Err(error) if !blob.is_file() => Err(write_error(blob, error)),
            _ => {
                let _ = fs::remove_file(&self.state_path);
                Ok(())
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes that an earlier run has left.
pub(super) fn left_by_earlier(blobs: &Path, remote: &Remote) -> u64 {
    let (path, state) = places(blobs, &remote.etag);
    let length = path.metadata().map_or(0, |found| found.len());
    State::read(&state, remote, length).map_or(0, |state| state.done.iter().sum())
}

fn places(blobs: &Path, etag: &str) -> (PathBuf, PathBuf) {
    let place = |ending: &str| blobs.join(format!("{etag}.x2i.{ending}"));
    (place("incomplete"), place("json"))
}

impl State {
    fn new(remote: &Remote, connections: usize) -> Self {
        let wanted = remote.size / (PARTS_EACH * connections as u64).max(1);
        let part = match connections {
            0 => remote.size.max(1),
            _ => wanted.next_multiple_of(PART.0).clamp(PART.0, PART.1),
        };
        let count = usize::try_from(remote.size.div_ceil(part)).unwrap_or(usize::MAX);
        Self {
            etag: remote.etag.clone(),
            size: remote.size,
            part,
            done: vec![0; count],
            server: None,
        }
    }

    /// The state of an earlier run, if it is of this file and its bytes are there.
    fn read(path: &Path, remote: &Remote, length: u64) -> Option<Self> {
        let state: Self = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        let same = state.etag == remote.etag && state.size == remote.size && state.part > 0;
        let count = same.then(|| state.size.div_ceil(state.part))?;
        let fits = |index: usize| {
            let (range, done) = (state.range(index), state.done[index]);
            done == 0 || (done <= range.end - range.start && range.start + done <= length)
        };
        let whole = count == state.done.len() as u64 && (0..state.done.len()).all(fits);
        whole.then_some(state)
    }

    fn range(&self, index: usize) -> Range<u64> {
        let start = self.part * index as u64;
        start..(start + self.part).min(self.size)
    }
}

#[cfg(unix)]
fn write_at(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, at)
}

#[cfg(windows)]
fn write_at(file: &File, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = std::os::windows::fs::FileExt::seek_write(file, bytes, at)?;
        bytes = &bytes[written..];
        at += written as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(size: u64) -> Remote {
        Remote {
            path: "a.gguf".into(),
            size,
            etag: "e".into(),
            hash: None,
            url: String::new(),
        }
    }

    #[test]
    fn parts_are_taken_once_and_cover_the_file() {
        let folder = tempfile::tempdir().unwrap();
        for size in [1, 1 << 20, (5 << 20) + 7, 300 << 20] {
            let parts = Parts::open(folder.path(), &remote(size), 4).unwrap();
            let mut end = 0;
            while let Some(index) = parts.take() {
                let left = parts.left(index);
                assert_eq!(left.start, end);
                end = left.end;
            }
            assert_eq!(end, size);
            parts.discard();
        }
    }

    #[test]
    fn a_download_goes_on_where_its_state_says_and_its_bytes_are() {
        let folder = tempfile::tempdir().unwrap();
        let of = remote(3 << 20);
        let parts = Parts::open(folder.path(), &of, 1).unwrap();
        parts.write(1, &[7; 100]).unwrap();
        assert!(parts.is_of(Some("s")) && !parts.is_of(Some("t")));
        parts.save().unwrap();
        assert_eq!(left_by_earlier(folder.path(), &of), 100);
        let again = Parts::open(folder.path(), &of, 8).unwrap();
        assert_eq!(again.left(1), (1 << 20) + 100..2 << 20);
        assert_eq!(again.server().as_deref(), Some("s"));
        // Another length, another etag, cut bytes, a state that is none: from the beginning.
        assert_eq!(left_by_earlier(folder.path(), &remote(5)), 0);
        again.file.set_len(10).unwrap();
        assert_eq!(left_by_earlier(folder.path(), &of), 0);
        for state in ["{", r#"{"etag":"e","size":3145728,"part":0,"done":[]}"#] {
            fs::write(&again.state_path, state).unwrap();
            assert_eq!(left_by_earlier(folder.path(), &of), 0, "{state}");
        }
    }
}
