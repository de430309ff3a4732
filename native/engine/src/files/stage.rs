//! A model folder that is being made, and how it gets to its place.
//!
//! It is written under a temporary name in the file system of its destination. Where there is no
//! destination yet, one rename makes it. Into a folder that exists, the files are put one by one, since
//! files of the user's stay in it: first one rename calls them finished, and from then on the way leads
//! forward only. Whoever opens such a folder after a kill goes it to its end ([`recover`]).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;
use tempfile::NamedTempFile;
use x2i_core::config::FileRecord;

use super::lock::LockFile;
use super::open::folder_of;
use super::sync::sync_folder;
use super::temporary::{FINISHED, FOLDER_PREFIX, PREFIX, owned, remove_folder};

/// The config of a model folder; it is written last, and lists the others.
const CONFIG: &str = "model.json";

/// A model folder that is being made; it is removed unless it is put in place.
#[derive(Debug)]
pub struct Stage {
    folder: PathBuf,
    destination: PathBuf,
    /// The destination exists.
    replaces: bool,
    /// Says, by its lock, that the folder has an owner.
    _owner: NamedTempFile,
}

impl Stage {
    /// An empty folder beside a destination that does not exist.
    ///
    /// # Errors
    /// The system's, when nothing can be written there.
    pub fn beside(destination: &Path) -> io::Result<Self> {
        Self::new(folder_of(destination), destination, false)
    }

    /// An empty folder in a destination that exists.
    ///
    /// # Errors
    /// As [`beside`](Self::beside).
    pub fn inside(destination: &Path) -> io::Result<Self> {
        Self::new(destination, destination, true)
    }

    fn new(parent: &Path, destination: &Path, replaces: bool) -> io::Result<Self> {
        let owner = owned(parent, FOLDER_PREFIX, None)?;
        let folder = owner.path().with_extension("");
        fs::create_dir(&folder)?;
        Ok(Self {
            folder,
            destination: destination.to_owned(),
            replaces,
            _owner: owner,
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Puts the folder in place. It has a `model.json`, which lists the other files. Of an older model,
    /// the files that its `model.json` lists are replaced or removed; all others stay.
    ///
    /// # Errors
    /// The system's; when a file that stays has the name of a new one; when there is a destination
    /// meanwhile. Nothing has been changed then.
    pub fn place(self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            File::open(entry?.path())?.sync_all()?;
        }
        sync_folder(&self.folder)?;
        if !self.replaces {
            fs::rename(&self.folder, &self.destination)?;
            return sync_folder(folder_of(&self.destination));
        }
        let _lock = lock(&self.destination)?;
        finish(&self.destination)?;
        let new = Listed::of(&self.folder)?;
        if let Some(name) = stranger(&self.destination, &new.names()) {
            let reason = format!("{name} is not a file of the old model");
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, reason));
        }
        fs::rename(&self.folder, self.destination.join(FINISHED))?;
        sync_folder(&self.destination)?;
        finish(&self.destination)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        remove_folder(&self.folder);
    }
}

/// Whether `convert` made the folder: it has a `model.json` that lists its files.
pub fn is_converted(folder: &Path) -> bool {
    Listed::of(folder).is_ok()
}

/// The first of `names` that is in the folder but is not a file that `convert` made there.
pub fn stranger(folder: &Path, names: &BTreeSet<String>) -> Option<String> {
    let old = Listed::of(folder).map(|listed| listed.names());
    let old = old.unwrap_or_default();
    let is_strange = |name: &&String| match folder.join(name).symlink_metadata() {
        Ok(found) => !found.is_file() || !old.contains(*name),
        Err(_) => false,
    };
    names.iter().find(is_strange).cloned()
}

/// Ends a conversion that was killed while its files were put in place. True when there was one.
///
/// # Errors
/// The system's, when the folder can't be written.
pub fn recover(folder: &Path) -> io::Result<bool> {
    if !folder.join(FINISHED).exists() {
        return Ok(false);
    }
    let _lock = lock(folder)?;
    let found = folder.join(FINISHED).exists();
    finish(folder)?;
    Ok(found)
}

