//! No function is long, but for those listed here with their reason.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::{assert_breaches, assert_none};
use x2i_tidy::house::House;
use x2i_tidy::modules::source_files;
use x2i_tidy::source::Source;

/// From `fn` to the last brace.
const MOST_LINES: usize = 60;

/// A long function that is better whole.
struct Exception {
    file: &'static str,
    function: &'static str,
    /// Why it is not cut.
    reason: &'static str,
}

const EXCEPTIONS: &[Exception] = &[];

fn breaches(house: &House, exceptions: &[Exception]) -> Vec<String> {
    let mut breaches = vec![];
    let mut used = vec![false; exceptions.len()];
    for path in source_files(house, |_| true) {
        let source = house.source(&path);
        let mut long = Long {
            source: &source,
            found: vec![],
        };
        long.visit_file(&source.syntax);
        for (line, function, lines) in long.found {
            let is_it = |exception: &Exception| {
                path.ends_with(exception.file) && exception.function == function
            };
            match exceptions.iter().position(is_it) {
                Some(index) => used[index] = true,
                None => breaches.push(format!(
                    "{}: {function}: {lines} lines, at most {MOST_LINES}",
                    source.at(line)
                )),
            }
        }
    }
    for (exception, _) in exceptions.iter().zip(used).filter(|(_, used)| !used) {
        let Exception {
            file,
            function,
            reason,
        } = exception;
        breaches.push(format!(
            "{file}: {function} is excepted ({reason}) and is not long"
        ));
    }
    breaches
}

/// Long functions outside unit tests: line, name, lines.
struct Long<'a> {
    source: &'a Source,
    found: Vec<(usize, String, usize)>,
}

impl Long<'_> {
    fn measure(&mut self, signature: &syn::Signature, body: &syn::Block) {
        let first = signature.span().start().line;
        let lines = body.span().end().line + 1 - first;
        if lines > MOST_LINES && !self.source.is_test(first) {
            self.found.push((first, signature.ident.to_string(), lines));
        }
    }
}

impl<'ast> Visit<'ast> for Long<'_> {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.measure(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.measure(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(body) = &function.default {
            self.measure(&function.sig, body);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

#[test]
fn no_function_is_long_without_a_reason() {
    assert_none(breaches(&House::here(), EXCEPTIONS));
}

#[test]
fn a_long_function_is_found() {
    let function = |name: &str, lines: usize| {
        let inside = "    g();\n".repeat(lines - 2);
        format!("/// Not counted.\nfn {name}() {{\n{inside}}}\n")
    };
    let text = [
        function("short", MOST_LINES),
        function("long", MOST_LINES + 1),
        format!("struct S;\nimpl S {{\n{}}}\n", function("method", 61)),
        format!("trait T {{\n{}}}\n", function("default", 61)),
        format!("#[cfg(test)]\nmod tests {{\n{}}}\n", function("test", 61)),
        function("excepted", 61),
    ]
    .concat();
    let house = House::of(&[("a/src/lib.rs", &text)]);
    let exception = |function| Exception {
        file: "a/src/lib.rs",
        function,
        reason: "a sequence",
    };
    assert_breaches(
        breaches(&house, &[exception("excepted"), exception("short")]),
        &[
            "a/src/lib.rs:63: long: 61 lines",
            "method: 61 lines",
            "default: 61 lines",
            "short is excepted (a sequence) and is not long",
        ],
    );
}
