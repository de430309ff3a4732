//! Tidiness as a test: who may import whom, and what no file may hold.
//!
//! The rules are ARCHITECTURE.md's invariants. Text, not syntax, is searched: a rule must be so
//! plain that a reader sees a breach, too.

use std::path::{Path, PathBuf};

/// A file this long is two ideas.
const MOST_LINES: usize = 600;

/// Modules of core that know no model: they may import each other, and nothing else.
const GROUND: [&str; 5] = ["nn", "weights", "config", "error", "lora"];
/// Models; they never import each other.
const MODELS: [&str; 5] = ["encoders", "align_net", "flux", "light_control", "vae"];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests stand in the repository")
        .to_owned()
}

/// All files below `folder` with this extension, in order.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = vec![];
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder)
            .expect("a folder of the repository")
            .flatten()
        {
            let path = entry.path();
            if path.is_dir() {
                let name = entry.file_name();
                // What tools install and write beside the browser tests.
                if !["node_modules", "build", "output"].contains(&&*name.to_string_lossy()) {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn rust_files() -> Vec<PathBuf> {
    let root = repository();
    ["core", "native", "shaders", "tests", "web"]
        .iter()
        .flat_map(|package| files(&root.join(package), "rs"))
        .collect()
}

/// A file without its unit tests: by our custom they stand last, or in a `tests.rs`.
fn code_of(path: &Path) -> String {
    if path.ends_with("tests.rs") {
        return String::new();
    }
    let text = std::fs::read_to_string(path).expect("a readable source file");
    text.split("\n#[cfg(test)]")
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// Lines of code outside comments.
fn code_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
}

/// The module of core that a file belongs to.
fn core_module(path: &Path) -> String {
    let inside = path
        .strip_prefix(repository().join("core/src"))
        .expect("a file of core");
    let first = inside
        .iter()
        .next()
        .expect("a file name")
        .to_string_lossy()
        .into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// Fails with all breaches at once.
fn assert_none(breaches: Vec<String>) {
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

#[test]
fn every_file_says_what_it_is() {
    let bare = rust_files().into_iter().filter(|path| {
        let text = std::fs::read_to_string(path).expect("a readable source file");
        !text.starts_with("//!") && !text.contains("\n//!")
    });
    assert_none(
        bare.map(|path| format!("{}: has no //! header", path.display()))
            .collect(),
    );
}

#[test]
fn no_file_holds_two_ideas() {
    let long = rust_files().into_iter().filter_map(|path| {
        let lines = std::fs::read_to_string(&path)
            .expect("a readable source file")
            .lines()
            .count();
        (lines > MOST_LINES)
            .then(|| format!("{}: {lines} lines, at most {MOST_LINES}", path.display()))
    });
    assert_none(long.collect());
}

#[test]
fn the_ground_knows_no_model() {
    let mut breaches = vec![];
    for path in files(&repository().join("core/src"), "rs") {
        if !GROUND.contains(&core_module(&path).as_str()) {
            continue;
        }
        for line in code_lines(&code_of(&path)) {
            for module in MODELS.iter().chain(&["pipeline", "training"]) {
                if line.contains(&format!("crate::{module}")) {
                    breaches.push(format!("{}: imports {module}: {line}", path.display()));
                }
            }
        }
    }
    assert_none(breaches);
}

#[test]
fn models_do_not_import_each_other() {
    let mut breaches = vec![];
    for path in files(&repository().join("core/src"), "rs") {
        let own = core_module(&path);
        if !MODELS.contains(&own.as_str()) {
            continue;
        }
        for line in code_lines(&code_of(&path)) {
            for other in MODELS.iter().filter(|&&other| other != own) {
                if line.contains(&format!("crate::{other}")) {
                    breaches.push(format!("{}: imports {other}: {line}", path.display()));
                }
            }
        }
    }
    assert_none(breaches);
}

#[test]
fn nobody_imports_to_the_right() {
    let right_of = [
        ("shaders/src", ["x2i_core", "x2i_web", "x2i::"].as_slice()),
        ("core/src", &["x2i_web", "x2i::"]),
        ("web/src", &["x2i::"]),
        ("native/src", &["x2i_web"]),
    ];
    let mut breaches = vec![];
    for (folder, names) in right_of {
        for path in files(&repository().join(folder), "rs") {
            for line in code_lines(&code_of(&path)) {
                let found = names.iter().filter(|&&name| line.contains(name));
                breaches.extend(found.map(|name| format!("{}: {name}: {line}", path.display())));
            }
        }
    }
    assert_none(breaches);
}

#[test]
fn core_has_no_door_to_the_outside() {
    let doors = [
        "std::fs",
        "std::net",
        "std::env",
        "std::process",
        "std::thread",
        "Instant::now",
        "SystemTime",
        "cfg(target_arch",
    ];
    let mut breaches = vec![];
    for path in files(&repository().join("core/src"), "rs") {
        for line in code_lines(&code_of(&path)) {
            breaches.extend(
                doors
                    .iter()
                    .filter(|&&door| line.contains(door))
                    .map(|door| format!("{}: {door}: {line}", path.display())),
            );
        }
    }
    assert_none(breaches);
}

#[test]
fn libraries_neither_unwrap_nor_print() {
    let forbidden = [".unwrap()", "println!", "todo!", "unimplemented!", "dbg!"];
    let mut breaches = vec![];
    for folder in ["core/src", "shaders/src", "web/src"] {
        for path in files(&repository().join(folder), "rs") {
            for line in code_lines(&code_of(&path)) {
                breaches.extend(
                    forbidden
                        .iter()
                        .filter(|&&word| line.contains(word))
                        .map(|word| format!("{}: {word}: {line}", path.display())),
                );
            }
        }
    }
    assert_none(breaches);
}

#[test]
fn every_lint_that_is_allowed_has_a_reason() {
    let mut breaches = vec![];
    for path in rust_files() {
        let text = std::fs::read_to_string(&path).expect("a readable source file");
        // A multi-line attribute names its reason before it closes.
        for (start, _) in text
            .match_indices("#[allow(")
            .chain(text.match_indices("#![allow("))
        {
            let end = text[start..]
                .find(")]")
                .map_or(text.len(), |end| start + end);
            if !text[start..end].contains("reason") {
                breaches.push(format!("{}: allow without a reason", path.display()));
            }
        }
    }
    breaches.retain(|breach| !breach.contains("tidy.rs"));
    assert_none(breaches);
}

#[test]
fn each_kernel_stands_beside_its_oracle() {
    let shaders = repository().join("shaders");
    let kernels = files(&shaders.join("wgsl"), "wgsl");
    assert!(!kernels.is_empty(), "no kernels found");
    let launches = files(&shaders.join("src"), "rs");
    let orphans = kernels.into_iter().filter_map(|kernel| {
        let name = kernel.file_name()?.to_string_lossy().into_owned();
        // A kernel belongs to the module that includes it: `qmatvec.wgsl` is `qmatmul`'s for few rows.
        let launch = launches
            .iter()
            .find(|path| code_of(path).contains(&format!("wgsl/{name}")));
        let Some(launch) = launch else {
            return Some(format!("{name} is launched by no module"));
        };
        let inside = launch.strip_prefix(shaders.join("src")).ok()?;
        let module = inside
            .iter()
            .next()?
            .to_string_lossy()
            .trim_end_matches(".rs")
            .to_owned();
        let has = |folder: &str| shaders.join(folder).join(format!("{module}.rs")).is_file();
        (!has("src/reference") || !has("tests"))
            .then(|| format!("{name}: {module} has no oracle or no test"))
    });
    assert_none(orphans.collect());
}
