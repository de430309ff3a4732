//! Outputs of images: checked before the long work, and written completely or not at all.

#[cfg(unix)]
mod pipe;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use x2i_core::{Error, Result};

#[cfg(unix)]
use crate::files::is_pipe;
use crate::files::{folder_of, sweep, sync_folder, temporary, write_error};
use crate::format::Format;

/// The extensions of the formats in which images are written, in lower case; the first is the usual one.
pub const FORMATS: [&str; 4] = ["png", "jpg", "jpeg", "webp"];

/// The output of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Output {
    /// None: the caller keeps the image.
    #[default]
    None,
    /// Standard output.
    Stdout,
    /// A file.
    File(PathBuf),
}

impl Output {
    /// Checks, before the long work, that the file can be written. Leaves no file behind.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::MissingFile`] naming the folder.
    pub fn check(&self) -> Result<()> {
        let Self::File(path) = self else {
            return Ok(());
        };
        if path.as_os_str().as_encoded_bytes().contains(&0) {
            let no_name =
                io::Error::new(io::ErrorKind::InvalidInput, "a name can't hold a NUL byte");
            return Err(write_error(path, no_name));
        }
        let path = &real(path).map_err(|error| write_error(path, error))?;
        let metadata = path.metadata();
        if let Err(error) = &metadata
            && error.kind() == io::ErrorKind::InvalidFilename
        {
            return Err(write_error(path, io::ErrorKind::InvalidFilename.into()));
        }
        if let Ok(metadata) = metadata {
            if metadata.is_dir() {
                return Err(write_error(path, io::ErrorKind::IsADirectory.into()));
            }
            if metadata.permissions().readonly() {
                return Err(write_error(path, io::ErrorKind::PermissionDenied.into()));
            }
            #[cfg(unix)]
            if is_pipe(&metadata) {
                return pipe::reserve(path).map_err(|error| write_error(path, error));
            }
            if !metadata.is_file() {
                return OpenOptions::new()
                    .write(true)
                    .open(path)
                    .map(drop)
                    .map_err(|error| write_error(path, error));
            }
        }
        let folder = folder_of(path);
        temporary(folder, None)
            .map(drop)
            .map_err(|error| write_error(folder, error))
    }

    /// Checks outputs as [`check`](Self::check) does, and removes what killed runs have left in their
    /// folders.
    ///
    /// # Errors
    /// As [`check`](Self::check), for the first that can't be written.
    pub fn check_all<'a>(outputs: impl IntoIterator<Item = &'a Self>) -> Result<()> {
        let mut swept = BTreeSet::new();
        for output in outputs {
            if let Self::File(path) = output {
                let real = real(path).unwrap_or_else(|_| path.clone());
                let folder = folder_of(&real).to_owned();
                if !swept.contains(&folder) {
                    sweep(&folder);
                    swept.insert(folder);
                }
            }
            output.check()?;
        }
        Ok(())
    }

    /// Writes a file completely: to a temporary file in the same folder, which is written to the disk and
    /// then renamed. After an interruption or on a full disk, the old file is still there. The new one
    /// has its permissions.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub fn write(&self, bytes: &[u8]) -> Result<()> {
        match self {
            Self::None => Ok(()),
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
                written.map_err(|error| write_error(Path::new("standard output"), error))
            }
            Self::File(path) => write_file(path, bytes).map_err(|error| write_error(path, error)),
        }
    }

    /// Writes a file as [`write`](Self::write) does, unless there is one. False when there is.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub fn create(&self, bytes: &[u8]) -> Result<bool> {
        let Self::File(path) = self else {
            return self.write(bytes).map(|()| true);
        };
        match create_file(path, bytes) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            created => created
                .map(|()| true)
                .map_err(|error| write_error(path, error)),
        }
    }

    /// The format that the file's name asks for; PNG elsewhere.
    ///
    /// # Errors
    /// As [`Format::of`].
    pub fn format(&self) -> Result<Format> {
        match self {
            Self::File(path) => Format::of(path),
            Self::None | Self::Stdout => Ok(Format::Png),
        }
    }

    /// The path for messages; `-` for standard output.
    pub fn shown(&self) -> String {
        match self {
            Self::None => String::new(),
            Self::Stdout => "-".into(),
            Self::File(path) => path.display().to_string(),
        }
    }
}

fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let path = real(path)?;
    let old = path.metadata().ok();
    #[cfg(unix)]
    if old.as_ref().is_some_and(is_pipe) {
        return pipe::write(&path, bytes);
    }
    if old.as_ref().is_some_and(|old| !old.is_file()) {
        return OpenOptions::new().write(true).open(&path)?.write_all(bytes);
    }
    let file = written(&path, bytes, old.as_ref())?;
    file.persist(&path).map_err(|error| error.error)?;
    sync_folder(folder_of(&path))
}

/// The file that a link leads to, which need not be there yet: renaming would replace the link, or a
/// device (/dev/full), with a file.
///
/// # Errors
/// When links lead in a circle.
fn real(path: &Path) -> io::Result<PathBuf> {
    let mut real = path.to_owned();
    for _ in 0..MOST_LINKS {
        if !real.is_symlink() {
            return Ok(real);
        }
        // A link of the system's own (/proc/self/fd/1) may have no path behind it.
        if real.exists() {
            return Ok(real.canonicalize().unwrap_or(real));
        }
        let folder = real.parent().unwrap_or(Path::new(""));
        real = folder.join(real.read_link()?);
    }
    Err(io::Error::other("is a link that leads in a circle"))
}

/// The most links on the way to a file, as on Linux.
const MOST_LINKS: usize = 40;

fn create_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = written(path, bytes, None)?;
    file.persist_noclobber(path).map_err(|error| error.error)?;
    sync_folder(folder_of(path))
}

/// A temporary file beside `path` that holds the bytes on the disk, with the owner and the permissions
/// of the file that it will replace.
fn written(path: &Path, bytes: &[u8], old: Option<&Metadata>) -> io::Result<NamedTempFile> {
    let mut file = temporary(folder_of(path), old.map(mode))?;
    file.write_all(bytes)?;
    if let Some(old) = old {
        take_after(&file, old)?;
    }
    file.as_file().sync_all()?;
    Ok(file)
}

#[cfg(unix)]
fn mode(old: &Metadata) -> u32 {
    use std::os::unix::fs::MetadataExt;
    old.mode() & 0o7777
}

#[cfg(not(unix))]
fn mode(_: &Metadata) -> u32 {
    0
}

/// Gives a file the permissions of an old one, and its owner where that is allowed.
fn take_after(file: &NamedTempFile, old: &Metadata) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, fchown};
        let new = file.as_file().metadata()?;
        if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
            let _ = fchown(file.as_file(), Some(old.uid()), Some(old.gid()));
        }
    }
    file.as_file().set_permissions(old.permissions())
}

/// Makes a write beyond the limit of a file's size (`ulimit -f`) an error instead of a signal that ends
/// the process. A program calls it first.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn refuse_size_signal() {
    // SAFETY: sets how a signal is handled; nothing else in this process handles it.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Other systems have no such signal, or their users no such limit.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn refuse_size_signal() {}

/// Checks that a file name has the extension of a format that is written, or none.
///
/// # Errors
/// [`Error::Image`] naming the file and the formats.
pub fn check_extension(path: &Path) -> Result<()> {
    let Some(extension) = path.extension().map(OsStr::to_string_lossy) else {
        return Ok(());
    };
    if FORMATS.contains(&extension.to_lowercase().as_str()) {
        return Ok(());
    }
    let formats: Vec<String> = FORMATS.iter().map(|format| format!(".{format}")).collect();
    let reason = format!(
        "images are not written as .{extension}; name it {}",
        formats.join(" or ")
    );
    Err(Error::image(path.display().to_string(), reason))
}

