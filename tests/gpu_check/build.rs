//! Copies the kernels' tests into this program, since the test harness alone can call a `#[test]`.
//!
//! In each copy the attribute is gone, and a table of its tests stands at the end. Their devices are ours.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Files of `shaders/tests` that run on a device. Not here: `library`, which tells the device of all tests to run burn's
/// kernels, and `threads` and `validate`, which need no device.
const FILES: [&str; 16] = [
    "activations",
    "attention",
    "conv2d",
    "cooperative",
    "floats",
    "gelu",
    "gradients",
    "group_norm",
    "joint_attention",
    "linear",
    "norm",
    "norm_rope",
    "product",
    "qmatmul",
    "residual",
    "varying",
];
/// The modules that they share, and their files in `common`.
const SHARED: [(&str, &str); 3] = [
    ("common", "mod.rs"),
    ("matrices", "matrices.rs"),
    ("views", "views.rs"),
];

fn main() -> io::Result<()> {
    let tests = Path::new("../../shaders/tests");
    println!("cargo::rerun-if-changed={}", tests.display());
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("kernels");
    fs::create_dir_all(out.join("common"))?;
    let mut modules = String::new();
    for (module, file) in SHARED {
        let text = fs::read_to_string(tests.join("common").join(file))?;
        // The root of a test file is a module here.
        let text = text.replace("crate::common", "super::common");
        let copy = out.join("common").join(file);
        fs::write(&copy, text)?;
        modules += &format!("#[path = {copy:?}]\nmod {module};\n");
    }
    let devices = "//! The devices of the command line.\n\npub use crate::devices::devices;\n";
    fs::write(out.join("common/devices.rs"), devices)?;
    let mut tables = Vec::new();
    for file in FILES {
        let text = fs::read_to_string(tests.join(file).with_extension("rs"))?;
        let copy = out.join(file).with_extension("rs");
        fs::write(&copy, with_table(file, &text))?;
        modules += &format!("#[path = {copy:?}]\nmod {file};\n");
        tables.push(format!("{file}::TESTS"));
    }
    let tables = tables.join(", ");
    let all = format!("{modules}\nconst TESTS: &[&[Test]] = &[{tables}];\n");
    fs::write(out.with_extension("rs"), all)
}

/// A test file without attributes for the harness, and with the table `TESTS`.
fn with_table(file: &str, text: &str) -> String {
    // Each test file has its own copies of the shared modules; here there is one of each.
    let mut text = text.to_owned();
    for (module, shared) in SHARED {
        text = text
            .replace(&format!("#[path = \"common/{shared}\"]\n"), "")
            .replace(
                &format!("\nmod {module};\n"),
                &format!("\nuse super::{module};\n"),
            );
    }
    let (mut kept, mut rows) = (String::new(), String::new());
    let (mut is_test, mut panics) = (false, "None".to_owned());
    for line in text.lines() {
        let code = line.trim();
        if code == "#[test]" {
            is_test = true;
            continue;
        }
        if let Some(expected) = code.strip_prefix("#[should_panic(expected = ") {
            let expected = expected.strip_suffix(")]").expect("one line");
            panics = format!("Some({expected})");
            continue;
        }
        if let (true, Some(function)) = (is_test, code.strip_prefix("fn ")) {
            let name = function.split('(').next().unwrap_or_default();
            rows += &format!(
                "    crate::kernels::Test {{ name: \"{file}::{name}\", run: {name}, panics: {panics} }},\n"
            );
            (is_test, panics) = (false, "None".to_owned());
        }
        kept += line;
        kept.push('\n');
    }
    assert!(
        !is_test && !rows.is_empty(),
        "{file}: tests as they are usually written"
    );
    format!("{kept}\n/// Its tests.\npub const TESTS: &[crate::kernels::Test] = &[\n{rows}];\n")
}
