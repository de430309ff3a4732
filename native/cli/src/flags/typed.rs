//! The command line as people type it, made into what clap reads.
//!
//! `x2i "a red apple"` is `x2i generate "a red apple"`; `--image a.png b.png` gives the flag to each, as
//! `--lora a.safetensors b.safetensors` does; and
//! `"-5 degrees"` is a prompt, because no flag is called so.

use std::ffi::OsString;
use std::path::Path;

use clap::{Args as _, Command, CommandFactory};

use super::adapters::Scaled;
use super::{Cli, GenerateArgs};

/// Flags that take several files.
const FILES: [&str; 4] = ["--image", "--video", "--audio", LORA];
/// The one whose files may have a scale, and may be folders.
const LORA: &str = "--lora";
/// Extensions of pictures.
const PICTURES: &[&str] = &[
    "png", "apng", "jpg", "jpeg", "jfif", "webp", "gif", "bmp", "heic", "heif", "avif", "tif",
    "tiff", "jp2", "tga", "ico", "ppm",
];
/// Extensions of videos.
const VIDEOS: &[&str] = &[
    "mp4", "mov", "m4v", "mkv", "webm", "avi", "mpg", "mpeg", "flv", "3gp",
];
/// Extensions of sounds.
const SOUNDS: &[&str] = &[
    "wav", "mp3", "ogg", "oga", "opus", "flac", "m4a", "aac", "aif", "aiff", "wma", "caf", "au",
];
/// Extensions of weights.
const WEIGHTS: &[&str] = &["safetensors", "sft", "gguf", "bin", "pt", "pth", "ckpt"];

/// The arguments for clap; the first is the program.
pub fn arguments(given: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut given: Vec<OsString> = given.into_iter().collect();
    let Some(first) = given
        .get(1)
        .map(|first| first.to_string_lossy().into_owned())
    else {
        return given;
    };
    if !is_command(&first) {
        given.insert(1, "generate".into());
    } else if first != "generate" {
        return given;
    }
    let rest = given.split_off(2);
    given.extend(Typed::new().rewrite(rest));
    given
}

/// True for a command, for a flag of the program itself, and for a word that is one letter away from a
/// command: clap asks then.
fn is_command(first: &str) -> bool {
    if ["-h", "--help", "-V", "--version", "help"].contains(&first) {
        return true;
    }
    let command = Cli::command();
    let mut names = command.get_subcommands().map(Command::get_name);
    names.any(|name| name == first || is_near(name, first))
}

/// True where one letter is missing, too many or another.
fn is_near(name: &str, word: &str) -> bool {
    let (name, word) = (name.as_bytes(), word.as_bytes());
    let alike = |a: &[u8], b: &[u8]| a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let start = alike(name, word);
    let reversed = |bytes: &[u8]| bytes.iter().rev().copied().collect::<Vec<u8>>();
    let end = alike(&reversed(name), &reversed(word));
    let longer = name.len().max(word.len());
    name.len().abs_diff(word.len()) <= 1 && start + end + 1 >= longer
}

/// The flag for a file of this name, by its extension.
pub fn flag_of(path: &Path) -> Option<&'static str> {
    let extension = path.extension()?.to_str()?.to_ascii_lowercase();
    let kinds = [PICTURES, VIDEOS, SOUNDS, WEIGHTS];
    let mut kinds = FILES.into_iter().zip(kinds);
    kinds.find_map(|(flag, kind)| kind.contains(&extension.as_str()).then_some(flag))
}

/// Rewrites the arguments of `generate`.
struct Typed {
    command: Command,
}

impl Typed {
    fn new() -> Self {
        Self {
            command: GenerateArgs::augment_args(Command::new("generate")),
        }
    }