fn lock(folder: &Path) -> io::Result<LockFile> {
    LockFile::wait(&folder.join(format!("{FINISHED}.lock")))
}

/// Puts the files of a finished conversion in place. It may be killed anywhere and begun again: the new
/// `model.json` is moved last, and until then both it and the old one say what is left to do.
fn finish(folder: &Path) -> io::Result<()> {
    let finished = folder.join(FINISHED);
    if !finished.exists() {
        return Ok(());
    }
    if finished.join(CONFIG).exists() {
        let new = Listed::of(&finished)?.names();
        let old = Listed::of(folder).map(|listed| listed.names());
        for name in new.iter().filter(|name| *name != CONFIG) {
            replace(&finished.join(name), &folder.join(name))?;
        }
        for name in old.unwrap_or_default().difference(&new) {
            let path = folder.join(name);
            if path.symlink_metadata().is_ok_and(|found| found.is_file()) {
                fs::remove_file(path)?;
            }
        }
        sync_folder(folder)?;
        replace(&finished.join(CONFIG), &folder.join(CONFIG))?;
        sync_folder(folder)?;
    }
    fs::remove_dir(&finished)?;
    sync_folder(folder)
}

/// Renames a file over another, whose permissions it takes. One that is not there has been renamed.
fn replace(new: &Path, old: &Path) -> io::Result<()> {
    if !new.exists() {
        return Ok(());
    }
    if let Ok(old) = old.metadata() {
        fs::set_permissions(new, old.permissions())?;
    }
    fs::rename(new, old)
}

/// The files that a `model.json` lists. The other keys tell it from another program's file of that
/// name.
#[derive(Deserialize)]
#[allow(
    dead_code,
    reason = "the keys must be there; their values are not read"
)]
struct Listed {
    files: BTreeMap<String, FileRecord>,
    encoder: IgnoredAny,
    align_net: IgnoredAny,
    flux: IgnoredAny,
    vae: IgnoredAny,
}

impl Listed {
    fn of(folder: &Path) -> io::Result<Self> {
        let json = fs::read(folder.join(CONFIG))?;
        Ok(serde_json::from_slice(&json)?)
    }

