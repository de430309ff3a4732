//! core shows no `Rc`: what a caller holds may go to another thread.

use syn::visit::{self, Visit};
use syn::{ImplItem, Item, TraitItem, Visibility};

use crate::{assert_breaches, assert_none};
use x2i_tidy::house::{House, Package};
use x2i_tidy::modules::source_files;
use x2i_tidy::names::Names;
use x2i_tidy::source::Source;

fn breaches(house: &House, is_wanted: impl Fn(&Package) -> bool) -> Vec<String> {
    let mut breaches = vec![];
    for path in source_files(house, is_wanted) {
        let source = house.source(&path);
        let imports = Names::of(&source.syntax.items).imports.into_iter();
        let renamed = imports.filter_map(|import| {
            let is_rc = import.path.parts.last().is_some_and(|last| last == "Rc");
            import.name.filter(|_| is_rc)
        });
        let mut shown = Shown {
            names: renamed.chain(["Rc".to_owned()]).collect(),
            source: &source,
            found: vec![],
        };
        shown.visit_file(&source.syntax);
        let found = shown.found.into_iter();
        breaches.extend(found.map(|line| format!("{}: a public Rc", source.at(line))));
    }
    breaches
}

/// Finds `Rc` in public functions, methods, fields, variants, traits, aliases and constants.
struct Shown<'a> {
    /// What `Rc` is called in this file.
    names: Vec<String>,
    source: &'a Source,
    /// Lines.
    found: Vec<usize>,
}

impl Shown<'_> {
    fn look(&mut self, visit: impl FnOnce(&mut Pointers<'_>)) {
        let mut pointers = Pointers {
            names: &self.names,
            found: vec![],
        };
        visit(&mut pointers);
        self.found.extend(pointers.found);
    }

    fn look_at_trait(&mut self, item: &TraitItem) {
        match item {
            TraitItem::Fn(function) => self.look(|p| p.visit_signature(&function.sig)),
            item => self.look(|p| p.visit_trait_item(item)),
        }
    }
}

impl<'ast> Visit<'ast> for Shown<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        match item {
            Item::Fn(item) if is_public(&item.vis) => self.look(|p| p.visit_signature(&item.sig)),
            Item::Struct(item) if is_public(&item.vis) => {
                for field in item.fields.iter().filter(|field| is_public(&field.vis)) {
                    self.look(|p| p.visit_type(&field.ty));
                }
            }
            Item::Enum(item) if is_public(&item.vis) => self.look(|p| p.visit_item_enum(item)),
            Item::Type(item) if is_public(&item.vis) => self.look(|p| p.visit_item_type(item)),
            Item::Const(item) if is_public(&item.vis) => self.look(|p| p.visit_type(&item.ty)),
            Item::Static(item) if is_public(&item.vis) => self.look(|p| p.visit_type(&item.ty)),
            Item::Trait(item) if is_public(&item.vis) => {
                for bound in &item.supertraits {
                    self.look(|p| p.visit_type_param_bound(bound));
                }
                item.items.iter().for_each(|item| self.look_at_trait(item));
            }
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        match item {
            ImplItem::Fn(item) if is_public(&item.vis) => {
                self.look(|p| p.visit_signature(&item.sig));
            }
            _ => {}
        }
        visit::visit_impl_item(self, item);
    }

    fn visit_file(&mut self, file: &'ast syn::File) {
        visit::visit_file(self, file);
        self.found.retain(|&line| !self.source.is_test(line));
    }
}

/// Lines where a type names one of the pointers.
struct Pointers<'a> {
    names: &'a [String],
    found: Vec<usize>,
}

impl<'ast> Visit<'ast> for Pointers<'_> {
    fn visit_path_segment(&mut self, segment: &'ast syn::PathSegment) {
        if self.names.iter().any(|name| segment.ident == name) {
            self.found.push(segment.ident.span().start().line);
        }
        visit::visit_path_segment(self, segment);
    }
}

/// `pub`, and not `pub(crate)`.
fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

#[test]
fn core_shows_no_rc() {
    assert_none(breaches(&House::here(), |package| {
        package.name == "x2i-core"
    }));
}

#[test]
fn a_public_rc_is_found() {
    let text = "use std::rc::Rc as Shared;
        pub fn a(x: &[Rc<u8>]) { let y: Rc<u8>; }
        pub(crate) fn no(x: Rc<u8>) {}
        pub struct B {
            pub b: Option<Shared<u8>>,
            no: Rc<u8>,
        }
        pub enum C { One(std::rc::Rc<u8>) }
        pub trait D { fn d(&self) -> impl Fn(Rc<u8>); }
        impl B { pub async fn e() -> Rc<Self> { f() } fn no(x: Rc<u8>) {} }
        pub type F = Rc<u8>;
        #[cfg(test)]
        mod tests { pub fn no(x: Rc<u8>) {} }";
    let house = House::of(&[("a/src/lib.rs", text)]);
    assert_breaches(
        breaches(&house, |_| true),
        &[
            "lib.rs:2",
            "lib.rs:5",
            "lib.rs:8",
            "lib.rs:9",
            "lib.rs:10",
            "lib.rs:11",
        ],
    );
}
