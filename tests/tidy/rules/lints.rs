//! Every lint that is allowed, or expected to warn, has a reason.

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::Visit;
use syn::{Attribute, Meta};

use crate::{assert_breaches, assert_none};
use x2i_tidy::house::House;

fn breaches(house: &House) -> Vec<String> {
    let mut breaches = vec![];
    for (path, _) in house.rust_files() {
        let source = house.source(path);
        let mut bare = Bare(vec![]);
        bare.visit_file(&source.syntax);
        let lines = bare.0.into_iter();
        breaches.extend(lines.map(|line| format!("{}: allow without a reason", source.at(line))));
    }
    breaches
}

/// Lines of lints that are allowed without a reason.
struct Bare(Vec<usize>);

impl Bare {
    fn check(&mut self, path: &syn::Path, tokens: &TokenStream) {
        let Some(name) = path.get_ident() else {
            return;
        };
        if name == "allow" || name == "expect" {
            let is_reason =
                |tree: TokenTree| matches!(tree, TokenTree::Ident(name) if name == "reason");
            if !tokens.clone().into_iter().any(is_reason) {
                self.0.push(name.span().start().line);
            }
        } else if name == "cfg_attr" {
            let parts = syn::parse::Parser::parse2(
                syn::punctuated::Punctuated::<Meta, syn::Token![,]>::parse_terminated,
                tokens.clone(),
            );
            for part in parts.into_iter().flatten() {
                if let Meta::List(list) = part {
                    self.check(&list.path, &list.tokens);
                }
            }
        }
    }
}

impl<'ast> Visit<'ast> for Bare {
    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let Meta::List(list) = &attribute.meta {
            self.check(&list.path, &list.tokens);
        }
    }
}

#[test]
fn every_lint_that_is_allowed_has_a_reason() {
    assert_none(breaches(&House::here()));
}

#[test]
fn a_lint_without_a_reason_is_found() {
    let text = "#![allow(a)]
        #[allow(b, reason = \"good\")]
        fn f() {
            #[expect(c)]
            let s = \"#[allow(d)]\";
        }
        #[cfg_attr(e, allow(f))]
        fn g() {}";
    let house = House::of(&[("a/src/lib.rs", text)]);
    assert_breaches(breaches(&house), &["lib.rs:1", "lib.rs:4", "lib.rs:7"]);
}
