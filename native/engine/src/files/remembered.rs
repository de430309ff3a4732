//! The hashes of files that were hashed before, in the user's cache folder, so that a model of 24 GB is
//! hashed once and not for every image.
//!
//! A hash counts for a path only as long as the file's length, times and inode are the same. A cache that
//! is missing, broken or read-only costs time, never an error: the file is hashed again.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};
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

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    stamp: String,
    sha256: String,
}

/// Hashes of earlier runs, and those of this one.
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

    /// The SHA-256 of a file that was hashed as it is now.
    pub fn get(&self, stamp: &Stamp) -> Option<&str> {
        let entry = self.known.get(&stamp.path)?;
        (entry.stamp == stamp.text).then_some(entry.sha256.as_str())
    }

    /// Remembers the hash of a file, unless it changed since `stamp` was taken or a moment before.
    pub fn learn(&mut self, path: &Path, stamp: &Stamp, sha256: &str) {
        if stamp.still(path) {
            let entry = Entry {
                stamp: stamp.text.clone(),
                sha256: sha256.to_owned(),
            };
            self.learnt.insert(stamp.path.clone(), entry);
        }
    }

    /// Adds what was learnt to the cache. Two programs that save at once may lose hashes, never mix them.
    pub fn save(self) {
        let Some(place) = self.place.filter(|_| !self.learnt.is_empty()) else {
            return;
        };
        let mut files = read(&place).unwrap_or_default();
        files.extend(self.learnt);
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
        let _ = write(&place, &cache);
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
        let nowhere = Remembered::at(Some(file.join("below a file/hashes.json")));
        nowhere.save();
        Ok(())
    }
}
