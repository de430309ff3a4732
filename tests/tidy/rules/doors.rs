//! core has no door to the outside: no file, network, environment, process, thread or clock, and
//! nothing that depends on the target's architecture.

use crate::{assert_breaches, assert_none};
use x2i_tidy::house::{House, Kind, Package};
use x2i_tidy::modules::Modules;

/// Modules of `std`.
const MODULES: [&str; 6] = ["arch", "env", "fs", "net", "process", "thread"];
/// Names, wherever they stand.
const NAMES: [&str; 3] = ["Instant", "SystemTime", "target_arch"];

fn breaches(house: &House, package: &Package) -> Vec<String> {
    let mut breaches = vec![];
    let modules = Modules::of(house, package, &[Kind::Library]);
    for module in modules.all() {
        let imports = module.imports.iter().map(|import| &import.path);
        for path in module.paths.iter().chain(imports) {
            if let [first, second, ..] = &path.parts[..]
                && first == "std"
                && MODULES.contains(&second.as_str())
            {
                let file = module.file.display();
                breaches.push(format!("{file}:{}: {}", path.line, path.parts.join("::")));
            }
        }
    }
    for file in modules.files() {
        let source = house.source(file);
        for token in source.tokens() {
            if NAMES.contains(&token.text.as_str()) {
                breaches.push(format!("{}: {}", source.at(token.line), token.text));
            }
        }
    }
    breaches
}

#[test]
fn core_has_no_door_to_the_outside() {
    let house = House::here();
    assert_none(breaches(&house, house.package("x2i-core")));
}

#[test]
fn a_door_is_found() {
    let text = "use std::{fmt, fs::File};
        fn f() { std::env::var(\"fs\"); }
        use std::time::{Duration, Instant};
        #[cfg(target_arch = \"x86_64\")]
        fn g() {}
        #[cfg(test)]
        mod tests { use std::fs; }";
    let house = House::of(&[("a/src/lib.rs", text)]);
    assert_breaches(
        breaches(&house, house.package("a")),
        &[
            "lib.rs:2: std::env::var",
            "lib.rs:1: std::fs::File",
            "lib.rs:3: Instant",
            "lib.rs:4: target_arch",
        ],
    );
}
