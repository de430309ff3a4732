//! Downloads a model: looks at what there is, then gets what is missing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use x2i_core::{Error, Result};

use super::choice::choose;
use super::client::Client;
use super::download::{Download, is_blob};
use super::meter::{Meter, OnPulled, Pulling};
use super::names::is_commit;
use super::options::{HubOptions, Network};
use super::parts::left_by_earlier;
use super::place::place;
use super::reference::Reference;
use super::repository::{Listed, Remote, describe, remote};
use crate::files::{free_space, sweep, write_error};
use crate::host::human_bytes;

/// Files of fewer bytes are downloaded several at a time, others one at a time in several connections.
const SMALL: u64 = 4 << 20;

/// The Hugging Face Hub, or a mirror of it.
pub struct Hub {
    options: HubOptions,
    client: Client,
}

/// What a download would do.
#[derive(Debug, Clone)]
pub struct Plan {
    reference: Reference,
    commit: String,
    files: Vec<PlannedFile>,
    remotes: Vec<Remote>,
    /// Files of the repository that are not wanted.
    left_out: usize,
    begun: u64,
}

/// A file of a [`Plan`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedFile {
    /// Its path inside the repository.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// Whether the cache has it already.
    pub is_here: bool,
    /// Whether the Hub records a hash that it is compared with.
    pub is_verified: bool,
}

impl Plan {
    /// The repository.
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    /// The commit that the revision is now.
    pub fn commit(&self) -> &str {
        &self.commit
    }

    /// The files, in the order of the repository.
    pub fn files(&self) -> &[PlannedFile] {
        &self.files
    }

    /// The number of the repository's other files.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Bytes that are still to come: without files that the cache has, and what an earlier download left.
    pub fn missing(&self) -> u64 {
        let missing = self.files.iter().filter(|file| !file.is_here);
        let missing: u64 = missing.map(|file| file.bytes).sum();
        missing.saturating_sub(self.begun)
    }

    /// Bytes that an earlier download left of files that are not complete.
    pub fn begun(&self) -> u64 {
        self.begun
    }
}

impl Hub {
    /// The Hub of these options. Asks nothing yet.
    ///
    /// # Errors
    /// [`Error::Config`] for an endpoint that is no address, or certificates that can't be read.
    pub fn new(options: HubOptions) -> Result<Self> {
        let client = Client::new(&options)?;
        Ok(Self { options, client })
    }

    /// Asks which files make the model, and how long they are. One request a file.
    ///
    /// # Errors
    /// [`Error::Io`] when the network may not be used or the Hub does not answer, with its reason;
    /// [`Error::Config`] when there is no such file or no model; [`Error::Format`] for an answer that the
    /// Hub would not give; [`Error::Cancelled`].
    pub fn plan(&self, reference: &Reference, on_pulled: &OnPulled) -> Result<Plan> {
        if self.options.network == Network::Offline {
            let reason = format!(
                "is to be asked of the network, which is switched off (offline); the cache {} is all there is",
                self.options.cache.root().display()
            );
            return Err(Error::Io {
                file: reference.to_string(),
                source: io::Error::new(io::ErrorKind::NotConnected, reason),
            });
        }
        let meter = Meter::new(0, on_pulled);
        let described = describe(&self.client, reference, &meter)?;
        let chosen = choose(reference, &described.files)?;
        let remotes = self.remotes((reference, &described.commit), &chosen, &meter)?;
        let blobs = self.options.cache.repository(reference).join("blobs");
        let planned = |file: &Remote| PlannedFile {
            path: file.path.clone(),
            bytes: file.size,
            is_here: is_blob(&blobs.join(&file.etag), file.size),
            is_verified: file.hash.is_some(),
        };
        let files: Vec<PlannedFile> = remotes.iter().map(planned).collect();
        let absent = remotes.iter().zip(&files).filter(|(_, file)| !file.is_here);
        Ok(Plan {
            reference: reference.clone(),
            commit: described.commit,
            left_out: described.files.len() - files.len(),
            begun: absent.map(|(file, _)| left_by_earlier(&blobs, file)).sum(),
            files,
            remotes,
        })
    }

    fn remotes(
        &self,
        of: (&Reference, &str),
        chosen: &[Listed],
        meter: &Meter,
    ) -> Result<Vec<Remote>> {
        let all = (0..chosen.len()).collect::<Vec<usize>>();
        let found = at_once(&all, self.connections(), |index| {
            remote(&self.client, of, &chosen[index], meter)
        });
        found.into_iter().collect()
    }

