//! What is known of files that were read to their end before, in the user's cache folder: their hashes,
//! and whose numbers were looked at, so that a model of 24 GB is read once and not for every image.
//!
//! It counts for a path only as long as the file's length, times and inode are the same. A cache that
//! is missing, broken or read-only costs time, never an error: the file is read again.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// The version of the cache's form.
const VERSION: u32 = 1;
/// The most files that are remembered; those that are gone are forgotten first.
const MOST_FILES: usize = 4096;
/// The most bytes of a cache that are read.
const MOST_BYTES: u64 = 16 << 20;
/// A file that changed within this time before it was looked at may change again at the same time stamp.
const SETTLED: Duration = Duration::from_millis(100);

/// The identity of a file's content: it differs after every ordinary change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    path: String,
    /// Length, times and inode as text.
    text: String,
    /// The latest of its times.
    changed: SystemTime,
    /// The time of looking.
    seen: SystemTime,
}

impl Stamp {
    /// Looks at a file; `None` where that fails, or where its path is not UTF-8.
    pub fn of(path: &Path) -> Option<Self> {
        let full = path.canonicalize().ok()?;
        let metadata = full.metadata().ok()?;
        let modified = metadata.modified().ok()?;
        let (changed, inode) = changed_and_inode(&metadata).unwrap_or((modified, 0));
        let [modified_text, changed_text] = [modified, changed].map(nanoseconds);
        let length = metadata.len();
        Some(Self {
            path: full.to_str()?.to_owned(),
            text: format!("{length} {modified_text} {changed_text} {inode}"),
            changed: modified.max(changed),
            seen: SystemTime::now(),
        })
    }

    /// True when the file is still the one that `self` was taken of, and has been for a while.
    fn still(&self, path: &Path) -> bool {
        let settled = self.seen.duration_since(self.changed);
        let settled = settled.is_ok_and(|since| since >= SETTLED);
        settled && Self::of(path).is_some_and(|now| now.text == self.text)
    }
}

fn nanoseconds(time: SystemTime) -> u128 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos())
}

/// The time of the last change of a file or of its inode, and the inode's number.
#[cfg(unix)]
fn changed_and_inode(metadata: &Metadata) -> Option<(SystemTime, u64)> {
    use std::os::unix::fs::MetadataExt;
    let seconds = Duration::from_secs(metadata.ctime().try_into().ok()?);
    let rest = Duration::from_nanos(metadata.ctime_nsec().try_into().ok()?);
    Some((UNIX_EPOCH + seconds + rest, metadata.ino()))
}

#[cfg(not(unix))]
fn changed_and_inode(_: &Metadata) -> Option<(SystemTime, u64)> {
    None
}

/// The cache's file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Cache {
    version: u32,
    files: BTreeMap<String, Entry>,
}

/// What is known of a file.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Entry {
    stamp: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    /// The parts of a model whose numbers in this file are all finite.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    finite: BTreeSet<String>,
}

impl Entry {
    /// Adds what another entry knows of the same file as it is now.
    fn extend(&mut self, other: &Self) {
        if self.stamp == other.stamp {
            self.sha256 = self.sha256.take().or_else(|| other.sha256.clone());
            self.finite.extend(other.finite.iter().cloned());
        }
    }
}

/// What earlier runs knew, and what this one has learnt.
#[derive(Debug)]
pub(crate) struct Remembered {
    place: Option<PathBuf>,
    known: BTreeMap<String, Entry>,
    learnt: BTreeMap<String, Entry>,
}

impl Remembered {
    /// Reads the user's cache.
    pub fn open() -> Self {
        Self::at(cache_folder().map(|folder| folder.join("x2i").join("hashes.json")))
    }

    /// Reads a cache.
    fn at(place: Option<PathBuf>) -> Self {
        let known = place.as_deref().and_then(read).unwrap_or_default();
        Self {
            place,
            known,
            learnt: BTreeMap::new(),
        }
    }

    fn entry(&self, stamp: &Stamp) -> Option<&Entry> {
        let entry = self.known.get(&stamp.path)?;
        (entry.stamp == stamp.text).then_some(entry)
    }

    /// The SHA-256 of a file that was hashed as it is now.
    pub fn get(&self, stamp: &Stamp) -> Option<&str> {
        self.entry(stamp)?.sha256.as_deref()
    }

    /// Whether the numbers of a part in a file, as it is now, were looked at and are finite.
    pub fn is_finite(&self, stamp: &Stamp, part: &str) -> bool {
        let entry = self.entry(stamp);
        entry.is_some_and(|entry| entry.finite.contains(part))
    }

    /// Remembers the hash of a file, unless it changed since `stamp` was taken or a moment before.
    pub fn learn(&mut self, path: &Path, stamp: &Stamp, sha256: &str) {
        let sha256 = Some(sha256.to_owned());
        self.add(path, stamp, |entry| entry.sha256 = sha256);
    }

    /// Remembers that the numbers of a part in a file are finite, under the same condition.
    pub fn learn_finite(&mut self, path: &Path, stamp: &Stamp, part: &str) {
        let part = part.to_owned();
        self.add(path, stamp, |entry| {
            entry.finite.insert(part);
        });
    }

    fn add(&mut self, path: &Path, stamp: &Stamp, add: impl FnOnce(&mut Entry)) {
        if stamp.still(path) {
            let entry = self.learnt.entry(stamp.path.clone()).or_default();
            if entry.stamp != stamp.text {
                *entry = Entry {
                    stamp: stamp.text.clone(),
                    ..Entry::default()
                };
            }
            add(entry);
        }
    }

