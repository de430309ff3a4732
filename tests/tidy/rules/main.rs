//! The house rules, one a file. A rule is a function from a workspace to its breaches, with an example that
//! breaks it.

mod doors;
mod file_circles;
mod flags;
mod headers;
mod imports;
mod kernels;
mod libraries;
mod lints;
mod long_files;
mod long_functions;
mod shared_pointers;

/// Fails with all breaches at once.
fn assert_none(breaches: Vec<String>) {
    assert!(breaches.is_empty(), "\n{}\n", breaches.join("\n"));
}

/// Fails unless there is one breach for each of `expected`, which holds it.
fn assert_breaches(breaches: Vec<String>, expected: &[&str]) {
    let all = breaches.join("\n");
    assert_eq!(breaches.len(), expected.len(), "{all}");
    for (breach, expected) in breaches.iter().zip(expected) {
        assert!(breach.contains(expected), "no {expected:?} in {breach:?}");
    }
}
