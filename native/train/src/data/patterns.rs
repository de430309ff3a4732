//! Names of shards as WebDataset writes them: several joined by `::`, braces, and wildcards.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use x2i_core::{Error, Result};
use x2i_engine::files::io_error;

use super::file::is_url;

/// The most names that a pattern may stand for.
const MOST: usize = 100_000;

/// The names of a list of patterns, sorted, each once.
///
/// # Errors
/// [`Error::Config`] for a pattern that can't be read or asks for a program, [`Error::MissingFile`] for a
/// wildcard that matches nothing.
pub(super) fn expand(patterns: &str) -> Result<Vec<String>> {
    let mut names = BTreeSet::new();
    for pattern in patterns.split("::") {
        let pattern = pattern.trim();
        if pattern.is_empty() {
            return Err(Error::config(
                patterns,
                "has an empty name; join names by `::`",
            ));
        }
        if pattern.starts_with("pipe:") {
            let reason = "asks for a program; x2i runs none, save its output to a file";
            return Err(Error::config(pattern, reason));
        }
        let mut braced = vec![];
        braces(pattern, &mut braced).map_err(|reason| Error::config(pattern, reason))?;
        for name in braced {
            match is_url(&name) || !name.contains(['*', '?']) {
                true => {
                    names.insert(name);
                }
                false => names.extend(wildcards(&name)?),
            }
            if names.len() > MOST {
                return Err(Error::config(
                    pattern,
                    format!("stands for more than {MOST} names"),
                ));
            }
        }
    }
    Ok(names.into_iter().collect())
}

/// Writes out the first pair of braces, and the rest by itself: `{000..123}` or `{a,b}`.
fn braces(pattern: &str, names: &mut Vec<String>) -> Result<(), String> {
    let Some(open) = pattern.find('{') else {
        names.push(pattern.to_owned());
        return match names.len() <= MOST {
            true => Ok(()),
            false => Err(format!("stands for more than {MOST} names")),
        };
    };
    let (before, rest) = (&pattern[..open], &pattern[open + 1..]);
    let Some(close) = rest.find('}').filter(|close| !rest[..*close].contains('{')) else {
        return Err("has a brace without its end, or braces in braces".into());
    };
    let (inside, after) = (&rest[..close], &rest[close + 1..]);
    let mut one = |middle: &str| braces(&format!("{before}{middle}{after}"), names);
    match inside.split_once("..") {
        Some((first, last)) => {
            let number = |text: &str| text.parse::<u64>().ok().filter(|_| text.len() <= 18);
            let (Some(from), Some(to)) = (number(first), number(last)) else {
                return Err(format!("`{{{inside}}}` is no range of numbers"));
            };
            if to < from || to - from >= MOST as u64 {
                return Err(format!(
                    "`{{{inside}}}` must go upwards, and stand for at most {MOST} names"
                ));
            }
            // Numbers are as wide as those written with zeros in front.
            let padded = [first, last]
                .into_iter()
                .filter(|text| text.starts_with('0'));
            let width = padded.map(str::len).max().unwrap_or(0);
            (from..=to).try_for_each(|number| one(&format!("{number:0width$}")))
        }
        None => inside.split(',').try_for_each(one),
    }
}

/// The files that a path with `*` and `?` stands for; a star stays within one folder's name.
fn wildcards(pattern: &str) -> Result<Vec<String>> {
    let absolute = pattern.starts_with('/');
    let mut found = vec![PathBuf::from(if absolute { "/" } else { "" })];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let mut next = vec![];
        for folder in found {
            if !part.contains(['*', '?']) {
                next.push(folder.join(part));
                continue;
            }
            let listed = match folder == Path::new("") {
                true => Path::new("."),
                false => &folder,
            };
            if !listed.is_dir() {
                continue;
            }
            let name = listed.display().to_string();
            let entries = fs::read_dir(listed).map_err(|error| io_error(&name, error))?;
            for entry in entries {
                let entry = entry.map_err(|error| io_error(&name, error))?;
                let name = entry.file_name();
                let fits = name.to_str().is_some_and(|name| {
                    (!name.starts_with('.') || part.starts_with('.')) && fits(part, name)
                });
                if fits {
                    next.push(folder.join(name));
                }
            }
        }
        found = next;
    }
    let files = found.into_iter().filter(|path| path.is_file());
    let files: Vec<String> = files
        .filter_map(|path| path.into_os_string().into_string().ok())
        .collect();
    match files.is_empty() {
        true => Err(Error::MissingFile {
            file: pattern.to_owned(),
        }),
        false => Ok(files),
    }
}

/// Whether a name fits a pattern: `*` is any text, `?` one character.
fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut in_name) = (0, 0);
    // Where the last star stands, and what it has taken so far.
    let mut star: Option<(usize, usize)> = None;
    while in_name < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, in_name));
                at += 1;
            }
            Some(&wanted) if wanted == '?' || wanted == name[in_name] => {
                at += 1;
                in_name += 1;
            }
            _ => match &mut star {
                Some((place, taken)) => {
                    *taken += 1;
                    (at, in_name) = (*place + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|&left| left == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pattern: &str) -> Vec<String> {
        expand(pattern).unwrap()
    }

    #[test]
    fn braces_and_lists_are_written_out_sorted_and_once() {
        assert_eq!(
            names("a-{008..011}.tar"),
            ["a-008.tar", "a-009.tar", "a-010.tar", "a-011.tar"]
        );
        assert_eq!(names("{9..11}.tar").len(), 3);
        assert_eq!(
            names("{b,a}/{0..1}.tar"),
            ["a/0.tar", "a/1.tar", "b/0.tar", "b/1.tar"]
        );
        assert_eq!(names("b.tar::a.tar::b.tar"), ["a.tar", "b.tar"]);
        assert_eq!(names("https://h/x-{0..1}.tar?y=*").len(), 2);
    }

    #[test]
    fn what_can_not_be_written_out_is_refused() {
        for (pattern, message) in [
            ("pipe:cat x", "pipe:cat x: asks for a program"),
            ("a::pipe:rm -rf", "asks for a program"),
            ("a{0..9999999}.tar", "at most 100000 names"),
            ("{0..999}{0..999}.tar", "more than 100000 names"),
            ("{3..1}", "must go upwards"),
            ("{a..c}", "no range of numbers"),
            ("a{b", "a brace without its end"),
            ("a::", "has an empty name"),
            ("", "has an empty name"),
            ("no-such-*.tar", "no-such-*.tar: file not found"),
        ] {
            let error = expand(pattern).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn wildcards_stay_within_a_name() {
        for (pattern, name, expected) in [
            ("*.tar", "a.tar", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b", false),
            ("?.tar", "a.tar", true),
            ("?.tar", ".tar", false),
            ("*", "", true),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
        let folder = tempfile::tempdir().unwrap();
        for name in ["x-1.tar", "x-0.tar", "y.tar", ".x-2.tar"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let found = names(&format!("{}/x-*.tar", folder.path().display()));
        let ends: Vec<&str> = found
            .iter()
            .filter_map(|path| path.rsplit('/').next())
            .collect();
        assert_eq!(ends, ["x-0.tar", "x-1.tar"]);
    }
}
