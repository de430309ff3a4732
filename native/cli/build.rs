//! Links the program with functions of the same code folded into one: generic code makes many, and the program becomes a
//! tenth smaller.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // rustc links with its own lld there; other linkers do not know the argument.
    let target = std::env::var("TARGET").unwrap_or_default();
    if target == "x86_64-unknown-linux-gnu" {
        println!("cargo::rustc-link-arg-bins=-Wl,--icf=all");
    }
}