    fn connections(&self) -> usize {
        self.options.connections.clamp(1, 64)
    }

    /// Downloads what is missing of a plan into the cache. Returns the snapshot's folder.
    ///
    /// A run that ends early keeps what it has, and the same call goes on from there. The files of the
    /// snapshot appear when all of them are complete, and the revision's name last.
    ///
    /// # Errors
    /// [`Error::Io`] with the Hub's or the disk's reason, [`Error::Format`] for a file with another hash than
    /// the recorded one, [`Error::Cancelled`].
    pub fn pull(&self, plan: &Plan, on_pulled: &OnPulled) -> Result<PathBuf> {
        let repository = self.options.cache.repository(&plan.reference);
        let blobs = repository.join("blobs");
        fs::create_dir_all(&blobs).map_err(|error| write_error(&blobs, error))?;
        sweep(&blobs);
        check_space(&blobs, plan.missing())?;
        let absent = plan
            .files
            .iter()
            .enumerate()
            .filter(|(_, file)| !file.is_here);
        let (small, large): (Vec<_>, Vec<_>) = absent.partition(|(_, file)| file.bytes < SMALL);
        let total = small.iter().chain(&large).map(|(_, file)| file.bytes).sum();
        let meter = Meter::new(total, on_pulled);
        let download = Download {
            client: &self.client,
            reference: &plan.reference,
            commit: &plan.commit,
            blobs: &blobs,
            meter: &meter,
        };
        let mut files = plan.remotes.clone();
        let indices = |of: &[(usize, &PlannedFile)]| of.iter().map(|(index, _)| *index).collect();
        let small: Vec<usize> = indices(&small);
        let came = at_once(&small, self.connections(), |index| {
            download.run(&plan.remotes[index], 1)
        });
        for (index, file) in small.into_iter().zip(came) {
            files[index] = file?;
        }
        let large: Vec<usize> = indices(&large);
        for index in large {
            files[index] = download.run(&plan.remotes[index], self.connections())?;
        }
        meter.ask(Pulling::Verify)?;
        let revision = plan.reference.revision().unwrap_or("main");
        let revision = Some(revision).filter(|revision| !is_commit(revision));
        place(&repository, (&plan.commit, revision), &files)
    }
}

/// Does the work of each index on so many threads; the results are in the order of the indices. After an
/// error, the rest is not begun, and has the error of being cancelled.
fn at_once<T: Send>(
    indices: &[usize],
    threads: usize,
    work: impl Fn(usize) -> Result<T> + Sync,
) -> Vec<Result<T>> {
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let worker = || {
        let mut done = Vec::new();
        while let Some(&index) = indices.get(next.fetch_add(1, Ordering::Relaxed)) {
            if failed.load(Ordering::Relaxed) > 0 {
                break;
            }
            let result = work(index);
            if result.is_err() {
                failed.fetch_add(1, Ordering::Relaxed);
            }
            done.push((index, result));
        }
        done
    };
    let done = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.min(indices.len()))
            .map(|_| scope.spawn(worker))
            .collect();
        let joined = workers.into_iter().map(|worker| {
            worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        joined.flatten().collect::<Vec<_>>()
    });
    in_order(indices, done)
}

/// Results in the order of their indices; one real error comes before those that follow from it.
fn in_order<T>(indices: &[usize], done: Vec<(usize, Result<T>)>) -> Vec<Result<T>> {
    let (mut failures, mut results): (Vec<_>, Vec<_>) =
        done.into_iter().partition(|(_, result)| result.is_err());
    if !failures.is_empty() {
        let is_cause = |(_, result): &(usize, Result<T>)| !matches!(result, Err(Error::Cancelled));
        let cause = failures.iter().position(is_cause).unwrap_or(0);
        return vec![failures.swap_remove(cause).1];
    }
    results.sort_by_key(|(index, _)| indices.iter().position(|other| other == index));
    results.into_iter().map(|(_, result)| result).collect()
}

fn check_space(blobs: &Path, bytes: u64) -> Result<()> {
    match free_space(blobs) {
        Some(free) if free < bytes => {
            let reason = format!(
                "{} are to be downloaded, and the disk has {} left",
                human_bytes(bytes),
                human_bytes(free)
            );
            Err(Error::Io {
                file: blobs.display().to_string(),
                source: io::Error::new(io::ErrorKind::StorageFull, reason),
            })
        }
        _ => Ok(()),
    }
}
