//! No circle of files inside a package.

use crate::{assert_breaches, assert_none};
use x2i_tidy::circles::circles;
use x2i_tidy::graph::Graph;
use x2i_tidy::house::{EVERY_KIND, House};

fn breaches(house: &House) -> Vec<String> {
    let graphs = house
        .packages
        .iter()
        .map(|package| Graph::of(house, package, &EVERY_KIND));
    graphs.flat_map(|graph| describe(&graph)).collect()
}

/// Each circle with the lines that close it.
fn describe(graph: &Graph) -> Vec<String> {
    let edges = graph
        .files
        .iter()
        .map(|(from, targets)| {
            (
                from.as_path(),
                targets.keys().map(|to| to.as_path()).collect(),
            )
        })
        .collect();
    let circles = circles(&edges).into_iter().map(|circle| {
        let mut text = format!("a circle of {} files", circle.len());
        let next = circle.iter().cycle().skip(1);
        for (from, to) in circle.iter().zip(next) {
            text.push_str(&format!("\n  {} names {}", from.display(), to.display()));
            for reason in graph.reasons(from, to) {
                text.push_str(&format!("\n    {}: {}", reason.line, reason.path));
            }
        }
        text
    });
    circles.collect()
}

#[test]
fn no_package_has_a_circle_of_files() {
    assert_none(breaches(&House::here()));
}

/// A package `a` of these files under `a/src`.
fn package_of(files: &[(&str, &str)]) -> House {
    let files: Vec<_> = files
        .iter()
        .map(|(name, text)| (format!("a/src/{name}"), *text))
        .collect();
    let files: Vec<_> = files.iter().map(|(name, text)| (&**name, *text)).collect();
    House::of(&files)
}

fn assert_circles(files: &[(&str, &str)], expected: &[&str]) {
    assert_breaches(breaches(&package_of(files)), expected);
}

/// A parent `p.rs`, whose constant its child names: a circle, if the parent uses the child.
fn assert_uses_child(parent: &str, expected: bool) {
    let parent = format!("mod child; pub const EPS: f32 = 0.0; {parent}");
    let child = "use super::EPS; pub struct Child; pub fn f() { EPS } pub const ONE: u8 = 1;";
    let files = [
        ("lib.rs", "mod p;"),
        ("p.rs", &parent),
        ("p/child.rs", child),
    ];
    let breaches = breaches(&package_of(&files));
    assert_eq!(
        breaches.len(),
        usize::from(expected),
        "{parent}: {breaches:?}"
    );
}

/// A file that `y.rs` imports: a circle, if it uses `y.rs`.
fn assert_uses_y(x: &str, expected: bool) {
    let y = "use crate::x::X; pub trait T {} pub const ONE: u8 = 1; pub fn f(x: X) {}";
    let files = [("lib.rs", "mod x; mod y;"), ("x.rs", x), ("y.rs", y)];
    let breaches = breaches(&package_of(&files));
    assert_eq!(breaches.len(), usize::from(expected), "{x}: {breaches:?}");
}

#[test]
fn a_circle_of_two_is_printed_with_its_lines() {
    assert_circles(
        &[
            ("lib.rs", "mod x; mod y;"),
            ("x.rs", "\nuse crate::y::Y;\npub struct X(Y);"),
            ("y.rs", "pub struct Y;\nfn f() {\n let x = crate::x::X;\n}"),
        ],
        &["a circle of 2 files\n  \
           a/src/x.rs names a/src/y.rs\n    2: crate::y::Y\n  \
           a/src/y.rs names a/src/x.rs\n    3: crate::x::X"],
    );
}

#[test]
fn a_circle_of_three_is_found_and_a_way_to_it_is_not_part_of_it() {
    assert_circles(
        &[
            ("lib.rs", "mod x; mod y; mod z; mod w;"),
            ("w.rs", "use crate::x::X; struct W(X);"),
            ("x.rs", "pub struct X(super::y::Y);"),
            ("y.rs", "use crate::{z::Z as Other}; pub struct Y(Other);"),
            ("z.rs", "pub struct Z; impl Z { fn f(x: &crate::x::X) {} }"),
        ],
        &["a circle of 3 files\n  a/src/x.rs names a/src/y.rs"],
    );
}

#[test]
fn no_circle_where_all_import_to_the_left() {
    let root = "mod x; mod y; mod z; pub use z::Z; pub fn f() -> Z { y::g() }";
    assert_circles(
        &[
            ("lib.rs", root),
            ("x.rs", "pub struct X;"),
            ("y.rs", "use crate::x::X; pub fn g() -> X { X }"),
            ("z.rs", "use crate::{x::X, y::g}; pub struct Z(X);"),
        ],
        &[],
    );
}

#[test]
fn a_parent_may_gather_its_children() {
    assert_uses_child("", false);
    assert_uses_child("pub use child::Child;", false);
    assert_uses_child(
        "pub(crate) use child::Child as Other; pub use child::*;",
        false,
    );
}

