//! `x2i convert`: which type a tensor gets, and how much memory it takes to give it.

mod program;

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use program::{Program, write_png};
use serde_json::{Value, json};

/// The stored type of a tensor in a converted folder.
fn stored(program: &Program, file: &str, name: &str) -> String {
    let run = program.run(&["inspect", file, "--tensors", "--json"]);
    let report: Value = serde_json::from_str(&run.succeeded().stdout).unwrap();
    let tensors = report["tensors"].as_array().expect("tensors").iter();
    let mut found = tensors.filter(|tensor| tensor["name"] == name);
    let tensor = found.next().unwrap_or_else(|| panic!("{name} in {file}"));
    tensor["stored"].as_str().expect("a type").to_owned()
}

/// The mean differences of pictures are three to four times those measured, in grey levels.
#[test]
fn every_type_paints_and_keeps_what_is_small_out_of_blocks() {
    let program = Program::new();
    write_png(&program.path("in.png"), 56, 56);
    let painting = ["a cat", "--image", "in.png", "--seed", "1", "-o"];
    program
        .generate(&[&painting[..], &["source.png"]].concat())
        .succeeded();
    let pixels = |name| {
        let picture = image::open(program.path(name)).expect("a picture");
        picture.into_rgb8().into_raw()
    };
    let source = pixels("source.png");
    let cases = [
        // Most rows, of 64 numbers, do not divide into blocks of 256.
        ("q4_k", "Q8_0", "F16", 1.0),
        ("q4_0", "Q4_0", "F16", 3.0),
        ("q8_0", "Q8_0", "F16", 0.25),
        ("f16", "F16", "F16", 0.1),
        ("none", "F32", "F32", 0.0),
    ];
    for (quantize, block, kept, difference) in cases {
        program
            .run(&["convert", program.model(), quantize, "--quantize", quantize])
            .succeeded();
        let of = |name| stored(&program, &format!("{quantize}/flux.gguf"), name);
        assert_eq!(
            of("double_blocks.0.img_mod.lin.weight"),
            block,
            "{quantize}"
        );
        assert_eq!(of("img_in.weight"), kept, "{quantize}");
        assert_eq!(of("final_layer.linear.weight"), kept, "{quantize}");
        assert_eq!(of("img_in.bias"), "F32", "{quantize}");
        let vae = format!("{quantize}/vae.gguf");
        assert_eq!(stored(&program, &vae, "decoder.conv_in.weight"), kept);
        assert_eq!(stored(&program, &vae, "decoder.mid.attn_1.q.weight"), kept);
        let generate = ["generate", "--model", quantize, "--device", "cpu"];
        program
            .run(&[&generate[..], &painting[..], &["made.png"]].concat())
            .succeeded();
        let made = pixels("made.png");
        let differences = made.iter().zip(&source).map(|(a, b)| a.abs_diff(*b));
        let mean = differences.map(f64::from).sum::<f64>() / made.len() as f64;
        assert!(mean <= difference, "{quantize}: {mean} grey levels");
    }
}

#[test]
fn the_last_override_that_matches_a_name_counts() {
    let program = Program::new();
    program
        .run(&[
            "convert",
            program.model(),
            "small",
            "--quantize",
            "q4_0",
            "--override",
            "^double_blocks.*=q8_0",
            "--override",
            "^double_blocks\\.0\\.img_mod\\.lin\\.weight$=bf16",
            "--override",
            "^model\\.norm=f16",
        ])
        .succeeded();
    let flux = |name| stored(&program, "small/flux.gguf", name);
    assert_eq!(flux("double_blocks.0.img_mod.lin.weight"), "BF16");
    assert_eq!(flux("double_blocks.0.txt_mod.lin.weight"), "Q8_0");
    assert_eq!(flux("double_blocks.0.txt_mod.lin.bias"), "Q8_0");
    assert_eq!(flux("single_blocks.0.modulation.lin.weight"), "Q4_0");
    assert_eq!(
        stored(&program, "small/encoder.gguf", "model.norm.weight"),
        "F16"
    );
}

