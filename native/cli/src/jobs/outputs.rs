//! Output files from `-o`.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Result, bail};
use x2i_engine::{Format, Output};

/// Names of the standard output. Where it is a file, the image goes to where the shell has opened it.
const STDOUT: [&str; 4] = ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];

/// The outputs for images with these seeds, in order.
///
/// # Errors
/// For several images on standard output, or a name with the extension of a format that is not written.
pub fn plan(path: &Path, seeds: &[u64]) -> Result<Vec<Output>> {
    if STDOUT.iter().any(|name| path == Path::new(name)) {
        return match seeds.len() {
            1 => Ok(vec![Output::Stdout]),
            n => bail!("`{}` takes one image, not {n}", path.display()),
        };
    }
    if path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/") {
        let file = |seed| Output::File(path.join(format!("{seed}.png")));
        return Ok(seeds.iter().map(file).collect());
    }
    Format::of(path)?;
    let name = path.file_name().map(OsStr::to_string_lossy);
    let name = name.unwrap_or_default();
    let numbered = |number: usize| match (name.contains("{}"), seeds.len()) {
        (true, _) => name.replace("{}", &number.to_string()),
        (false, 1) => name.to_string(),
        (false, _) => match name.rsplit_once('.') {
            Some((stem, extension)) => format!("{stem}-{number}.{extension}"),
            None => format!("{name}-{number}"),
        },
    };
    let file = |number| Output::File(path.with_file_name(numbered(number)));
    Ok((1..=seeds.len()).map(file).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(output: &str, seeds: &[u64]) -> Vec<String> {
        let outputs = plan(Path::new(output), seeds).unwrap();
        outputs.iter().map(Output::shown).collect()
    }

    #[test]
    fn names_are_numbered_when_there_are_several() {
        assert_eq!(planned("a/out.png", &[7]), ["a/out.png"]);
        assert_eq!(
            planned("a/out.png", &[7, 8]),
            ["a/out-1.png", "a/out-2.png"]
        );
        assert_eq!(
            planned("cat{}.v2.png", &[7, 8]),
            ["cat1.v2.png", "cat2.v2.png"]
        );
        assert_eq!(planned("out", &[7, 8]), ["out-1", "out-2"]);
        assert_eq!(planned("new/", &[7, 8]), ["new/7.png", "new/8.png"]);
        assert_eq!(planned("-", &[7]), ["-"]);
        assert_eq!(planned("/dev/stdout", &[7]), ["-"]);
        assert!(plan(Path::new("-"), &[7, 8]).is_err());
        assert_eq!(planned("a.JPG", &[7, 8]), ["a-1.JPG", "a-2.JPG"]);
        assert!(plan(Path::new("a.gif"), &[7]).is_err());
    }
}
