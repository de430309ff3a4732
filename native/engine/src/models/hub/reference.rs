//! How a user names a repository of the Hub: `hf:OWNER/NAME[@REVISION][:FILE]`, also without `hf:`.

use std::fmt;
use std::str::FromStr;

use x2i_core::Error;

/// The longest name of an owner or a repository; the Hub allows 96 characters.
const LONGEST: usize = 96;

/// A repository, one revision of it, and which files of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    owner: String,
    name: String,
    revision: Option<String>,
    pattern: Option<String>,
}

impl Reference {
    /// `OWNER/NAME`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    /// The branch, tag or commit that was named; `None` for the branch `main`.
    pub fn revision(&self) -> Option<&str> {
        self.revision.as_deref()
    }

    /// The file that was named, or a pattern of files with `*` and `?`.
    pub fn pattern(&self) -> Option<&str> {
        self.pattern.as_deref()
    }

    /// The name of its folder in the cache.
    pub(super) fn folder(&self) -> String {
        format!("models--{}--{}", self.owner, self.name)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hf:{}/{}", self.owner, self.name)?;
        match &self.revision {
            Some(revision) => write!(f, "@{revision}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refused = |reason: &str| Error::config(text, format!("{reason}; give OWNER/NAME"));
        let rest = text.strip_prefix("hf:").unwrap_or(text);
        let (rest, pattern) = match rest.split_once(':') {
            Some((rest, pattern)) => (rest, Some(pattern)),
            None => (rest, None),
        };
        let (rest, revision) = match rest.split_once('@') {
            Some((rest, revision)) => (rest, Some(revision)),
            None => (rest, None),
        };
        let (owner, name) = rest
            .split_once('/')
            .ok_or_else(|| refused("is no repository of the Hub"))?;
        if !is_name(owner) || !is_name(name) {
            return Err(refused("is no repository of the Hub"));
        }
        if revision.is_some_and(|revision| !is_revision(revision)) {
            return Err(refused("has a revision that is no branch, tag or commit"));
        }
        if pattern == Some("") {
            return Err(refused("names no file after the colon"));
        }
        Ok(Self {
            owner: owner.to_owned(),
            name: name.to_owned(),
            revision: revision.map(str::to_owned),
            pattern: pattern.map(str::to_owned),
        })
    }
}

/// Whether it may be an owner or a name: the Hub's rules, which also keep it one part of a path.
pub(super) fn is_name(part: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=LONGEST).contains(&part.len())
        && part.bytes().all(plain)
        && !part.starts_with(['.', '-'])
        && !part.contains("--")
        && !part.contains("..")
}

/// Whether it may be a branch, a tag or a commit (`main`, `refs/pr/1`).
fn is_revision(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    let part = |part: &str| !part.is_empty() && !part.starts_with('.');
    text.len() <= 255
        && text.bytes().all(plain)
        && !text.contains("..")
        && text.split('/').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_named_with_and_without_its_parts() {
        let read = |text: &str| text.parse::<Reference>().unwrap();
        let plain = read("OPPOer/X2I");
        assert_eq!(plain.repository(), "OPPOer/X2I");
        assert_eq!((plain.revision(), plain.pattern()), (None, None));
        assert_eq!(read("hf:OPPOer/X2I"), plain);
        let whole = read("hf:a/b.c@refs/pr/1:sub/*.gguf");
        assert_eq!(whole.repository(), "a/b.c");
        assert_eq!(whole.revision(), Some("refs/pr/1"));
        assert_eq!(whole.pattern(), Some("sub/*.gguf"));
        assert_eq!(whole.to_string(), "hf:a/b.c@refs/pr/1");
        assert_eq!(whole.folder(), "models--a--b.c");
    }

    #[test]
    fn what_could_leave_the_cache_is_no_repository() {
        let long = format!("a/{}", "b".repeat(97));
        for text in [
            "",
            "a",
            "a/",
            "/b",
            "a/b/c",
            "../b",
            "a/..",
            "a/.b",
            "a/b--c",
            "a\\b/c",
            "a/b c",
            "a/b@",
            "a/b@../x",
            "a/b@x/../y",
            "a/b@/x",
            "a/b:",
            "a/b\n",
            "a/b@x\n",
            "-a/b",
            &long,
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text:?}");
        }
    }
}