#[test]
fn a_parent_that_uses_its_child_is_part_of_a_circle() {
    assert_uses_child("fn g() { child::f() }", true);
    assert_uses_child("use child::Child; struct P(Child);", true);
    assert_uses_child("fn g() { assert!(self::child::f()) }", true);
    // What it shows to others, it may not use.
    assert_uses_child("pub use child::Child; struct P(Child);", true);
    assert_uses_child("pub use child::f; fn g(x: u8) { f() }", true);
    assert_uses_child("pub use child::f; fn g() { assert!(f()) }", true);
    assert_uses_child(
        "pub use child::ONE; fn g(a: u8) { match a { ONE => {} } }",
        true,
    );
}

#[test]
fn a_variable_a_field_or_an_attribute_called_as_an_item_is_no_use() {
    assert_uses_child(
        "pub use child::f; fn g(f: u8) { h(f); assert!(f); S { f }; }",
        false,
    );
    assert_uses_child("pub use child::f; fn g() { x.f(); S { f: 1 }; }", false);
    assert_uses_child("pub use child::f; fn g() { vec![x.f, S { f: 1 }] }", false);
    assert_uses_child("pub use child::f; #[f] fn g() {}", false);
}

#[test]
fn a_path_counts_wherever_it_stands() {
    for x in [
        "pub struct X; fn g() { if a { vec![1, crate::y::f()]; } }",
        "pub struct X; fn g() { use crate::y::f as h; h() }",
        "pub struct X; mod inner { fn g() { super::super::y::f() } }",
        "pub struct X; mod inner { use super::super::*; fn g() { y::f() } }",
        "pub struct X; macro_rules! m { () => { $crate::y::f() } }",
        "pub struct X; const A: fn() = crate::y::f;",
        "pub struct X; fn g<A: crate::y::T>() {}",
        "pub struct X; impl crate::y::T for X {}",
        "pub struct X; fn g(a: u8) { match a { crate::y::ONE => {} } }",
        "pub struct X; fn g() { <u8 as crate::y::T>::h() }",
        "pub struct X; use crate::y; fn g() { y::f() }",
        "pub struct X; use crate::{y::{self as z}}; fn g() { z::f() }",
        "pub struct X; use crate::y::{T as _};",
        "pub struct X; trait U { fn g() { crate::y::f() } }",
    ] {
        assert_uses_y(x, true);
    }
}

#[test]
fn what_names_no_item_draws_no_edge() {
    for x in [
        "//! As [`crate::y::f`].\npub struct X;",
        "pub struct X; use crate::y;",
        "pub struct X; fn g() { h(\"crate::y::f\") }",
        "pub struct X; use foreign::f; fn g() { f(); foreign::y::f(); }",
        "pub struct X; mod inner { mod y { pub fn f() {} } fn g() { self::y::f() } }",
    ] {
        assert_uses_y(x, false);
    }
}

#[test]
fn unit_tests_draw_no_edge() {
    for x in [
        "pub struct X; #[cfg(test)] use crate::y::f;",
        "pub struct X; #[cfg(test)] mod tests { use super::*; fn g() { crate::y::f() } }",
        "pub struct X; #[cfg(test)] mod tests;",
        "pub struct X; #[cfg(all(test, unix))] fn g() { crate::y::f() }",
        "pub struct X; impl X { #[cfg(test)] fn g() { crate::y::f() } }",
    ] {
        assert_uses_y(x, false);
    }
    for x in [
        "pub struct X; #[cfg(not(test))] use crate::y::f;",
        "pub struct X; #[cfg(any(test, unix))] fn g() { crate::y::f() }",
        "pub struct X; impl X { #[cfg(unix)] fn g() { crate::y::f() } }",
    ] {
        assert_uses_y(x, true);
    }
}

#[test]
fn a_re_export_counts_as_the_file_that_defines_the_item() {
    let root = "mod error; mod other; mod inner; pub use error::Error; pub use other::Other;";
    let other = "use crate::{Error, inner::Deep}; pub struct Other(Error, Deep);";
    let files = |deep| {
        [
            ("lib.rs", root),
            ("inner.rs", "mod deep; pub use deep::*;"),
            ("inner/deep.rs", deep),
            ("error.rs", "pub struct Error; pub type Result<T> = T;"),
            ("other.rs", other),
        ]
    };
    assert_circles(&files("pub struct Deep;"), &[]);
    assert_circles(
        &files("pub struct Deep(crate::Other);"),
        &["a/src/other.rs names a/src/inner/deep.rs\n    1: crate::inner::Deep"],
    );
}

