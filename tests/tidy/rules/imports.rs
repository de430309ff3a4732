//! Packages, and the modules of a package that has a table for them, import what ARCHITECTURE.md
//! allows: no more, and no less.

use std::collections::BTreeSet;
use std::path::Path;

use crate::{assert_breaches, assert_none};
use x2i_tidy::graph::{Graph, Reason};
use x2i_tidy::house::{EVERY_KIND, House, Kind, Package};
use x2i_tidy::modules::source_files;
use x2i_tidy::page::{self, Imports};

fn breaches(house: &House) -> Vec<String> {
    let page = house.page();
    let mut breaches = package_breaches(house, page);
    for name in page::packages_with_modules(page) {
        breaches.extend(module_breaches(house, house.package(&name), page));
    }
    breaches
}

fn package_breaches(house: &House, page: &str) -> Vec<String> {
    let mut breaches = vec![];
    let mut imports = Imports::new();
    for package in &house.packages {
        let graph = Graph::of(house, package, &EVERY_KIND);
        let targets = imports.entry(package.name.clone()).or_default();
        for (file, edges) in &graph.packages {
            for (to, reasons) in edges {
                let places = targets.entry(to.clone()).or_default();
                places.extend(written(file, reasons));
            }
        }
        for to in &package.dependencies {
            let manifest = package.folder.join("Cargo.toml");
            let manifest = manifest.display();
            if !targets.contains_key(to) {
                breaches.push(format!("{manifest}: no code names the dependency `{to}`"));
            }
            let places = targets.entry(to.clone()).or_default();
            places.push(format!("{manifest}: {to}"));
        }
    }
    let members = imports.keys().cloned().collect();
    breaches.extend(page::breaches(
        &page::table(page, "crate"),
        &imports,
        &members,
    ));
    breaches
}

fn module_breaches(house: &House, package: &Package, page: &str) -> Vec<String> {
    let library = package
        .library()
        .expect("modules of a library have a table");
    let folder = library.root.parent().expect("a file's folder");
    let module = |file: &Path| -> Option<String> {
        let inside = file.strip_prefix(folder).ok()?;
        let first = Path::new(inside.iter().next()?).file_stem()?;
        Some(first.to_string_lossy().into_owned())
    };
    let mut imports = Imports::new();
    let graph = Graph::of(house, package, &[Kind::Library]);
    for (file, edges) in &graph.files {
        for (to, reasons) in edges {
            let (Some(from), Some(to)) = (module(file), module(to)) else {
                continue;
            };
            if from != to {
                let targets = imports.entry(from).or_default();
                targets
                    .entry(to)
                    .or_default()
                    .extend(written(file, reasons));
            }
        }
    }
    let files = source_files(house, |other| other.name == package.name);
    let members = files.iter().filter_map(|file| module(file));
    let mut members: BTreeSet<String> = members.collect();
    // The root gathers the modules; it has a row only where its own code imports.
    if let Some(root) = module(&library.root)
        && !imports.contains_key(&root)
    {
        members.remove(&root);
    }
    let head = format!("module of `{}`", package.name);
    page::breaches(&page::table(page, &head), &imports, &members)
}

fn written(file: &Path, reasons: &[Reason]) -> Vec<String> {
    let one = |reason: &Reason| format!("{}:{}: {}", file.display(), reason.line, reason.path);
    reasons.iter().map(one).collect()
}

#[test]
fn imports_are_those_that_the_architecture_allows() {
    assert_none(breaches(&House::here()));
}

/// Two packages; `b` has modules `x`, which imports `y`, and `y`.
fn small_house(page: &str) -> House {
    let mut house = House::of(&[
        ("ARCHITECTURE.md", page),
        ("a/src/lib.rs", "pub struct A;"),
        ("b/src/lib.rs", "mod x; mod y; pub use x::X;"),
        ("b/src/x.rs", "use crate::y::Y; pub struct X(Y, a::A);"),
        ("b/src/y.rs", "pub struct Y;"),
    ]);
    house.packages[1].dependencies.push("a".to_owned());
    house
}

/// A page whose tables have these rows.
fn page_of(crates: &[&str], modules: &[&str]) -> String {
    let crates = crates.join("\n");
    let modules = modules.join("\n");
    format!(
        "# Page\n\n| crate | may import |\n|---|---|\n{crates}\n\nText.\n\n\
         | module of `b` | may import |\n|---|---|\n{modules}\n"
    )
}

#[test]
fn a_page_that_says_what_is_imported_has_no_breach() {
    let page = page_of(
        &["| `a` | nothing |", "| `b` | `a` |"],
        &["| `x` | `y` |", "| `y` | nothing |"],
    );
    assert_none(breaches(&small_house(&page)));
}

#[test]
fn a_page_that_says_something_else_is_found() {
    let page = page_of(
        &["| `b` | nothing |", "| `c` | nothing |"],
        &["| `x` | nothing |", "| `y` | `x` |"],
    );
    assert_breaches(
        breaches(&small_house(&page)),
        &[
            "`a` has no row",
            "`c` has a row and does not exist",
            "`b` may not import `a`\n    b/src/x.rs:1: a::A\n    b/Cargo.toml: a",
            "`x` may not import `y`\n    b/src/x.rs:1: crate::y::Y",
            "`y` may import `x` and does not",
        ],
    );
}

#[test]
fn a_dependency_that_no_code_names_is_found() {
    let page = page_of(
        &[
            "| `a` | nothing |",
            "| `b` | `a`, `c` |",
            "| `c` | nothing |",
        ],
        &["| `x` | `y` |", "| `y` | nothing |"],
    );
    let mut house = small_house(&page);
    house.packages[1].dependencies.push("c".to_owned());
    assert_breaches(
        breaches(&house),
        &[
            "b/Cargo.toml: no code names the dependency `c`",
            "`c` has a row and does not exist",
        ],
    );
}
