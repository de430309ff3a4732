//! core names no command-line flag, in no string and in no doc: a surface has its own words.

use crate::{assert_breaches, assert_none};
use x2i_tidy::house::{House, Package};
use x2i_tidy::modules::source_files;

fn breaches(house: &House, is_wanted: impl Fn(&Package) -> bool) -> Vec<String> {
    let mut breaches = vec![];
    for path in source_files(house, is_wanted) {
        let source = house.source(&path);
        for token in source.tokens() {
            if token.text.contains('"')
                && let Some(flag) = flag(&token.text)
            {
                breaches.push(format!("{}: {flag}", source.at(token.line)));
            }
        }
    }
    breaches
}

/// The first `--word` of a text.
fn flag(text: &str) -> Option<&str> {
    let (start, _) = text.match_indices("--").find(|&(start, _)| {
        let before = text[..start].chars().next_back();
        let is_start = before.is_none_or(|c| c != '-' && !c.is_alphanumeric());
        is_start && text[start + 2..].starts_with(|c: char| c.is_ascii_lowercase())
    })?;
    let is_inside = |c: char| c == '-' || c.is_ascii_alphanumeric();
    text[start..].split(|c| !is_inside(c)).next()
}

#[test]
fn core_names_no_flag() {
    assert_none(breaches(&House::here(), |package| {
        package.name == "x2i-core"
    }));
}

#[test]
fn a_flag_is_found() {
    let text = "//! As `--device` names it.
        /// One -- two --- three---four, `a--b`, --Four.
        fn f() { error(\"--size width\"); g(r#\"give --max-memory\"#) } // not --here
        #[cfg(test)]
        mod tests { const FLAG: &str = \"--flag\"; }";
    let house = House::of(&[("a/src/lib.rs", text)]);
    assert_breaches(
        breaches(&house, |_| true),
        &[
            "lib.rs:1: --device",
            "lib.rs:3: --size",
            "lib.rs:3: --max-memory",
        ],
    );
}
