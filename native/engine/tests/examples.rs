//! The examples are run as a reader would run them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use x2i_core::weights::StoredType;
use x2i_core::weights::gguf::GgufWriter;

/// Runs an example in a folder of its own; what it printed.
fn run(example: &str, folder: &TempDir, arguments: &[&str]) -> String {
    // `cargo test` builds the examples first; they lie beside this program's folder.
    let deps = std::env::current_exe().expect("this program has a path");
    let built = deps.ancestors().nth(2).expect("a target folder");
    let output = Command::new(built.join("examples").join(example))
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("`cargo test` has built the examples");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn image(folder: &TempDir, name: &str) -> image::RgbImage {
    let image = image::open(folder.path().join(name));
    image.expect("the example wrote it").into_rgb8()
}

fn emoji() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../core/models/emoji");
    folder.canonicalize().expect("the embedded model's folder")
}

#[test]
fn paint_is_fifteen_lines_and_paints() {
    let source = fs::read_to_string("examples/paint.rs").expect("the example");
    let lines = source.lines().filter(|line| !line.starts_with("//!"));
    assert!(lines.filter(|line| !line.is_empty()).count() <= 15);
    let folder = folder();
    run("paint", &folder, &[]);
    let image = image(&folder, "apple.png");
    assert_eq!(image.dimensions(), (64, 64));
    let [red, _, blue] = image.get_pixel(1, 1).0;
    assert!(blue > red, "the background is blue: {red} {blue}");
}

#[test]
fn several_paints_all_but_the_one_that_it_cancels() {
    let folder = folder();
    let said = run("several", &folder, &[]);
    for name in ["1.png", "2.png"] {
        image(&folder, name);
    }
    assert!(!folder.path().join("3.png").exists());
    assert!(said.contains("image 3: cancelled"), "{said}");
    assert!(said.contains("image 1: Denoise 1 of "), "{said}");
}

#[test]
fn encode_prints_the_shapes_of_the_conditioning() {
    let said = run("encode", &folder(), &[]);
    assert!(said.contains("txt [1, "), "{said}");
    assert!(said.contains("vec [1, "), "{said}");
    assert!(said.contains("red apple"), "{said}");
}

#[test]
fn a_source_of_ones_own_paints() {
    let folder = folder();
    run("source", &folder, &[&emoji().display().to_string()]);
    assert_eq!(image(&folder, "cat.png").dimensions(), (64, 64));
}

#[test]
fn a_lora_changes_the_image() {
    let folder = folder();
    let path = folder.path().join("style.safetensors");
    write_lora(&path);
    let mut painted = vec![];
    for scale in ["0", "4"] {
        run("lora", &folder, &[&path.display().to_string(), scale]);
        painted.push(image(&folder, "styled.png"));
    }
    assert_ne!(painted[0], painted[1]);
}

/// A LoRA of rank 1 on the image stream's attention of the first double block.
fn write_lora(path: &Path) {
    let config = fs::read(emoji().join("model.json")).expect("the model's config");
    let config: serde_json::Value = serde_json::from_slice(&config).expect("JSON");
    let number = |key: &str| config["flux"]["config"][key].as_u64().expect("a number") as usize;
    let hidden = number("num_attention_heads") * number("attention_head_dim");
    let name = |half| format!("transformer.transformer_blocks.0.attn.to_q.lora_{half}.weight");
    let halves = [(name("A"), vec![1, hidden]), (name("B"), vec![hidden, 1])];
    let plan = halves.map(|(name, shape)| (name, StoredType::F32, shape));
    let writer = GgufWriter::new(vec![], plan.to_vec()).expect("a plan");
    let mut file = writer.start("style", Vec::new()).expect("a header");
    let values: Vec<u8> = (0..hidden)
        .flat_map(|at| ((at % 5) as f32 * 0.1 - 0.2).to_le_bytes())
        .collect();
    for _ in &plan {
        file.write_tensor(&values).expect("a tensor as planned");
    }
    fs::write(path, file.finish().expect("all tensors")).expect("the file is written");
}
