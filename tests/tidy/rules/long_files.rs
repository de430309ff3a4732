//! No file holds two ideas: a long one does.

use crate::{assert_breaches, assert_none};
use x2i_tidy::house::House;

/// A file this long is two ideas.
const MOST_LINES: usize = 600;

fn breaches(house: &House) -> Vec<String> {
    let long = house.rust_files().filter_map(|(path, text)| {
        let lines = text.lines().count();
        let path = path.display();
        (lines > MOST_LINES).then(|| format!("{path}: {lines} lines, at most {MOST_LINES}"))
    });
    long.collect()
}

#[test]
fn no_file_holds_two_ideas() {
    assert_none(breaches(&House::here()));
}

#[test]
fn a_long_file_is_found() {
    let most = "//\n".repeat(MOST_LINES);
    let long = "//\n".repeat(MOST_LINES + 1);
    let house = House::of(&[("a/src/lib.rs", &most), ("a/src/long.rs", &long)]);
    assert_breaches(breaches(&house), &["a/src/long.rs: 601 lines"]);
}
