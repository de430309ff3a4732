//! Paths as users write them: `~`, and Hugging Face's cache.
//!
//! Where a path names the folder of a cached repository, its snapshot is meant. A path that is not there
//! and begins with `OWNER/NAME` is looked for in the cache of this user.

use std::path::{Component, Path, PathBuf};

use super::cache::{Cache, home, snapshot};
use super::reference::Reference;

/// The place on disk of a path that is relative to `root`, absolute, or in the user's home.
pub(crate) fn resolve(root: &Path, path: &str) -> PathBuf {
    let written = match path.strip_prefix("~/").zip(home()) {
        Some((rest, home)) => home.join(rest),
        None if path == "~" => home().unwrap_or_else(|| path.into()),
        None => root.join(path),
    };
    match in_snapshot(&written) {
        Some(found) => found,
        None if written.exists() => written,
        None => cached(path).unwrap_or(written),
    }
}

/// The same path through the snapshots of the repositories on its way; `None` where there is none.
fn in_snapshot(path: &Path) -> Option<PathBuf> {
    let mut components = path.components().peekable();
    let (mut found, mut changed) = (PathBuf::new(), false);
    while let Some(component) = components.next() {
        found.push(component);
        let inside = matches!(components.peek(), Some(Component::Normal(next))
            if ["snapshots", "refs", "blobs"].iter().any(|own| next == own));
        if let (Component::Normal(_), false) = (component, inside)
            && let Some(snapshot) = snapshot(&found)
        {
            (found, changed) = (snapshot, true);
        }
    }
    changed.then_some(found)
}

/// A path below `OWNER/NAME`, or `OWNER/NAME@REVISION` alone, in the user's cache.
pub(crate) fn cached(path: &str) -> Option<PathBuf> {
    let cache = Cache::of_user()?;
    if let Ok(reference) = path.parse::<Reference>() {
        return cache.find(&reference);
    }
    let mut parts = path.splitn(3, '/');
    let repository = format!("{}/{}", parts.next()?, parts.next()?);
    let snapshot = cache.find(&repository.parse().ok()?)?;
    Some(snapshot.join(parts.next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    type TestResult = std::result::Result<(), Box<dyn std::error::Error>>;

    /// A cached repository with two revisions, of which `main` is one.
    fn repository(root: &Path) -> std::io::Result<PathBuf> {
        let repository = root.join("models--Qwen--Qwen2.5-VL-3B-Instruct");
        for revision in ["aaa", "bbb"] {
            let snapshot = repository.join("snapshots").join(revision);
            fs::create_dir_all(&snapshot)?;
            fs::write(snapshot.join("config.json"), revision)?;
        }
        fs::create_dir_all(repository.join("refs"))?;
        fs::write(repository.join("refs/main"), "aaa\n")?;
        Ok(repository)
    }

    #[test]
    fn a_cached_repository_stands_for_its_main_revision() -> TestResult {
        let root = tempfile::tempdir()?;
        let repository = repository(root.path())?;
        let read = |path: &str| fs::read_to_string(resolve(root.path(), path));
        let name = "models--Qwen--Qwen2.5-VL-3B-Instruct";
        assert_eq!(read(&format!("{name}/config.json"))?, "aaa");
        assert_eq!(read(&format!("{name}/snapshots/bbb/config.json"))?, "bbb");
        let absolute = repository.join("config.json");
        assert_eq!(read(absolute.to_str().ok_or("UTF-8")?)?, "aaa");
        // Without the reference the only revision is meant.
        fs::remove_dir_all(repository.join("refs"))?;
        fs::remove_dir_all(repository.join("snapshots/aaa"))?;
        assert_eq!(read(&format!("{name}/config.json"))?, "bbb");
        Ok(())
    }

    #[test]
    fn other_paths_stay_as_they_are() -> TestResult {
        let root = tempfile::tempdir()?;
        for path in [
            "config.json",
            "../x/y.gguf",
            "mllm/model.gguf",
            "models--a--b/c.json",
        ] {
            assert_eq!(resolve(root.path(), path), root.path().join(path));
        }
        assert_eq!(resolve(root.path(), "/abs/x"), Path::new("/abs/x"));
        let home = home().ok_or("a home")?;
        assert_eq!(resolve(root.path(), "~/m/x.gguf"), home.join("m/x.gguf"));
        Ok(())
    }
}
