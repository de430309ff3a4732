//! One parsed source file: its syntax, its tokens, and which of its lines are unit tests.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, ImplItem, Item, Meta, Token};

/// A source file.
pub struct Source {
    /// Relative to the workspace's root.
    pub path: PathBuf,
    /// What it says.
    pub syntax: syn::File,
    text: String,
    tests: Vec<RangeInclusive<usize>>,
}

/// One token of code. A doc comment is a string literal, as in `#[doc = "..."]`.
pub struct Lexeme {
    /// As it is written.
    pub text: String,
    /// Counted from 1.
    pub line: usize,
}

impl Source {
    /// Parses a file.
    pub fn parse(path: &Path, text: &str) -> Self {
        let syntax = syn::parse_file(text).unwrap_or_else(|error| {
            let line = error.span().start().line;
            panic!("{}:{line}: {error}", path.display())
        });
        let mut tests = TestLines(vec![]);
        tests.visit_file(&syntax);
        Self {
            path: path.to_owned(),
            syntax,
            text: text.to_owned(),
            tests: tests.0,
        }
    }

    /// Whether a line belongs to an item under `#[cfg(test)]`.
    pub fn is_test(&self, line: usize) -> bool {
        self.tests.iter().any(|lines| lines.contains(&line))
    }

    /// All tokens outside unit tests, in order.
    pub fn tokens(&self) -> Vec<Lexeme> {
        let stream = self.text.parse().expect("what was parsed has tokens");
        let mut tokens = lexemes(stream);
        tokens.retain(|token| !self.is_test(token.line));
        tokens
    }

    /// `path:line`, for a breach.
    pub fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.path.display())
    }
}

/// The tokens of a stream, the insides of its brackets too.
pub fn lexemes(stream: TokenStream) -> Vec<Lexeme> {
    let mut found = vec![];
    flatten(stream, &mut found);
    found
}

fn flatten(stream: TokenStream, found: &mut Vec<Lexeme>) {
    for tree in stream {
        let mut push = |text: String, line: usize| found.push(Lexeme { text, line });
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    proc_macro2::Delimiter::Parenthesis => ("(", ")"),
                    proc_macro2::Delimiter::Brace => ("{", "}"),
                    proc_macro2::Delimiter::Bracket => ("[", "]"),
                    proc_macro2::Delimiter::None => ("", ""),
                };
                push(open.to_owned(), group.span_open().start().line);
                flatten(group.stream(), found);
                found.push(Lexeme {
                    text: close.to_owned(),
                    line: group.span_close().start().line,
                });
            }
            other => push(other.to_string(), other.span().start().line),
        }
    }
}

/// Whether the attributes say that what follows is compiled for unit tests alone.
pub fn is_test_only(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<Meta>()
                .is_ok_and(|condition| needs_test(&condition))
    })
}

/// Whether a condition can't hold without `test`.
fn needs_test(condition: &Meta) -> bool {
    match condition {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("all") => list
            .parse_args_with(syn::punctuated::Punctuated::<Meta, Token![,]>::parse_terminated)
            .is_ok_and(|all| all.iter().any(needs_test)),
        _ => false,
    }
}

/// The attributes of an item.
pub fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// The attributes of an item in an `impl`.
pub fn impl_attributes(item: &ImplItem) -> &[Attribute] {
    match item {
        ImplItem::Const(item) => &item.attrs,
        ImplItem::Fn(item) => &item.attrs,
        ImplItem::Type(item) => &item.attrs,
        ImplItem::Macro(item) => &item.attrs,
        _ => &[],
    }
}

/// Lines of items under `#[cfg(test)]`.
struct TestLines(Vec<RangeInclusive<usize>>);

impl TestLines {
    fn add(&mut self, item: &impl Spanned) {
        let span = item.span();
        self.0.push(span.start().line..=span.end().line);
    }
}

impl<'ast> Visit<'ast> for TestLines {
    fn visit_item(&mut self, item: &'ast Item) {
        match is_test_only(attributes(item)) {
            true => self.add(item),
            false => visit::visit_item(self, item),
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        match is_test_only(impl_attributes(item)) {
            true => self.add(item),
            false => visit::visit_impl_item(self, item),
        }
    }
}
