//! Files that clients send, kept by the hash of their bytes in a folder of the server's own.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tempfile::{NamedTempFile, TempDir};

use crate::folders;
use crate::job::{Code, Failure, InputId};

/// The most inputs that are kept.
const FILES: usize = 10_000;

/// Inputs of jobs on disk.
pub struct Inputs {
    folder: TempDir,
    limits: InputLimits,
    held: Mutex<Held>,
}

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub struct InputLimits {
    /// The most bytes of all inputs.
    pub bytes: u64,
    /// How long an input is kept that no job has.
    pub keep: Duration,
}

/// The inputs, and how much they are.
#[derive(Default)]
struct Held {
    kept: HashMap<InputId, Kept>,
    bytes: u64,
}

struct Kept {
    bytes: u64,
    /// Jobs that are not over and need it.
    jobs: usize,
    used: Instant,
}

/// An input that is being received.
pub struct Receiving {
    file: NamedTempFile,
    hash: Sha256,
    bytes: u64,
}

impl Inputs {
    /// Inputs in a new folder among the system's temporary ones; it is removed with them.
    ///
    /// # Errors
    /// When the folder can't be made.
    pub fn new(limits: InputLimits) -> std::io::Result<Self> {
        let folder = folders::private("inputs")?;
        Ok(Self {
            folder,
            limits,
            held: Mutex::default(),
        })
    }

    /// Begins to receive an input.
    ///
    /// # Errors
    /// When there is no room on the disk.
    pub fn receive(&self) -> Result<Receiving, Failure> {
        let file = NamedTempFile::new_in(self.folder.path()).map_err(|error| no_room(&error))?;
        Ok(Receiving {
            file,
            hash: Sha256::new(),
            bytes: 0,
        })
    }

    /// Keeps bytes.
    ///
    /// # Errors
    /// When there is no room.
    pub fn keep(&self, bytes: &[u8]) -> Result<InputId, Failure> {
        let mut receiving = self.receive()?;
        receiving.write(bytes)?;
        self.finish(receiving)
    }

    /// Keeps a received input under its hash.
    ///
    /// # Errors
    /// When there is no room for it.
    pub fn finish(&self, receiving: Receiving) -> Result<InputId, Failure> {
        let Receiving { file, hash, bytes } = receiving;
        let id = InputId::from_digest(hash.finalize().as_slice());
        let mut held = self.held();
        if !held.kept.contains_key(&id) {
            self.make_room(&mut held, bytes)?;
            file.persist(self.place(&id))
                .map_err(|error| no_room(&error.error))?;
            held.bytes += bytes;
            let kept = Kept {
                bytes,
                jobs: 0,
                used: Instant::now(),
            };
            held.kept.insert(id.clone(), kept);
        }
        if let Some(kept) = held.kept.get_mut(&id) {
            kept.used = Instant::now();
        }
        Ok(id)
    }

    /// The file of an input; `None` for one that is not kept.
    pub fn path(&self, id: &InputId) -> Option<PathBuf> {
        self.held().kept.contains_key(id).then(|| self.place(id))
    }

    /// Keeps these inputs until they are [released](Self::release) as often.
    ///
    /// # Errors
    /// Naming one that is not there.
    pub fn hold<'a>(&self, ids: impl Iterator<Item = &'a InputId> + Clone) -> Result<(), Failure> {
        let mut held = self.held();
        if let Some(id) = ids.clone().find(|id| !held.kept.contains_key(id)) {
            let message = format!("there is no upload {id} (any more)");
            return Err(Failure::new(Code::InvalidRequest, message));
        }
        for id in ids {
            if let Some(kept) = held.kept.get_mut(id) {
                kept.jobs += 1;
            }
        }
        Ok(())
    }

    /// Inputs that a job no longer needs.
    pub fn release<'a>(&self, ids: impl Iterator<Item = &'a InputId>) {
        let mut held = self.held();
        for id in ids {
            if let Some(kept) = held.kept.get_mut(id) {
                kept.jobs = kept.jobs.saturating_sub(1);
                kept.used = Instant::now();
            }
        }
    }

    /// Drops what is old and not needed.
    pub fn sweep(&self) {
        let mut held = self.held();
        let keep = self.limits.keep;
        let old = held
            .kept
            .iter()
            .filter(|(_, kept)| kept.jobs == 0 && kept.used.elapsed() > keep);
        let old: Vec<_> = old.map(|(id, _)| id.clone()).collect();
        for id in old {
            self.drop_one(&mut held, &id);
        }
    }

    /// Drops what was not used for the longest time until another input has room.
    fn make_room(&self, held: &mut Held, bytes: u64) -> Result<(), Failure> {
        let fits = |held: &Held, files: usize| {
            held.bytes + bytes <= self.limits.bytes && held.kept.len() < files
        };
        if fits(held, FILES) {
            return Ok(());
        }
        let free = held.kept.iter().filter(|(_, kept)| kept.jobs == 0);
        let mut free: Vec<_> = free.map(|(id, kept)| (kept.used, id.clone())).collect();
        free.sort_unstable();
        for (_, id) in free {
            // Some more at once, so that not every input looks for the oldest.
            if fits(held, FILES - FILES / 10) {
                return Ok(());
            }
            self.drop_one(held, &id);
        }
        match fits(held, FILES) {
            true => Ok(()),
            false => Err(Failure::new(
                Code::Unavailable,
                "the server has no room for more inputs now",
            )),
        }
    }

    fn drop_one(&self, held: &mut Held, id: &InputId) {
        if let Some(kept) = held.kept.remove(id) {
            held.bytes -= kept.bytes;
            let _ = std::fs::remove_file(self.place(id)); // the folder goes with the server anyway
        }
    }

    fn place(&self, id: &InputId) -> PathBuf {
        self.folder().join(id.as_str())
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Receiving {
    /// Adds bytes.
    ///
    /// # Errors
    /// When there is no room on the disk.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file
            .write_all(bytes)
            .map_err(|error| no_room(&error))?;
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

fn no_room(error: &std::io::Error) -> Failure {
    Failure::new(
        Code::Unavailable,
        format!("the server can't store the input: {}", error.kind()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(bytes: u64) -> Inputs {
        let limits = InputLimits {
            bytes,
            keep: Duration::ZERO,
        };
        Inputs::new(limits).unwrap()
    }

    #[test]
    fn equal_inputs_are_kept_once_and_found_by_their_hash() {
        let inputs = inputs(100);
        let id = inputs.keep(b"abc").unwrap();
        assert_eq!(inputs.keep(b"abc").unwrap(), id);
        assert_eq!(std::fs::read(inputs.path(&id).unwrap()).unwrap(), b"abc");
        assert_eq!(std::fs::read_dir(inputs.folder()).unwrap().count(), 1);
        assert!(inputs.path(&InputId::of(b"x")).is_none());
    }

    #[test]
    fn what_a_job_needs_stays_and_the_rest_makes_room() {
        let inputs = inputs(10);
        let needed = inputs.keep(b"123456").unwrap();
        inputs.hold([&needed].into_iter()).unwrap();
        assert!(inputs.keep(b"1234567").is_err());
        let other = inputs.keep(b"abcd").unwrap();
        let third = inputs.keep(b"efgh").unwrap();
        assert!(inputs.path(&other).is_none() && inputs.path(&third).is_some());
        inputs.sweep();
        assert!(inputs.path(&needed).is_some());
        inputs.release([&needed].into_iter());
        std::thread::sleep(Duration::from_millis(2));
        inputs.sweep();
        assert!(inputs.path(&needed).is_none());
        assert!(inputs.hold([&needed].into_iter()).is_err());
    }
}