    /// Adds what was learnt to the cache. Two programs that save at once may lose some, never mix it.
    pub fn save(&mut self) {
        let Some(place) = self.place.as_ref().filter(|_| !self.learnt.is_empty()) else {
            return;
        };
        // A check hashes files and looks at their numbers at once.
        static SAVING: Mutex<()> = Mutex::new(());
        let _saving = SAVING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut files = read(place).unwrap_or_default();
        for (path, mut entry) in std::mem::take(&mut self.learnt) {
            if let Some(old) = files.get(&path) {
                entry.extend(old);
            }
            files.insert(path, entry);
        }
        if files.len() > MOST_FILES {
            files.retain(|path, _| Path::new(path).exists());
        }
        while files.len() > MOST_FILES {
            files.pop_first();
        }
        let cache = Cache {
            version: VERSION,
            files,
        };
        // Without a cache everything works, only slower.
        let _ = write(place, &cache);
    }
}

fn read(place: &Path) -> Option<BTreeMap<String, Entry>> {
    let metadata = place.metadata().ok()?;
    if !metadata.is_file() {
        return None;
    }
    let mut json = Vec::new();
    let file = File::open(place).ok()?;
    file.take(MOST_BYTES).read_to_end(&mut json).ok()?;
    let cache: Cache = serde_json::from_slice(&json).ok()?;
    (cache.version == VERSION).then_some(cache.files)
}

/// Writes beside the cache, then renames: a reader sees the old cache or the new one.
fn write(place: &Path, cache: &Cache) -> std::io::Result<()> {
    let folder = super::open::folder_of(place);
    fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer(&mut file, cache)?;
    file.persist(place)?;
    Ok(())
}

/// The user's folder for what can be computed again.
fn cache_folder() -> Option<PathBuf> {
    let folder = |name: &str| {
        let path = PathBuf::from(env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    folder("XDG_CACHE_HOME")
        .or_else(|| folder("HOME").map(|home| home.join(".cache")))
        .or_else(|| folder("LOCALAPPDATA"))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Outcome = std::result::Result<(), Box<dyn std::error::Error>>;

    /// A file that was written a while ago, and a cache that knows its hash.
    fn known(folder: &Path) -> std::result::Result<(PathBuf, PathBuf), Box<dyn std::error::Error>> {
        let (file, place) = (folder.join("a.gguf"), folder.join("cache/x2i/hashes.json"));
        fs::write(&file, "weights")?;
        std::thread::sleep(SETTLED + SETTLED);
        let mut cache = Remembered::at(Some(place.clone()));
        let stamp = Stamp::of(&file).ok_or("no stamp")?;
        assert_eq!(cache.get(&stamp), None);
        cache.learn(&file, &stamp, "abc");
        cache.save();
        Ok((file, place))
    }

    #[test]
    fn a_hash_is_remembered_until_the_file_changes() -> Outcome {
        let folder = tempfile::tempdir()?;
        let (file, place) = known(folder.path())?;
        let hash = || {
            let stamp = Stamp::of(&file)?;
            let cache = Remembered::at(Some(place.clone()));
            cache.get(&stamp).map(str::to_owned)
        };
        assert_eq!(hash().as_deref(), Some("abc"));
        fs::write(&file, "Weights")?; // the same length
        assert_eq!(hash(), None);
        Ok(())
    }

    #[test]
    fn a_file_that_was_written_a_moment_ago_is_not_remembered() -> Outcome {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("new.gguf");
        fs::write(&file, "weights")?;
        let mut cache = Remembered::at(Some(folder.path().join("hashes.json")));
        let stamp = Stamp::of(&file).ok_or("no stamp")?;
        cache.learn(&file, &stamp, "abc");
        assert!(cache.learnt.is_empty());
        Ok(())
    }

    #[test]
    fn a_broken_cache_is_an_empty_one_and_is_replaced() -> Outcome {
        let folder = tempfile::tempdir()?;
        let (file, place) = known(folder.path())?;
        let stamp = Stamp::of(&file).ok_or("no stamp")?;
        for broken in ["", "{", "[1]", r#"{"version": 9, "files": {}}"#, "\0\0\0"] {
            fs::write(&place, broken)?;
            let mut cache = Remembered::at(Some(place.clone()));
            assert_eq!(cache.get(&stamp), None, "{broken:?}");
            cache.learn(&file, &stamp, "abc");
            cache.save();
            let cache = Remembered::at(Some(place.clone()));
            assert_eq!(cache.get(&stamp), Some("abc"), "{broken:?}");
        }
        // A cache that can't be written is no error either.
        let mut nowhere = Remembered::at(Some(file.join("below a file/hashes.json")));
        nowhere.learn(&file, &stamp, "abc");
        nowhere.save();
        Ok(())
    }

    #[test]
    fn numbers_are_remembered_for_each_part_beside_the_hash_and_as_long_as_it() -> Outcome {
        let folder = tempfile::tempdir()?;
        let (file, place) = known(folder.path())?;
        let stamp = Stamp::of(&file).ok_or("no stamp")?;
        let open = || Remembered::at(Some(place.clone()));
        let mut cache = open();
        assert!(!cache.is_finite(&stamp, "vae"));
        cache.learn_finite(&file, &stamp, "vae");
        cache.save();
        cache.learn_finite(&file, &stamp, "transformer");
        cache.save();
        let cache = open();
        assert_eq!(cache.get(&stamp), Some("abc"));
        let finite = |part| cache.is_finite(&stamp, part);
        assert!(finite("vae") && finite("transformer") && !finite("encoder"));
        fs::write(&file, "Weights")?;
        let changed = Stamp::of(&file).ok_or("no stamp")?;
        assert!(!open().is_finite(&changed, "vae"));
        Ok(())
    }
}