/// Makes a folder and its parents.
///
/// # Errors
/// [`Error::Io`] naming it.
pub fn create_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|error| write_error(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        let output = Output::File(path.clone());
        output.check().unwrap();
        assert!(!path.exists());
        output.write(b"one").unwrap();
        output.write(b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    #[cfg(unix)]
    fn the_permissions_of_a_replaced_file_stay() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        for mode in [0o600, 0o640, 0o666] {
            fs::write(&path, "old").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            Output::File(path.clone()).write(b"new").unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"new");
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, mode);
        }
    }

    #[test]
    fn a_file_that_is_there_is_not_created_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        let output = Output::File(path.clone());
        assert!(output.create(b"one").unwrap());
        assert!(!output.create(b"two").unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_killed_run_has_left_is_gone_after_the_check() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".x2i-abcdef.tmp"), "half").unwrap();
        let outputs = ["a.png", "b.png"].map(|name| Output::File(folder.path().join(name)));
        Output::check_all(&outputs).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn only_formats_that_are_written_may_be_named() {
        for name in ["a.png", "a.PNG", "a", "x/b.v2.png"] {
            check_extension(Path::new(name)).unwrap();
        }
        for name in ["a.gif", "a.png.txt", "model.json"] {
            let message = check_extension(Path::new(name)).unwrap_err().to_string();
            assert!(
                message.starts_with(name) && message.contains(".png"),
                "{message}"
            );
        }
    }

    #[test]
    fn what_can_not_be_written_is_said_before_the_work() {
        let no_name = Output::File("a\0b.png".into()).check().unwrap_err();
        assert!(no_name.to_string().contains("NUL"), "{no_name}");
        let folder = tempfile::tempdir().unwrap();
        let message = |path: PathBuf| Output::File(path).check().unwrap_err().to_string();
        assert!(message(folder.path().into()).ends_with("is a folder"));
        assert!(message(folder.path().join("none/a.png")).ends_with("folder not found"));
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(message(file.join("a.png")).ends_with("is not a folder"));
        let long = folder.path().join("a".repeat(256));
        assert!(message(long).ends_with("the name is too long for the file system"));
    }

    #[test]
    #[cfg(unix)]
    fn a_link_stays_and_the_file_behind_it_is_written() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("sub")).unwrap();
        fs::write(at("there.png"), "old").unwrap();
        for (link, target) in [
            ("a.png", "there.png"),
            ("b.png", "new.png"),
            ("c.png", "sub/new.png"),
            ("d.png", "c.png"),
        ] {
            symlink(target, at(link)).unwrap();
            let output = Output::File(at(link));
            output.check().unwrap();
            output.write(link.as_bytes()).unwrap();
            assert!(at(link).is_symlink(), "{link}");
            assert_eq!(fs::read(at(target)).unwrap(), link.as_bytes());
        }
        symlink("none/a.png", at("e.png")).unwrap();
        symlink("f.png", at("f.png")).unwrap();
        for (link, words) in [("e.png", "none: folder not found"), ("f.png", "circle")] {
            let error = Output::File(at(link)).check().unwrap_err().to_string();
            assert!(error.ends_with(words), "{error}");
            assert!(at(link).is_symlink(), "{link}");
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_pipe_is_opened_once_and_one_that_nobody_reads_is_told_before_the_work() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe.png");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        let output = Output::File(path.clone());
        let error = output.check().unwrap_err().to_string();
        assert!(error.contains("a pipe that nobody reads"), "{error}");
        let read = path.clone();
        let reader = std::thread::spawn(move || fs::read(read).unwrap());
        output.check().unwrap();
        output.check().unwrap();
        let bytes = vec![7; 1 << 20]; // more than a pipe holds
        output.write(&bytes).unwrap();
        assert!(reader.join().unwrap() == bytes);
        assert!(!path.metadata().unwrap().is_file());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_one_clear_sentence_and_a_device_is_not_replaced() {
        let full = Output::File("/dev/full".into());
        full.check().unwrap();
        assert_eq!(
            full.write(b"x").unwrap_err().to_string(),
            "/dev/full: the disk is full"
        );
        assert!(!Path::new("/dev/full").is_file());
    }
}
