//! What one module declares and names: its items, its `use` trees, and every path in its code.
//!
//! Insides of macro calls are read as tokens: whatever looks like a path counts as one. Nested
//! modules are modules of their own (`modules.rs`); items under `#[cfg(test)]` are left out.

use std::collections::BTreeSet;

use proc_macro2::{Span, TokenStream};
use syn::visit::{self, Visit};
use syn::{ImplItem, Item, ItemFn, ItemMod, ItemUse, Pat, UseTree, Visibility};

use crate::source::{attributes, impl_attributes, is_test_only, lexemes};

/// A path as it is written: `crate::nn::Linear`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// Its parts; `$crate` counts as `crate`.
    pub parts: Vec<String>,
    /// Whether it begins with `::`, and so with a crate's name.
    pub absolute: bool,
    /// Where it stands, counted from 1.
    pub line: usize,
}

/// One name that a `use` brings into its module, or all names of a module.
#[derive(Debug)]
pub struct Import {
    /// What the name is called here; none for `*` and `_`.
    pub name: Option<String>,
    /// What it stands for; without the `*`.
    pub path: Path,
    /// Whether it ends with `*`.
    pub glob: bool,
    /// Whether others see it: `pub use`, `pub(crate) use`.
    pub public: bool,
}

/// A namespace of items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Space {
    /// Types and traits: a path may go on behind them.
    Type,
    /// Functions, constants and statics.
    Value,
}

/// All that a module declares and names.
#[derive(Default)]
pub struct Names<'ast> {
    /// Items that are defined here, by their namespace.
    pub items: BTreeSet<(Space, String)>,
    /// Macros by example that are defined here, and whether the crate's root shows them.
    pub macros: Vec<(String, bool)>,
    /// Its `use` trees, those inside functions too.
    pub imports: Vec<Import>,
    /// Paths in code, single names too.
    pub paths: Vec<Path>,
    /// Modules that are declared here.
    pub modules: Vec<&'ast ItemMod>,
    /// Variables of the function that is being read: a name of one part may be one of them.
    variables: BTreeSet<String>,
}

impl<'ast> Names<'ast> {
    /// Reads the items of one module.
    pub fn of(items: &'ast [Item]) -> Self {
        let mut names = Self::default();
        for item in items {
            names.visit_item(item);
        }
        names
    }

    fn add_path(&mut self, parts: Vec<String>, absolute: bool, line: usize) {
        let is_variable = |name: &String| self.variables.contains(name) || name == "Self";
        if parts.len() > 1 || !parts.first().is_none_or(is_variable) {
            self.paths.push(Path {
                parts,
                absolute,
                line,
            });
        }
    }

    /// Reads what looks like a path in a macro's tokens.
    fn read_tokens(&mut self, tokens: &TokenStream) {
        let tokens = lexemes(tokens.clone());
        let text = |index: usize| tokens.get(index).map_or("", |token| token.text.as_str());
        let is_separator = |index: usize| text(index) == ":" && text(index + 1) == ":";
        let mut next = 0;
        while next < tokens.len() {
            let first = next;
            next += 1;
            if !is_name(text(first)) || first > 0 && text(first - 1) == "." {
                continue;
            }
            let mut parts = vec![text(first).to_owned()];
            while is_separator(next) && is_name(text(next + 2)) {
                parts.push(text(next + 2).to_owned());
                next += 3;
            }
            // `name: value` is a field.
            if parts.len() > 1 || text(next) != ":" || is_separator(next) {
                let absolute = first > 1 && is_separator(first - 2);
                self.add_path(parts, absolute, tokens[first].line);
            }
        }
    }