#[test]
fn overrides_that_can_not_be_are_refused_before_anything_is_written() {
    let program = Program::new();
    let refused = |text: &str, words: &[&str]| {
        let arguments = ["convert", program.model(), "small", "--override", text];
        program.run(&arguments).refused(words);
    };
    refused(
        "nothing_is_called_this=q8_0",
        &["--override", "nothing_is_called_this", "no tensor"],
    );
    refused(
        "double_blocks.0.img_mod.lin.weight=q4_k",
        &["--override", "double_blocks.0.img_mod.lin.weight", "Q4_K"],
    );
    refused("img_in", &["--override", "REGEX=TYPE"]);
    refused("img_in=q2_k", &["--override", "q2_k"]);
    refused("img_(in=q8_0", &["--override", "regular expression"]);
    assert_eq!(program.files(), [""; 0]);
}

/// A safetensors file of zeros of which only the header takes room on the disk.
fn write_sparse(path: &Path, tensors: &[(&str, &str, [u64; 2])]) -> u64 {
    let mut end = 0;
    let mut header = serde_json::Map::new();
    for (name, dtype, shape) in tensors {
        let begin = end;
        end += shape[0] * shape[1] * if *dtype == "F32" { 4 } else { 2 };
        let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": [begin, end]});
        header.insert((*name).to_owned(), entry);
    }
    let header = Value::Object(header).to_string();
    let mut file = File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes())
        .unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len(8 + header.len() as u64 + end).unwrap();
    end
}

/// Joined from three pieces, alone as f32, and as bf16: larger than [`MOST_MEMORY`] each.
const LARGE: [(&str, &str, [u64; 2]); 5] = [
    ("transformer_blocks.0.attn.to_q.weight", "F32", [8192, 8192]),
    ("transformer_blocks.0.attn.to_k.weight", "F32", [8192, 8192]),
    ("transformer_blocks.0.attn.to_v.weight", "F32", [8192, 8192]),
    ("single_blocks.0.linear1.weight", "F32", [21504, 3072]),
    ("single_blocks.0.linear2.weight", "BF16", [32768, 4096]),
];

/// Bytes that a conversion may take at its peak: the program itself and a few parts of a tensor.
const MOST_MEMORY: u64 = 160 << 20;

#[test]
#[cfg(target_os = "linux")]
fn the_memory_it_takes_does_not_depend_on_the_model() {
    let program = Program::new();
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens");
    let goldens = goldens.canonicalize().unwrap();
    let (large, flux) = (program.path("in-large"), program.path("in-large/flux"));
    fs::create_dir_all(&flux).unwrap();
    let bytes = write_sparse(&flux.join("flux1-schnell.safetensors"), &LARGE);
    assert!(bytes > 7 * MOST_MEMORY);
    let vae = goldens.join("pipeline_tiny/flux/vae/diffusion_pytorch_model.safetensors");
    fs::copy(vae, flux.join("ae.safetensors")).unwrap();
    let hints = json!({
        "proj": goldens.join("pipeline_tiny/proj"),
        "mllm": goldens.join("qwen2_5_vl_tiny"),
    });
    fs::write(large.join("x2i.json"), hints.to_string()).unwrap();

    let arguments = ["convert", "in-large", "small", "--quantize", "q4_0", "-q"];
    let mut child = program.command(&arguments).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        peak = peak.max(high_water(&status));
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(child.wait().unwrap().success());
    assert!(peak > 0, "no high-water mark was read");
    assert!(peak < MOST_MEMORY, "{} MiB at the peak", peak >> 20);
    let joined = stored(
        &program,
        "small/flux.gguf",
        "double_blocks.0.img_attn.qkv.weight",
    );
    assert_eq!(joined, "Q4_0");
}

/// The most memory that a process had so far, in bytes; 0 once it has ended.
#[cfg(target_os = "linux")]
fn high_water(status: &str) -> u64 {
    let status = fs::read_to_string(status).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}
