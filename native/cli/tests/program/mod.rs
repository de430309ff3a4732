//! Running the x2i program as a user does, on the tiny reference model.

#![allow(dead_code, reason = "each test program uses its own part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use image::codecs::gif::GifEncoder;
use image::{Delay, Frame, Rgba, RgbaImage};

/// What a run of the program gave.
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    pub fn new(output: Output) -> Self {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// Fails the test unless the program succeeded.
    #[track_caller]
    pub fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self
    }

    /// Fails the test unless the program refused in one line that holds all of `words`.
    #[track_caller]
    pub fn refused(self, words: &[&str]) -> Self {
        assert!(
            matches!(self.code, Some(1 | 2)),
            "exit code {:?}: {}",
            self.code,
            self.stderr
        );
        let errors: Vec<&str> = self
            .stderr
            .lines()
            .filter(|line| line.starts_with("error: "))
            .collect();
        assert_eq!(errors.len(), 1, "{}", self.stderr);
        for word in words {
            assert!(
                errors[0].contains(word),
                "`{word}` is not in: {}",
                errors[0]
            );
        }
        for noise in ["panicked", "RUST_BACKTRACE"] {
            assert!(
                !self.stderr.contains(noise) && !self.stdout.contains(noise),
                "{}",
                self.stderr
            );
        }
        self
    }
}

/// The program in a folder of its own, with the tiny reference model.
pub struct Program {
    pub folder: tempfile::TempDir,
    model: PathBuf,
}

impl Program {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let model = folder.path().join("tiny");
        write_tiny_model(&model);
        Self { folder, model }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The model folder.
    pub fn model(&self) -> &str {
        self.model.to_str().expect("a UTF-8 path")
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_x2i"));
        command.args(arguments).current_dir(self.folder.path());
        command.env("XDG_CACHE_HOME", self.path("in-cache"));
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Run {
        Run::new(
            self.command(arguments)
                .output()
                .expect("the program starts"),
        )
    }

    /// `x2i generate` on the CPU with the tiny model.
    pub fn generate(&self, arguments: &[&str]) -> Run {
        self.run(
            &[
                &["generate", "--model", self.model(), "--device", "cpu"],
                arguments,
            ]
            .concat(),
        )
    }

    /// The names of files in the program's folder, without the model and input files that start
    /// with `in`.
    pub fn files(&self) -> Vec<String> {
        let mut names = names(self.folder.path());
        names.retain(|name| name != "tiny" && !name.starts_with("in"));
        names
    }
}

/// The reference model of the parity tests: its parts lie in two golden folders.
fn write_tiny_model(folder: &Path) {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens");
    let goldens = goldens
        .canonicalize()
        .expect("the golden folders are there");
    let hints = serde_json::json!({
        "name": "tiny",
        "flux": goldens.join("pipeline_tiny/flux"),
        "proj": goldens.join("pipeline_tiny/proj"),
        "mllm": goldens.join("qwen2_5_vl_tiny"),
        "defaults": {"width": 64, "height": 64, "padding": null, "input_image_size": null, "max_new_tokens": 4},
    });
    std::fs::create_dir(folder).expect("a folder for the model");
    std::fs::write(folder.join("x2i.json"), hints.to_string()).expect("x2i.json is written");
}

/// All names in a folder, sorted.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the folder is readable");
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// A PNG of one colour.
pub fn write_png(path: &Path, width: u32, height: u32) {
    image::RgbImage::from_pixel(width, height, image::Rgb([200, 30, 30]))
        .save(path)
        .expect("a PNG is written");
}

/// Four frames of 56x56 over two seconds, one lighter than the other.
pub fn write_gif(path: &Path, shade: u8) {
    let file = std::fs::File::create(path).expect("a GIF is made");
    let mut encoder = GifEncoder::new(file);
    for frame in 0..4u8 {
        let image = RgbaImage::from_pixel(56, 56, Rgba([shade + frame * 20, 9, 9, 255]));
        let delay = Delay::from_numer_denom_ms(500, 1);
        let frame = Frame::from_parts(image, 0, 0, delay);
        encoder.encode_frame(frame).expect("a frame is written");
    }
}
