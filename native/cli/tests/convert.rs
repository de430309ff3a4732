//! `x2i convert`: which type a tensor gets, and how much memory it takes to give it.

mod program;

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
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

/// A tensor's name, type and shape.
type Tensor = (String, &'static str, Vec<u64>);

/// A safetensors file of which only the header and the last number, 1, take room on the disk.
fn write_sparse(path: &Path, tensors: &[Tensor]) -> u64 {
    let mut end = 0;
    let mut header = serde_json::Map::new();
    for (name, dtype, shape) in tensors {
        let begin = end;
        end += shape.iter().product::<u64>() * if *dtype == "F32" { 4 } else { 2 };
        let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": [begin, end]});
        header.insert(name.clone(), entry);
    }
    let header = Value::Object(header).to_string();
    let mut file = File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes())
        .unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len(8 + header.len() as u64 + end).unwrap();
    file.seek(SeekFrom::End(-2)).unwrap();
    file.write_all(&[0x80, 0x3f]).unwrap(); // as bf16
    end
}

/// The width of the large transformer's streams, and of its heads.
const WIDTH: u64 = 4096;
const HEAD: u64 = 128;

/// A transformer of a double and a single block. Matrices that are joined from three pieces, one alone
/// as f32, and one as bf16 are larger than [`MOST_MEMORY`] each.
fn large_transformer() -> Vec<Tensor> {
    let mut tensors: Vec<Tensor> = vec![];
    let mut linear = |name: &str, out: u64, input: u64| {
        let wide = ["to_q", "to_k", "to_v", "net.0.proj"];
        let dtype = match wide.iter().any(|end| name.ends_with(end)) {
            true => "F32",
            false => "BF16",
        };
        tensors.push((format!("{name}.bias"), "BF16", vec![out]));
        tensors.push((format!("{name}.weight"), dtype, vec![out, input]));
    };
    linear("x_embedder", WIDTH, 64);
    linear("context_embedder", WIDTH, 48);
    for (embedder, input) in [("timestep_embedder", 256), ("text_embedder", 32)] {
        linear(
            &format!("time_text_embed.{embedder}.linear_1"),
            WIDTH,
            input,
        );
        linear(
            &format!("time_text_embed.{embedder}.linear_2"),
            WIDTH,
            WIDTH,
        );
    }
    let (double, single) = ("transformer_blocks.0", "single_transformer_blocks.0");
    for stream in ["", "_context"] {
        linear(&format!("{double}.norm1{stream}.linear"), 6 * WIDTH, WIDTH);
        linear(&format!("{double}.ff{stream}.net.0.proj"), 4 * WIDTH, WIDTH);
        linear(&format!("{double}.ff{stream}.net.2"), WIDTH, 4 * WIDTH);
    }
    for name in [
        "to_q",
        "to_k",
        "to_v",
        "add_q_proj",
        "add_k_proj",
        "add_v_proj",
        "to_out.0",
        "to_add_out",
    ] {
        linear(&format!("{double}.attn.{name}"), WIDTH, WIDTH);
    }
    for name in ["to_q", "to_k", "to_v"] {
        linear(&format!("{single}.attn.{name}"), WIDTH, WIDTH);
    }
    linear(&format!("{single}.norm.linear"), 3 * WIDTH, WIDTH);
    linear(&format!("{single}.proj_mlp"), 4 * WIDTH, WIDTH);
    linear("norm_out.linear", 2 * WIDTH, WIDTH);
    linear("proj_out", 64, WIDTH);
    linear(&format!("{single}.proj_out"), WIDTH, 5 * WIDTH);
    for norm in [
        "attn.norm_q",
        "attn.norm_k",
        "attn.norm_added_q",
        "attn.norm_added_k",
    ] {
        tensors.insert(0, (format!("{double}.{norm}.weight"), "BF16", vec![HEAD]));
    }
    for norm in ["attn.norm_q", "attn.norm_k"] {
        tensors.insert(0, (format!("{single}.{norm}.weight"), "BF16", vec![HEAD]));
    }
    tensors
}

/// Bytes that a conversion may take at its peak: the program itself and a few parts of a tensor.
const MOST_MEMORY: u64 = 160 << 20;

#[test]
#[cfg(target_os = "linux")]
fn the_memory_it_takes_does_not_depend_on_the_model() {
    let program = Program::new();
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens");
    let goldens = goldens.canonicalize().unwrap();
    let (large, flux) = (program.path("in-large"), program.path("in-large/flux"));
    for (folder, file) in [
        ("vae", "config.json"),
        ("vae", "diffusion_pytorch_model.safetensors"),
        ("scheduler", "scheduler_config.json"),
    ] {
        fs::create_dir_all(flux.join(folder)).unwrap();
        let from = goldens.join("pipeline_tiny/flux").join(folder).join(file);
        fs::copy(from, flux.join(folder).join(file)).unwrap();
    }
    let transformer = flux.join("transformer");
    fs::create_dir_all(&transformer).unwrap();
    let weights = transformer.join("diffusion_pytorch_model.safetensors");
    let bytes = write_sparse(&weights, &large_transformer());
    assert!(bytes > 7 * MOST_MEMORY);
    let config = json!({
        "in_channels": 64, "num_layers": 1, "num_single_layers": 1, "attention_head_dim": HEAD,
        "num_attention_heads": WIDTH / HEAD, "joint_attention_dim": 48, "pooled_projection_dim": 32,
        "axes_dims_rope": [16, 56, 56],
    });
    fs::write(transformer.join("config.json"), config.to_string()).unwrap();
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