    fn rewrite(&self, given: Vec<OsString>) -> Vec<OsString> {
        let mut written: Vec<OsString> = Vec::with_capacity(given.len());
        let (mut is_value, mut files) = (false, None::<&str>);
        let mut given = given.into_iter();
        for argument in given.by_ref() {
            let Some(text) = argument.to_str() else {
                (is_value, files) = (false, None);
                written.push(argument);
                continue;
            };
            if is_value {
                is_value = false;
            } else if text == "--" {
                written.push(argument);
                break;
            } else if let Some(flag) = files.filter(|flag| is_file(flag, text)) {
                written.push(flag.into());
            } else if text.len() > 1 && text.starts_with('-') {
                if !self.may_be_flag(text) {
                    files = None;
                    written.push(format!("--prompt={text}").into());
                    continue;
                }
                is_value = self.wants_value(text);
                let name = text.split('=').next().unwrap_or(text);
                files = FILES.into_iter().find(|flag| *flag == name);
            } else {
                files = None;
            }
            written.push(argument);
        }
        written.extend(given);
        written
    }

    /// True unless no flag can be meant: `-5 degrees`, `--a list`, `- a dash`.
    fn may_be_flag(&self, text: &str) -> bool {
        if let Some(long) = text.strip_prefix("--") {
            let name = long.split('=').next().unwrap_or(long);
            return name.starts_with(|c: char| c.is_ascii_alphabetic())
                && !name.contains(char::is_whitespace);
        }
        for short in text.chars().skip(1) {
            match self.short_takes_value(short) {
                Some(true) => return true, // the rest is its value
                Some(false) => {}
                None => {
                    return short.is_ascii_alphabetic() && !text.contains(char::is_whitespace);
                }
            }
        }
        true
    }

    /// True when the next argument is the flag's value.
    fn wants_value(&self, text: &str) -> bool {
        if let Some(long) = text.strip_prefix("--") {
            let mut arguments = self.command.get_arguments();
            let flag = arguments.find(|argument| argument.get_long() == Some(long));
            return flag.is_some_and(|flag| flag.get_action().takes_values());
        }
        let mut shorts = text.chars().skip(1);
        let valued = shorts
            .by_ref()
            .any(|short| self.short_takes_value(short) == Some(true));
        valued && shorts.next().is_none()
    }

    /// Whether a short flag takes a value; `None` for one that is not there.
    fn short_takes_value(&self, short: char) -> Option<bool> {
        if matches!(short, 'h' | 'V') {
            return Some(false);
        }
        let mut arguments = self.command.get_arguments();
        let flag = arguments.find(|argument| argument.get_short() == Some(short));
        flag.map(|flag| flag.get_action().takes_values())
    }
}

/// True for what is a file rather than a prompt behind `--image a.png`.
fn is_file(flag: &str, text: &str) -> bool {
    if flag == LORA {
        return is_lora(text);
    }
    if text.starts_with("file://") || text.starts_with("data:") {
        return true;
    }
    let path = Path::new(text);
    let is_named_so = flag_of(path).is_some_and(|flag| flag != LORA);
    is_named_so && (!text.contains(char::is_whitespace) || path.is_file())
}

