//! Takes comments and indentation out of `wgsl/`, because a browser downloads the shaders with the program, and puts
//! the parts that several shaders share behind them.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// The comment that names a shader's parts, files of `wgsl/parts`.
const PARTS: &str = "// Parts: ";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=wgsl");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    // Nothing of an earlier build stays.
    match fs::remove_dir_all(out.join("wgsl")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => fs::create_dir_all(out.join("wgsl"))?,
    }
    let browser = env::var("CARGO_CFG_TARGET_FAMILY").as_deref() == Ok("wasm");
    for entry in fs::read_dir("wgsl")? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            let text = fs::read_to_string(entry.path())?;
            // No browser has cooperative matrices.
            let text = match browser && text.contains("enable wgpu_cooperative_matrix;") {
                true => String::new(),
                false => whole(&text)?,
            };
            fs::write(out.join("wgsl").join(entry.file_name()), text)?;
        }
    }
    Ok(())
}

/// A shader and its parts. These follow it, because WGSL wants `enable` first and takes declarations in any order.
fn whole(text: &str) -> io::Result<String> {
    // Templates are filled in at `const` after a line break.
    let mut whole = String::from("\n");
    strip(text, &mut whole);
    for line in text.lines().filter_map(|line| line.strip_prefix(PARTS)) {
        for part in line.trim_end_matches('.').split(", ") {
            let text = fs::read_to_string(Path::new("wgsl/parts").join(part))?;
            strip(&text, &mut whole);
        }
    }
    Ok(whole)
}

/// WGSL has no strings, so that `//` always begins a comment; the shaders have no others.
fn strip(text: &str, stripped: &mut String) {
    for line in text.lines() {
        let code = line.split("//").next().unwrap_or_default().trim();
        if !code.is_empty() {
            stripped.push_str(code);
            stripped.push('\n');
        }
    }
}
