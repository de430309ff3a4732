//! Each kernel stands beside its oracle: the module of shaders that launches a `.wgsl` file has a
//! reference of its name, and a test.

use std::path::Path;

use crate::{assert_breaches, assert_none};
use x2i_tidy::house::{House, Package};
use x2i_tidy::modules::source_files;

fn breaches(house: &House, shaders: &Package) -> Vec<String> {
    let sources: Vec<_> = source_files(house, |package| package.name == shaders.name)
        .into_iter()
        .map(|path| (path.clone(), house.source(&path).tokens()))
        .collect();
    // What stands in a folder below is a part of kernels.
    let folder = shaders.folder.join("wgsl");
    let kernels = house.files.keys().filter(|path| {
        path.parent() == Some(&folder) && path.extension().is_some_and(|found| found == "wgsl")
    });
    let orphans = kernels.filter_map(|kernel| {
        let name = kernel.file_name()?.to_string_lossy();
        let included = format!("wgsl/{name}\"");
        let launch = sources.iter().find(|(_, tokens)| {
            let mut tokens = tokens.iter();
            tokens.any(|token| token.text.ends_with(&included))
        });
        let Some((launch, _)) = launch else {
            return Some(format!("{name}: no module launches it"));
        };
        // A kernel belongs to the module that includes it: `qmatvec.wgsl` is `qmatmul`'s for few rows.
        let inside = launch.strip_prefix(shaders.folder.join("src")).ok()?;
        let module = Path::new(inside.iter().next()?).file_stem()?;
        let module = module.to_string_lossy();
        let missing = ["src/reference", "tests"]
            .map(|folder| shaders.folder.join(folder).join(format!("{module}.rs")))
            .into_iter()
            .find(|path| !house.files.contains_key(path))?;
        Some(format!("{name}: {module} has no {}", missing.display()))
    });
    orphans.collect()
}

#[test]
fn each_kernel_stands_beside_its_oracle() {
    let house = House::here();
    let is_kernel = |path: &Path| path.extension().is_some_and(|found| found == "wgsl");
    assert!(house.files.keys().any(|path| is_kernel(path)));
    assert_none(breaches(&house, house.package("x2i-shaders")));
}

#[test]
fn a_kernel_without_an_oracle_or_a_test_is_found() {
    let launch = |name: &str| format!("const WGSL: &str = include_str!(\"../../wgsl/{name}\");");
    let house = House::of(&[
        (
            "s/src/lib.rs",
            "mod good; mod dark; mod bare; mod reference;",
        ),
        ("s/src/good.rs", "mod wgpu;"),
        ("s/src/good/wgpu.rs", &launch("good.wgsl")),
        ("s/src/dark.rs", &launch("dark.wgsl")),
        ("s/src/bare.rs", &launch("bare.wgsl")),
        ("s/src/reference/mod.rs", "mod good; mod bare;"),
        ("s/src/reference/good.rs", ""),
        ("s/src/reference/bare.rs", ""),
        ("s/tests/good.rs", ""),
        ("s/tests/dark.rs", ""),
        ("s/wgsl/bare.wgsl", ""),
        ("s/wgsl/dark.wgsl", ""),
        ("s/wgsl/good.wgsl", ""),
        ("s/wgsl/lost.wgsl", ""),
    ]);
    assert_breaches(
        breaches(&house, house.package("s")),
        &[
            "bare has no s/tests/bare.rs",
            "dark has no s/src/reference/dark.rs",
            "lost.wgsl: no module launches it",
        ],
    );
}