/// True for `b.safetensors`, `b.safetensors:0.5`, and the path of a folder that is there: a word alone
/// may be a prompt.
fn is_lora(text: &str) -> bool {
    let Ok(Scaled { file, .. }) = text.parse() else {
        return false;
    };
    match flag_of(&file) == Some(LORA) {
        true => !text.contains(char::is_whitespace) || file.is_file(),
        false => text.contains(['/', '\\']) && file.is_dir(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &[&str]) -> Vec<String> {
        let line = [&["x2i"], line].concat();
        let read = arguments(line.into_iter().map(OsString::from));
        let read = read.into_iter().skip(1);
        read.map(|argument| argument.into_string().unwrap())
            .collect()
    }

    #[test]
    fn what_is_no_command_is_a_prompt_or_its_flags() {
        assert_eq!(read(&["a red apple"]), ["generate", "a red apple"]);
        assert_eq!(read(&["-p", "x"]), ["generate", "-p", "x"]);
        assert_eq!(read(&[""]), ["generate", ""]);
        for own in [
            "inspect",
            "doctor",
            "--version",
            "-h",
            "help",
            "docto",
            "inspekt",
        ] {
            assert_eq!(read(&[own]), [own]);
        }
        assert_eq!(read(&[]), [""; 0]);
        assert_eq!(read(&["doctor", "-5 x"]), ["doctor", "-5 x"]);
    }

    #[test]
    fn several_files_a_flag_and_then_a_prompt() {
        assert_eq!(
            read(&[
                "--image",
                "a.png",
                "b.JPG",
                "the same cat",
                "--seed",
                "7",
                "c.png"
            ]),
            [
                "generate",
                "--image",
                "a.png",
                "--image",
                "b.JPG",
                "the same cat",
                "--seed",
                "7",
                "c.png"
            ]
        );
        assert_eq!(
            read(&["--audio=a.wav", "b.mp3", "x"]),
            ["generate", "--audio=a.wav", "--audio", "b.mp3", "x"]
        );
        assert_eq!(
            read(&["--image", "a.png", "a cat like b.png"]),
            ["generate", "--image", "a.png", "a cat like b.png"]
        );
        assert_eq!(
            read(&["--image", "a.png", "--", "b.png"]),
            ["generate", "--image", "a.png", "--", "b.png"]
        );
    }

    #[test]
    fn several_loras_a_flag_and_then_a_prompt() {
        assert_eq!(
            read(&["--lora", "a.safetensors", "b.SFT:0.5", "a red apple"]),
            [
                "generate",
                "--lora",
                "a.safetensors",
                "--lora",
                "b.SFT:0.5",
                "a red apple"
            ]
        );
        assert_eq!(
            read(&["--lora=a.safetensors:1", "b.safetensors", "c.png"]),
            [
                "generate",
                "--lora=a.safetensors:1",
                "--lora",
                "b.safetensors",
                "c.png"
            ]
        );
        // `src` and `src/flags` are folders here.
        assert_eq!(
            read(&["--lora", "a", "./src:0.5", "src/flags", "src"]),
            [
                "generate",
                "--lora",
                "a",
                "--lora",
                "./src:0.5",
                "--lora",
                "src/flags",
                "src"
            ]
        );
        for prompt in ["the style of a.safetensors", "a/b", "ratio 3:2", "b.png"] {
            let line = ["--lora", "a.safetensors", prompt];
            assert_eq!(read(&line)[1..], line);
        }
        let line = ["--image", "a.png", "b.safetensors"];
        assert_eq!(read(&line)[1..], line);
    }

    #[test]
    fn a_dash_that_begins_no_flag_begins_a_prompt() {
        for prompt in [
            "-5 degrees",
            "- a dash",
            "--a list",
            "-30°",
            "-quiet night",
            "---",
        ] {
            let expected = format!("--prompt={prompt}");
            assert_eq!(read(&[prompt]), ["generate", &expected], "{prompt}");
        }
        for flags in [
            &["--text", "-1 or"][..],
            &["-o", "-"],
            &["-q", "-x"],
            &["-qo", "- a.png"],
            &["-omy file.png"],
            &["--image=my file.png"],
            &["--sead", "7"],
            &["--", "-5 degrees"],
        ] {
            assert_eq!(read(flags)[1..], *flags);
        }
    }

    #[test]
    fn files_are_known_by_their_extension() {
        assert_eq!(flag_of(Path::new("a.PNG")), Some("--image"));
        assert_eq!(flag_of(Path::new("a.mov")), Some("--video"));
        assert_eq!(flag_of(Path::new("a.opus")), Some("--audio"));
        assert_eq!(flag_of(Path::new("a.safetensors")), Some("--lora"));
        assert_eq!(flag_of(Path::new("a.txt")), None);
    }
}
