//! Files that the program ffmpeg makes in a temporary folder.

#![allow(dead_code, reason = "each test file uses some of it")]

use std::path::PathBuf;
use std::process::Command;

/// A folder for made files; `None`, visible in the log, where ffmpeg is not installed or lacks
/// `encoders`.
pub fn maker(encoders: &[&str]) -> Option<Maker> {
    let list = Command::new("ffmpeg")
        .args(["-v", "quiet", "-encoders"])
        .output();
    let Ok(list) = list else {
        eprintln!("skipped: the program ffmpeg is not here");
        return None;
    };
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    let has = |name: &str| {
        list.lines()
            .any(|line| line.split_whitespace().nth(1) == Some(name))
    };
    if let Some(missing) = encoders.iter().find(|name| !has(name)) {
        eprintln!("skipped: ffmpeg has no encoder {missing}");
        return None;
    }
    Some(Maker(tempfile::tempdir().expect("a temporary folder")))
}

/// Makes files.
pub struct Maker(pub tempfile::TempDir);

impl Maker {
    /// The path of a file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs ffmpeg with `arguments`, split at spaces, and the output `name`. `DIR/` is the folder.
    pub fn make(&self, arguments: &str, name: &str) -> PathBuf {
        let (folder, path) = (self.0.path().display(), self.path(name));
        let arguments = arguments.replace("DIR/", &format!("{folder}/"));
        let done = Command::new("ffmpeg")
            .args(["-v", "error", "-y", "-nostdin"])
            .args(arguments.split_whitespace())
            .arg(&path)
            .output()
            .expect("ffmpeg starts");
        let words = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{arguments}: {words}");
        path
    }
}