#[test]
fn a_glob_counts_for_the_names_that_are_used() {
    let files = |x, y| {
        [
            ("lib.rs", "mod x; mod y; mod z;"),
            ("x.rs", x),
            ("y.rs", y),
            (
                "z.rs",
                "pub struct Two(crate::x::X); pub const ONE: u8 = 1;",
            ),
        ]
    };
    let y = "pub use crate::z::{ONE, Two}; pub struct One;";
    let x = "use crate::y::*; pub struct X; fn f() { One::new(); }";
    assert_circles(&files(x, y), &[]);
    let x = "use crate::y::*; pub struct X; fn f() { Two::new(); }";
    assert_circles(&files(x, y), &["a/src/x.rs names a/src/z.rs\n    1: Two"]);
    let x = "use crate::y::*; pub struct X; fn f(a: u8) { match a { ONE => {} } }";
    assert_circles(&files(x, y), &["a/src/x.rs names a/src/z.rs\n    1: ONE"]);
    // A name from elsewhere hides the glob's.
    let x = "use crate::y::*; pub use foreign::Two; pub struct X; fn f() { Two::new(One); }";
    assert_circles(&files(x, y), &[]);
    // A trait's methods need no name.
    let x = "use crate::y::*; pub struct X; fn f() { 1.method(); }";
    let y = "pub trait T {} use crate::x::X; fn f(x: X) {}";
    assert_circles(
        &files(x, y),
        &["a/src/x.rs names a/src/y.rs\n    1: crate::y::*"],
    );
}

#[test]
fn a_child_with_a_glob_of_its_parent_names_what_the_parent_imports() {
    assert_circles(
        &[
            ("lib.rs", "mod p; mod x;"),
            (
                "p.rs",
                "mod child; use crate::x::X; fn f(x: X) { child::g() }",
            ),
            ("p/child.rs", "use super::*; pub fn g() { X::new() }"),
            ("x.rs", "pub struct X; fn f() { crate::p::child::g() }"),
        ],
        &["a/src/p/child.rs names a/src/x.rs\n    1: X"],
    );
}

#[test]
fn modules_that_show_each_other_end_the_search() {
    let x = "pub use crate::y::*; pub use crate::y::Gone; fn f() { Lost::new(Gone) }";
    let y = "pub use crate::x::*; pub use crate::x::Gone; pub struct Y;";
    assert_circles(
        &[("lib.rs", "mod x; mod y;"), ("x.rs", x), ("y.rs", y)],
        &[],
    );
}

#[test]
fn a_module_and_a_function_of_one_name_are_told_apart() {
    let files = |x| {
        [
            ("lib.rs", "mod x; mod y; mod resize; pub use y::resize;"),
            ("y.rs", "pub fn resize(x: crate::x::X) {}"),
            ("resize.rs", "pub fn windows() {}"),
            ("x.rs", x),
        ]
    };
    assert_circles(
        &files("pub struct X; fn f() { crate::resize::windows(X) }"),
        &[],
    );
    let x = "pub struct X; fn f() { crate::resize(X) }";
    assert_circles(&files(x), &["a/src/x.rs names a/src/y.rs"]);
}

#[test]
fn a_crate_and_an_item_of_one_name_are_told_apart() {
    assert_uses_y("pub struct X; pub use crate::y::f; use f::g;", false);
    assert_uses_child("use ::child::Child; struct P(Child);", false);
}

#[test]
fn a_macro_by_example_counts_as_the_file_that_defines_it() {
    for y in ["crate::m!()", "m!()"] {
        let y = format!("pub struct Y; fn f() {{ {y} }}");
        let x = "#[macro_export] macro_rules! m { () => {} } fn f(y: crate::y::Y) {}";
        assert_circles(
            &[
                ("lib.rs", "#[macro_use] mod x; mod y;"),
                ("x.rs", x),
                ("y.rs", &y),
            ],
            &["a/src/y.rs names a/src/x.rs"],
        );
    }
}

#[test]
fn a_module_with_a_path_of_its_own_is_read() {
    assert_circles(
        &[
            ("lib.rs", "mod x; #[path = \"other/file.rs\"] mod y;"),
            ("x.rs", "use crate::y::Y; pub struct X(Y);"),
            ("other/file.rs", "mod z; pub struct Y(super::x::X);"),
            ("other/z.rs", "use super::Y;"),
        ],
        &["a/src/other/file.rs names a/src/x.rs"],
    );
}

#[test]
fn a_program_names_its_own_library_by_its_name() {
    let house = package_of(&[
        ("lib.rs", "pub mod x;"),
        ("main.rs", "mod y; fn main() { y::f() } pub fn g() {}"),
        ("x.rs", "pub fn f() {}"),
        ("y.rs", "pub fn f() { a::x::f(); crate::g() }"),
    ]);
    assert_breaches(breaches(&house), &["a/src/main.rs names a/src/y.rs"]);
    let graph = Graph::of(&house, house.package("a"), &EVERY_KIND);
    let reasons = graph.reasons("a/src/y.rs".as_ref(), "a/src/x.rs".as_ref());
    assert_eq!(reasons.len(), 1);
}
