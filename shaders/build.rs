//! Takes comments and indentation out of `wgsl/`: a browser downloads the shaders with the program.

use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=wgsl");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::create_dir_all(out.join("wgsl"))?;
    for entry in fs::read_dir("wgsl")? {
        let entry = entry?;
        let text = strip(&fs::read_to_string(entry.path())?);
        fs::write(out.join("wgsl").join(entry.file_name()), text)?;
    }
    Ok(())
}

/// WGSL has no strings, so that `//` always begins a comment; the shaders have no others.
fn strip(text: &str) -> String {
    // Templates are filled in at `const` after a line break.
    let mut stripped = String::from("\n");
    for line in text.lines() {
        let code = line.split("//").next().unwrap_or_default().trim();
        if !code.is_empty() {
            stripped.push_str(code);
            stripped.push('\n');
        }
    }
    stripped
}
