//! Libraries do not unwrap and do not print. A package with a program may: it talks to a terminal.

use crate::{assert_breaches, assert_none};
use x2i_tidy::house::{House, Kind, Package};
use x2i_tidy::modules::source_files;

/// Macros that print, or that stand for code which is missing.
const MACROS: [&str; 7] = [
    "print",
    "println",
    "eprint",
    "eprintln",
    "dbg",
    "todo",
    "unimplemented",
];

fn breaches(house: &House) -> Vec<String> {
    let mut breaches = vec![];
    for path in source_files(house, is_library) {
        let source = house.source(&path);
        let tokens = source.tokens();
        let text = |index: usize| tokens.get(index).map_or("", |token| token.text.as_str());
        for (index, token) in tokens.iter().enumerate() {
            let found = match text(index) {
                "." if [1, 2, 3].map(|next| text(index + next)) == ["unwrap", "(", ")"] => {
                    ".unwrap()".to_owned()
                }
                name if text(index + 1) == "!" && MACROS.contains(&name) => format!("{name}!"),
                _ => continue,
            };
            breaches.push(format!("{}: {found}", source.at(token.line)));
        }
    }
    breaches
}

fn is_library(package: &Package) -> bool {
    let has = |kind| package.targets.iter().any(|target| target.kind == kind);
    has(Kind::Library) && !has(Kind::Program)
}

#[test]
fn libraries_neither_unwrap_nor_print() {
    assert_none(breaches(&House::here()));
}

#[test]
fn a_library_that_unwraps_or_prints_is_found() {
    let text = "fn f() {
        Some(1).unwrap();
        assert!(g(Some(1).unwrap()));
        println!();
        // todo!()
        let s = \"dbg!()\";
    }
    #[cfg(test)]
    mod tests {
        fn f() { Some(1).unwrap(); }
    }";
    let program = "fn main() { println!() }";
    let house = House::of(&[
        ("a/src/lib.rs", text),
        ("b/src/lib.rs", text),
        ("b/src/main.rs", program),
    ]);
    assert_breaches(
        breaches(&house),
        &[
            "a/src/lib.rs:2: .unwrap()",
            "a/src/lib.rs:3: .unwrap()",
            "a/src/lib.rs:4: println!",
        ],
    );
}
