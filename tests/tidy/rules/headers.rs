//! Every file says what it is: a `//!` header, in tests and build scripts too.

use syn::AttrStyle;

use crate::{assert_breaches, assert_none};
use x2i_tidy::house::House;

fn breaches(house: &House) -> Vec<String> {
    let bare = house.rust_files().filter(|(path, _)| {
        let source = house.source(path);
        !source.syntax.attrs.iter().any(|attribute| {
            attribute.path().is_ident("doc") && matches!(attribute.style, AttrStyle::Inner(_))
        })
    });
    bare.map(|(path, _)| format!("{}: has no //! header", path.display()))
        .collect()
}

#[test]
fn every_file_says_what_it_is() {
    assert_none(breaches(&House::here()));
}

#[test]
fn a_bare_file_is_found() {
    let house = House::of(&[
        ("a/src/lib.rs", "//! What it is.\n"),
        ("a/src/bare.rs", "/// An item's.\nfn f() {}\n"),
    ]);
    assert_breaches(breaches(&house), &["a/src/bare.rs"]);
}
