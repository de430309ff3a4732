//! Where a file that an image's record names may lie.
//!
//! A record may come from a stranger, and naming a file is a way to have it opened. Without trust, a
//! record reaches the folder of its image and the current one; a path that leads elsewhere is not even
//! looked at, since on some systems that alone asks another machine.

use std::path::{Component, Path, PathBuf};

/// Which files a record may name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Trust {
    /// Those in the image's folder and in the current one, and below.
    #[default]
    Folders,
    /// Any.
    Anything,
}

/// The path of a recorded file.
pub(crate) enum Place {
    /// It may be opened.
    Open(PathBuf),
    /// It lies elsewhere.
    Outside,
}

/// Finds a file at its recorded path, seen from the current folder, or else from `folder`.
pub(crate) fn find(file: &str, folder: &Path, trust: Trust) -> Place {
    let here = PathBuf::from(file);
    let there = folder.join(file);
    if trust == Trust::Anything {
        return Place::Open(if here.exists() { here } else { there });
    }
    let roots = roots(folder);
    let mut missing = None;
    for path in [here, there] {
        if !is_below(&straight(&path), &roots) {
            continue;
        }
        match path.canonicalize() {
            Ok(real) if is_below(&real, &roots) => return Place::Open(path),
            Ok(_) => return Place::Outside, // a link leads there
            Err(_) => missing = Some(path),
        }
    }
    missing.map_or(Place::Outside, Place::Open)
}

/// The folders, as they are written and as links lead to them.
fn roots(folder: &Path) -> Vec<PathBuf> {
    let folders = [Path::new("."), folder];
    let real = folders.iter().filter_map(|path| path.canonicalize().ok());
    let written = folders.iter().map(|path| straight(path));
    real.chain(written).collect()
}

fn is_below(path: &Path, roots: &[PathBuf]) -> bool {
    roots.iter().any(|root| path.starts_with(root))
}

/// The absolute path without `.` and `..`, found without looking at the disk.
fn straight(path: &Path) -> PathBuf {
    let mut straight = PathBuf::new();
    for part in std::path::absolute(path).unwrap_or_default().components() {
        match part {
            Component::ParentDir => {
                straight.pop();
            }
            Component::CurDir => {}
            part => straight.push(part),
        }
    }
    straight
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_open(file: &str, folder: &Path, trust: Trust) -> bool {
        matches!(find(file, folder, trust), Place::Open(_))
    }

    #[test]
    fn a_record_reaches_its_own_folder_and_the_current_one() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("pictures");
        std::fs::create_dir(&folder).unwrap();
        for file in [folder.join("a.png"), outer.path().join("b.png")] {
            std::fs::write(file, "").unwrap();
        }
        let full = |path: PathBuf| path.display().to_string();
        for inside in ["a.png", "./x/../a.png", "none.png", "Cargo.toml"] {
            assert!(is_open(inside, &folder, Trust::Folders), "{inside}");
        }
        assert!(is_open(
            &full(folder.join("a.png")),
            &folder,
            Trust::Folders
        ));
        let outside = full(outer.path().join("b.png"));
        for file in ["../b.png", "x/../../b.png", &outside, "/dev/zero", ""] {
            let is_dot = file.is_empty();
            assert_eq!(is_open(file, &folder, Trust::Folders), is_dot, "{file}");
            assert!(is_open(file, &folder, Trust::Anything), "{file}");
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_link_out_of_the_folder_is_outside() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("pictures");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(outer.path().join("b.png"), "").unwrap();
        std::os::unix::fs::symlink("../b.png", folder.join("link.png")).unwrap();
        assert!(!is_open("link.png", &folder, Trust::Folders));
        assert!(is_open("link.png", &folder, Trust::Anything));
    }
}