    fn read_use(&mut self, tree: &UseTree, before: &mut Vec<String>, item: &ItemUse) {
        let mut add = |name: Option<String>, last: Option<String>, glob: bool, span: Span| {
            let parts = before.iter().cloned().chain(last).collect();
            self.imports.push(Import {
                name,
                path: Path {
                    parts,
                    absolute: item.leading_colon.is_some(),
                    line: span.start().line,
                },
                glob,
                public: !matches!(item.vis, Visibility::Inherited),
            });
        };
        match tree {
            UseTree::Path(tree) => {
                before.push(tree.ident.to_string());
                self.read_use(&tree.tree, before, item);
                before.pop();
            }
            UseTree::Name(tree) if tree.ident == "self" => {
                add(before.last().cloned(), None, false, tree.ident.span());
            }
            UseTree::Name(tree) => {
                let name = tree.ident.to_string();
                add(Some(name.clone()), Some(name), false, tree.ident.span());
            }
            UseTree::Rename(tree) => {
                let last = (tree.ident != "self").then(|| tree.ident.to_string());
                let name = (tree.rename != "_").then(|| tree.rename.to_string());
                add(name, last, false, tree.ident.span());
            }
            UseTree::Glob(tree) => add(None, None, true, tree.star_token.spans[0]),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.read_use(tree, before, item);
                }
            }
        }
    }

    /// Reads a function's inside with its variables known.
    fn with_variables(&mut self, variables: Variables, read: impl FnOnce(&mut Self)) {
        let outer = self.variables.clone();
        self.variables.extend(variables.0);
        read(self);
        self.variables = outer;
    }
}

impl<'ast> Visit<'ast> for Names<'ast> {
    fn visit_item(&mut self, item: &'ast Item) {
        if is_test_only(attributes(item)) {
            return;
        }
        let item_name = match item {
            Item::Const(item) => Some((Space::Value, &item.ident)),
            Item::Enum(item) => Some((Space::Type, &item.ident)),
            Item::Fn(item) => Some((Space::Value, &item.sig.ident)),
            Item::Static(item) => Some((Space::Value, &item.ident)),
            Item::Struct(item) => Some((Space::Type, &item.ident)),
            Item::Trait(item) => Some((Space::Type, &item.ident)),
            Item::Type(item) => Some((Space::Type, &item.ident)),
            Item::Union(item) => Some((Space::Type, &item.ident)),
            _ => None,
        };
        self.items
            .extend(item_name.map(|(space, name)| (space, name.to_string())));
        match item {
            Item::Mod(module) => self.modules.push(module),
            Item::Use(item) => self.read_use(&item.tree, &mut vec![], item),
            Item::Macro(item) => {
                if let Some(name) = &item.ident {
                    let is_exported =
                        |attribute: &syn::Attribute| attribute.path().is_ident("macro_export");
                    let exported = item.attrs.iter().any(is_exported);
                    self.macros.push((name.to_string(), exported));
                }
                self.visit_macro(&item.mac);
            }
            item => visit::visit_item(self, item),
        }
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        let mut variables = Variables::default();
        variables.visit_item_fn(item);
        self.with_variables(variables, |names| visit::visit_item_fn(names, item));
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        if !is_test_only(impl_attributes(item)) {
            let mut variables = Variables::default();
            variables.visit_impl_item(item);
            self.with_variables(variables, |names| visit::visit_impl_item(names, item));
        }
    }

    fn visit_trait_item(&mut self, item: &'ast syn::TraitItem) {
        let mut variables = Variables::default();
        variables.visit_trait_item(item);
        self.with_variables(variables, |names| visit::visit_trait_item(names, item));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts = path.segments.iter().map(|part| part.ident.to_string());
        let line = path
            .segments
            .first()
            .map_or(0, |part| part.ident.span().start().line);
        self.add_path(parts.collect(), path.leading_colon.is_some(), line);
        visit::visit_path(self, path);
    }

    fn visit_pat_ident(&mut self, pattern: &'ast syn::PatIdent) {
        if !is_variable(pattern) {
            let line = pattern.ident.span().start().line;
            self.add_path(vec![pattern.ident.to_string()], false, line);
        }
        visit::visit_pat_ident(self, pattern);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        self.read_tokens(&call.tokens);
    }

    // `#[inline]` is no function of that name.
    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}
}

/// Names that patterns bind.
#[derive(Default)]
struct Variables(BTreeSet<String>);

impl<'ast> Visit<'ast> for Variables {
    fn visit_pat(&mut self, pattern: &'ast Pat) {
        if let Pat::Ident(pattern) = pattern
            && is_variable(pattern)
        {
            self.0.insert(pattern.ident.to_string());
        }
        visit::visit_pat(self, pattern);
    }
}

/// A lower-case name in a pattern binds; an upper-case one names a constant or a variant.
fn is_variable(pattern: &syn::PatIdent) -> bool {
    pattern
        .ident
        .to_string()
        .starts_with(|first: char| first.is_lowercase() || first == '_')
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
        && token.chars().all(|c| c.is_alphanumeric() || c == '_')
}