    /// The names of files in the folder itself, with `model.json`. Another path is nothing that
    /// `convert` wrote.
    fn names(&self) -> BTreeSet<String> {
        let plain = |name: &&String| {
            let mut parts = Path::new(name).components();
            let is_name = matches!(parts.next(), Some(Component::Normal(_)));
            is_name && parts.next().is_none() && !name.starts_with(PREFIX)
        };
        let listed = self.files.keys().filter(plain).cloned();
        listed.chain([CONFIG.to_owned()]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::temporary::sweep;
    use super::*;

    /// Writes a model's files, each with `content`, and the `model.json` that lists them.
    fn write_model(folder: &Path, names: &[&str], content: &str) {
        let record = |name: &&str| {
            fs::write(folder.join(name), content).unwrap();
            format!(r#""{name}": {{"bytes": 1, "sha256": "00"}}"#)
        };
        let files: Vec<String> = names.iter().map(record).collect();
        let json = format!(
            r#"{{"name": "{content}", "encoder": 1, "align_net": 1, "flux": 1, "vae": 1, "files": {{{}}}}}"#,
            files.join(", ")
        );
        fs::write(folder.join(CONFIG), json).unwrap();
    }

    fn contents(folder: &Path) -> Vec<(String, String)> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(path).unwrap_or_default())
        });
        let mut entries: Vec<_> = entries.collect();
        entries.sort();
        entries
    }

    /// A folder with an old model, a file of the user's, and a new model that is staged in it.
    fn staged() -> (tempfile::TempDir, PathBuf, Stage) {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("a.v1");
        fs::create_dir(&folder).unwrap();
        write_model(&folder, &["flux.gguf", "old.gguf"], "old");
        fs::write(folder.join("thesis.txt"), "mine").unwrap();
        let stage = Stage::inside(&folder).unwrap();
        write_model(stage.path(), &["flux.gguf", "vae.gguf"], "new");
        (outer, folder, stage)
    }

    #[track_caller]
    fn is_new(folder: &Path) {
        let names: Vec<_> = contents(folder).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["flux.gguf", "model.json", "thesis.txt", "vae.gguf"]);
        let read = |name| fs::read_to_string(folder.join(name)).unwrap();
        assert_eq!([read("flux.gguf"), read("vae.gguf")], ["new", "new"]);
        assert_eq!(read("thesis.txt"), "mine");
        assert!(read(CONFIG).contains(r#""name": "new""#));
    }

    #[test]
    fn of_an_old_model_its_own_files_are_replaced_and_all_others_stay() {
        let (_outer, folder, stage) = staged();
        stage.place().unwrap();
        is_new(&folder);
    }

    #[test]
    fn a_new_folder_is_there_at_once_and_two_versions_do_not_meet() {
        let outer = tempfile::tempdir().unwrap();
        let stages = ["a.v1", "a.v2"].map(|name| Stage::beside(&outer.path().join(name)).unwrap());
        assert_ne!(stages[0].path(), stages[1].path());
        for stage in stages {
            write_model(stage.path(), &["flux.gguf"], "new");
            stage.place().unwrap();
        }
        let names: Vec<_> = contents(outer.path())
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["a.v1", "a.v2"]);
    }

    #[test]
    fn a_stage_that_is_not_placed_leaves_nothing() {
        let (_outer, folder, stage) = staged();
        let before = [CONFIG, "flux.gguf", "old.gguf", "thesis.txt"];
        drop(stage);
        let names: Vec<_> = contents(&folder)
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        let mut before = before.map(str::to_owned);
        before.sort();
        assert_eq!(names, before);
    }

    /// Every state that a kill can leave after the rename that calls the files finished.
    #[test]
    fn a_kill_at_any_point_is_recovered_from() {
        for moved in 0..=4 {
            let (_outer, folder, stage) = staged();
            let finished = folder.join(FINISHED);
            fs::rename(stage.path(), &finished).unwrap();
            let moves = ["flux.gguf", "vae.gguf", "", CONFIG];
            for name in &moves[..moved.min(4)] {
                match *name {
                    "" => fs::remove_file(folder.join("old.gguf")).unwrap(),
                    name => fs::rename(finished.join(name), folder.join(name)).unwrap(),
                }
            }
            drop(stage);
            sweep(&folder);
            assert!(recover(&folder).unwrap(), "{moved} moved");
            assert!(!recover(&folder).unwrap(), "there is nothing left to do");
            is_new(&folder);
        }
    }

    #[test]
    fn a_file_of_the_users_is_not_replaced_by_one_of_its_name() {
        let (_outer, folder, stage) = staged();
        fs::write(folder.join("vae.gguf"), "mine").unwrap();
        let error = stage.place().unwrap_err().to_string();
        assert!(error.contains("vae.gguf"), "{error}");
        assert_eq!(fs::read_to_string(folder.join("vae.gguf")).unwrap(), "mine");
        assert_eq!(fs::read_to_string(folder.join("flux.gguf")).unwrap(), "old");
    }

    #[test]
    #[cfg(unix)]
    fn only_names_in_the_folder_itself_are_removed() {
        let (outer, folder, stage) = staged();
        fs::write(outer.path().join("precious"), "x").unwrap();
        write_model(&folder, &["../precious", "flux.gguf"], "old");
        std::os::unix::fs::symlink("../precious", folder.join("old.gguf.link")).unwrap();
        stage.place().unwrap();
        assert!(outer.path().join("precious").exists());
        assert!(folder.join("old.gguf.link").symlink_metadata().is_ok());
    }

    #[test]
    fn another_programs_model_json_is_not_a_models() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_converted(folder.path()));
        fs::write(folder.path().join(CONFIG), r#"{"files": {}}"#).unwrap();
        assert!(!is_converted(folder.path()));
        write_model(folder.path(), &["flux.gguf"], "x");
        assert!(is_converted(folder.path()));
    }
}
