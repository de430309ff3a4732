//! Names that a server gives: which may become names on this disk.

use std::path::Path;

/// The longest path of a file inside a repository, and the longest part of one.
const LONGEST: (usize, usize) = (1024, 255);

/// Whether a file's path stays inside of its folder on every system, and is one that a system takes.
pub(super) fn is_path(path: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && part.len() <= LONGEST.1
            && part != "."
            && part != ".."
            && !part.ends_with(['.', ' '])
            && !part
                .chars()
                .any(|c| c.is_control() || "\\:*?\"<>|".contains(c))
    };
    path.len() <= LONGEST.0 && path.split('/').all(part) && Path::new(path).is_relative()
}

/// Whether an etag may name a blob.
pub(super) fn is_etag(etag: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    (1..=128).contains(&etag.len()) && etag.bytes().all(plain)
}

/// Whether it is the name of a commit.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && is_hex(text)
}

/// Whether all of it are lower-case hexadecimal digits.
pub(super) fn is_hex(text: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.bytes().all(digit)
}

/// An etag without its quotes and the mark of a weak one.
pub(super) fn plain_etag(etag: &str) -> &str {
    let etag = etag.trim();
    etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_inside_of_its_folder() {
        for path in ["a.json", "a/b/c.gguf", "..a", "猫.json", ".gitattributes"] {
            assert!(is_path(path), "{path}");
        }
        let long = "a".repeat(256);
        for path in [
            "", "/a", "a/", "a//b", "../a", "a/../b", "a/..", "./a", "C:/a", "C:a", "a\\..\\b",
            "a\0", "a\n", "a.", "a /b", "a?", "\u{9b}", &long,
        ] {
            assert!(!is_path(path), "{path:?}");
        }
    }

    #[test]
    fn an_etag_is_one_plain_name() {
        assert_eq!(plain_etag("W/\"abc-1\""), "abc-1");
        assert!(is_etag("abc-1") && is_etag(&"a".repeat(64)));
        for etag in ["", "..", "a/b", "a.b", "a b", &"a".repeat(129)] {
            assert!(!is_etag(etag), "{etag:?}");
        }
    }
}
