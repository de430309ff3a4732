//! The program with what stands beside a model and a prompt: LoRAs, a picture to begin with, a
//! picture that steers.

mod program;

use std::collections::BTreeMap;
use std::fs;

use program::{Program, write_png};
use x2i_core::weights::StoredType;
use x2i_core::weights::gguf::GgufWriter;

/// A file of f32 tensors that hold -0.06, -0.03, 0, 0.03, 0.06, -0.06, ...
fn write_weights(program: &Program, name: &str, tensors: &[(&str, &[usize])]) {
    let plan = tensors
        .iter()
        .map(|(key, shape)| ((*key).to_owned(), StoredType::F32, shape.to_vec()));
    let mut file = GgufWriter::new(vec![], plan.collect())
        .and_then(|writer| writer.start(name, Vec::new()))
        .expect("a plan of tensors");
    for (_, shape) in tensors {
        let values = (0..shape.iter().product()).map(|at: usize| (at % 5) as f32 * 0.03 - 0.06);
        let bytes: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
        file.write_tensor(&bytes).expect("a tensor as planned");
    }
    let bytes = file.finish().expect("all tensors are written");
    fs::write(program.path(name), bytes).expect("the file is written");
}

/// The width of the tiny model's transformer.
fn hidden_size() -> usize {
    let config = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/goldens/pipeline_tiny/flux/transformer/config.json"
    );
    let config = fs::read(config).expect("the tiny transformer's config");
    let config: serde_json::Value = serde_json::from_slice(&config).expect("JSON");
    let number = |key: &str| config[key].as_u64().expect("a number") as usize;
    number("num_attention_heads") * number("attention_head_dim")
}

const DOWN: &str = "transformer.transformer_blocks.0.attn.to_q.lora_A.weight";
const UP: &str = "transformer.transformer_blocks.0.attn.to_q.lora_B.weight";

/// A rank of 2 on the queries of one block.
fn write_lora(program: &Program, name: &str) {
    let hidden = hidden_size();
    write_weights(program, name, &[(DOWN, &[2, hidden]), (UP, &[hidden, 2])]);
}

/// The pixels of a picture that the program wrote.
fn pixels(program: &Program, name: &str) -> Vec<u8> {
    let picture = image::open(program.path(name)).expect("a picture");
    picture.into_rgb8().into_raw()
}

#[test]
fn a_lora_changes_the_picture_by_its_scale() {
    let program = Program::new();
    write_lora(&program, "in.safetensors");
    let paint = |lora: &[&str], name: &str| {
        let arguments = [&["x", "--seed", "3", "-o", name], lora].concat();
        program.generate(&arguments).succeeded();
        pixels(&program, name)
    };
    let plain = paint(&[], "a.png");
    let changed = paint(&["--lora", "in.safetensors:9"], "b.png");
    assert!(plain != changed, "the LoRA did nothing");
    assert!(plain == paint(&["--lora", "in.safetensors:0"], "c.png"));
    let twice = ["--lora", "in.safetensors:4", "--lora", "in.safetensors:5"];
    let worst = changed.iter().zip(paint(&twice, "d.png"));
    let worst = worst.map(|(a, b)| a.abs_diff(b)).max();
    assert!(
        worst <= Some(1),
        "4 and 5 are 9, but for roundings: {worst:?}"
    );
}

#[test]
fn a_picture_of_a_lora_repeats_itself_and_notices_another_file() {
    let program = Program::new();
    write_lora(&program, "in.safetensors");
    program
        .generate(&["x", "--lora", "in.safetensors:9"])
        .succeeded();
    let again = ["generate", "--from", "out.png", "-o", "again.png"];
    program.run(&again).succeeded();
    let bytes = |name| fs::read(program.path(name)).unwrap();
    assert!(bytes("out.png") == bytes("again.png"));
    program
        .run(&[&again[..], &["--lora", "in.safetensors:0"]].concat())
        .succeeded();
    assert!(pixels(&program, "out.png") != pixels(&program, "again.png"));
    let hidden = hidden_size();
    write_weights(
        &program,
        "in.safetensors",
        &[(DOWN, &[1, hidden]), (UP, &[hidden, 1])],
    );
    program
        .run(&again)
        .refused(&["--from", "in.safetensors", "SHA-256", "--lora"]);
    fs::remove_file(program.path("in.safetensors")).unwrap();
    program
        .run(&again)
        .refused(&["--from", "in.safetensors", "not found"]);
}

#[test]
fn a_lora_that_does_not_fit_is_refused_by_every_key_and_shape() {
    let program = Program::new();
    let hidden = hidden_size();
    let strange = [
        "lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight",
        "transformer.transformer_blocks.0.attn.to_other.lora_A.weight",
        "transformer.transformer_blocks.0.attn.to_other.lora_B.weight",
    ];
    let narrow = "transformer.transformer_blocks.0.attn.to_k.lora_B.weight";
    let down = "transformer.transformer_blocks.0.attn.to_k.lora_A.weight";
    let lonely = "double_blocks.0.img_mlp.0.lora_A.weight";
    let tensors: &[(&str, &[usize])] = &[
        (strange[0], &[2, 4]),
        (strange[1], &[2, hidden]),
        (strange[2], &[hidden, 2]),
        (down, &[2, hidden]),
        (narrow, &[hidden - 1, 2]),
        (lonely, &[2, hidden]),
        (DOWN, &[2, hidden]),
        (UP, &[hidden, 2]),
    ];
    write_weights(&program, "in.safetensors", tensors);
    let shape = format!("[{}, 2]", hidden - 1);
    let words = [
        &[
            "in.safetensors",
            "3 of 8 keys",
            narrow,
            &shape,
            "img_mlp.0` has one half",
        ],
        &strange[..],
    ];
    program
        .generate(&["x", "--lora", "in.safetensors"])
        .refused(&words.concat());
    assert_eq!(program.files(), [""; 0]);
}

#[test]
fn what_the_model_does_not_have_is_left_out_aloud_and_alone_it_is_nothing() {
    let program = Program::new();
    let hidden = hidden_size();
    for (keys, words) in [
        (
            [
                "lora_te1_text_model_encoder_layers_0_mlp_fc1.alpha",
                "lora_te2_x.alpha",
            ],
            "2 keys change the text encoders",
        ),
        (
            [
                "transformer.transformer_blocks.99.attn.to_q.lora_A.weight",
                "transformer.transformer_blocks.99.attn.to_q.lora_B.weight",
            ],
            "double_blocks.99.img_attn.qkv",
        ),
    ] {
        let mut tensors: Vec<(&str, &[usize])> = keys.map(|key| (key, &[2, 2][..])).to_vec();
        write_weights(&program, "in.safetensors", &tensors);
        program
            .generate(&["x", "--lora", "in.safetensors"])
            .refused(&["in.safetensors", "no key changes the transformer"]);
        let (down, up) = ([2, hidden], [hidden, 2]);
        tensors.extend([(DOWN, &down[..]), (UP, &up[..])]);
        write_weights(&program, "in.safetensors", &tensors);
        let run = program
            .generate(&["x", "--lora", "in.safetensors"])
            .succeeded();
        assert!(run.stderr.contains(words), "{}", run.stderr);
    }
}

/// A folder as PEFT saves an adapter, with its config.
fn write_folder(program: &Program, folder: &str, file: &str, config: Option<&str>) {
    fs::create_dir_all(program.path(folder)).expect("a folder");
    write_lora(program, &format!("{folder}/{file}"));
    let path = program.path(&format!("{folder}/adapter_config.json"));
    match config {
        Some(config) => fs::write(path, config).expect("a config"),
        None => drop(fs::remove_file(path)),
    }
}

#[test]
fn a_folder_is_its_weights_and_its_config() {
    let program = Program::new();
    let paint = |lora: &str, name: &str| {
        let arguments = ["x", "--seed", "3", "-o", name, "--lora", lora];
        program.generate(&arguments).succeeded();
        pixels(&program, name)
    };
    write_lora(&program, "in.safetensors");
    let nine = paint("in.safetensors:9", "a.png");
    let twelve = paint("in.safetensors:12", "b.png");
    assert!(nine != twelve);
    let config = r#"{"peft_type": "LORA", "lora_alpha": 4, "r": 2}"#;
    write_folder(&program, "in", "adapter_model.safetensors", Some(config));
    assert!(paint("in:4.5", "c.png") == nine);
    assert!(paint("in/adapter_model.safetensors:6", "d.png") == twelve);
    let again = ["generate", "--from", "c.png", "-o", "again.png"];
    program.run(&again).succeeded();
    let bytes = |name| fs::read(program.path(name)).unwrap();
    assert!(bytes("c.png") == bytes("again.png"));
    let config = r#"{"peft_type": "LORA", "lora_alpha": 8, "r": 2}"#;
    write_folder(&program, "in", "adapter_model.safetensors", Some(config));
    program
        .run(&again)
        .refused(&["--from", "adapter_config.json", "SHA-256"]);
    write_folder(&program, "in2", "pytorch_lora_weights.safetensors", None);
    assert!(paint("in2:9", "e.png") == nine);
    write_folder(&program, "in3", "style.safetensors", None);
    assert!(paint("in3:9", "f.png") == nine);
}

#[test]
fn folders_and_configs_that_can_not_be_are_refused() {
    let program = Program::new();
    let lora = |file: &str| program.generate(&["x", "--lora", file]);
    fs::create_dir_all(program.path("in")).unwrap();
    lora("in").refused(&["--lora", "in", "holds no LoRA"]);
    for name in ["one.safetensors", "two.safetensors"] {
        write_folder(&program, "in", name, None);
    }
    lora("in").refused(&["--lora", "in", "2 .safetensors files"]);
    for (config, word) in [
        (r#"{"r": 4}"#, "its config says 4"),
        ("{", "adapter_config.json"),
        (r#"{"peft_type": "OFT"}"#, "OFT"),
        (r#"{"use_dora": true, "r": 2}"#, "use_dora"),
        (r#"{"modules_to_save": ["proj_out"]}"#, "modules_to_save"),
    ] {
        write_folder(&program, "in", "adapter_model.safetensors", Some(config));
        lora("in").refused(&["in", word]);
    }
    assert_eq!(program.files(), [""; 0]);
}

#[test]
fn loras_that_can_not_be_opened_are_refused() {
    let program = Program::new();
    fs::write(program.path("in.txt"), "hello, world").unwrap();
    let lora = |file: &str| program.generate(&["x", "--lora", file]);
    lora("nothing.safetensors:0.5").refused(&["--lora", "nothing.safetensors", "not found"]);
    lora("in.txt").refused(&["in.txt"]);
    lora(":1").refused(&["--lora", "FILE:SCALE"]);
    lora("in.txt:NaN").refused(&["--lora"]);
    assert_eq!(program.files(), [""; 0]);
}

#[test]
fn a_picture_that_began_with_another_repeats_itself() {
    let program = Program::new();
    write_png(&program.path("in.png"), 40, 24);
    let init = ["x", "--init", "in.png", "--strength", "0.5", "--steps", "4"];
    program.generate(&init).succeeded();
    let again = ["generate", "--from", "out.png", "-o", "again.png"];
    program.run(&again).succeeded();
    let bytes = |name| fs::read(program.path(name)).unwrap();
    assert!(bytes("out.png") == bytes("again.png"));
    program
        .run(&[&again[..], &["--strength", "1"]].concat())
        .succeeded();
    assert!(pixels(&program, "out.png") != pixels(&program, "again.png"));
    write_png(&program.path("in.png"), 40, 25);
    program
        .run(&again)
        .refused(&["--from", "in.png", "SHA-256", "--init"]);
}

#[test]
fn strengths_and_pictures_to_begin_with_that_can_not_be() {
    let program = Program::new();
    write_png(&program.path("in.png"), 40, 24);
    for strength in ["0", "-0.5", "1.01", "NaN", "inf"] {
        program
            .generate(&["x", "--init", "in.png", "--strength", strength])
            .refused(&["--strength", "above 0 and at most 1"]);
    }
    program
        .generate(&["x", "--strength", "0.5"])
        .refused(&["--strength", "--init"]);
    program.generate(&["x", "--init", "nothing.png"]).refused(&[
        "--init",
        "nothing.png",
        "not found",
    ]);
    fs::write(program.path("in.txt"), "hello, world").unwrap();
    program
        .generate(&["x", "--init", "in.txt"])
        .refused(&["--init", "in.txt", "not an image"]);
    assert_eq!(program.files(), [""; 0]);
}

/// LightControl's nets of the reference's tiny model, `nets` of them, for this transformer.
fn write_control(program: &Program, name: &str, nets: usize) {
    write_control_of(program, name, nets, hidden_size());
}

/// The same for a transformer of another width.
fn write_control_of(program: &Program, name: &str, nets: usize, width: usize) {
    let shapes = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/goldens/lightcontrol_tiny/state_dict_shapes.json"
    );
    let shapes = fs::read(shapes).expect("the reference's shapes");
    let shapes: BTreeMap<String, Vec<usize>> = serde_json::from_slice(&shapes).expect("JSON");
    let mut tensors = vec![];
    for net in 0..nets {
        for (key, shape) in &shapes {
            let Some(key) = key.strip_prefix("0.") else {
                continue;
            };
            let mut shape = shape.clone();
            if key.starts_with("mid_convs.1.") {
                shape[0] = width;
            }
            tensors.push((format!("{net}.{key}"), shape));
        }
    }
    let tensors: Vec<(&str, &[usize])> = tensors
        .iter()
        .map(|(key, shape)| (key.as_str(), shape.as_slice()))
        .collect();
    write_weights(program, name, &tensors);
}

#[test]
fn a_control_steers_by_its_scale_and_repeats_itself() {
    let program = Program::new();
    write_png(&program.path("in.png"), 40, 24);
    write_control(&program, "in.bin", 1);
    let paint = |control: &str, name: &str, more: &[&str]| {
        let control = ["--control", control, "--control-weights", "in.bin"];
        let arguments = [&["x", "--seed", "3", "-o", name], &control[..], more].concat();
        program.generate(&arguments).succeeded();
        pixels(&program, name)
    };
    let steered = paint("in.png:90", "a.png", &["--memory", "high"]);
    assert!(steered == paint("in.png:90", "b.png", &["--memory", "low"]));
    program
        .generate(&["x", "--seed", "3", "-o", "c.png"])
        .succeeded();
    let plain = pixels(&program, "c.png");
    assert!(steered != plain, "the control did nothing");
    assert!(plain == paint("in.png:0", "d.png", &[]));
    program
        .run(&["generate", "--from", "a.png", "-o", "again.png"])
        .succeeded();
    let bytes = |name| fs::read(program.path(name)).unwrap();
    assert!(bytes("a.png") == bytes("again.png"));
    write_png(&program.path("in.png"), 40, 25);
    program.run(&["generate", "--from", "a.png"]).refused(&[
        "--from",
        "in.png",
        "SHA-256",
        "--control",
    ]);
}

/// Changes a number near the end of a file to one that is not finite; the end itself may be padding.
fn spoil(program: &Program, name: &str) {
    let mut bytes = fs::read(program.path(name)).expect("the file is there");
    let at = bytes.len() - 64;
    bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(program.path(name), bytes).expect("the file is written");
}

/// Adapters are small: what is wrong with one is known before the model is read.
#[test]
fn broken_adapters_are_refused_before_the_model_is_loaded() {
    let program = Program::new();
    write_png(&program.path("in.png"), 40, 24);
    let early = |arguments: &[&str], words: &[&str]| {
        let run = program.generate(&[&["x"], arguments].concat());
        assert!(!run.stderr.contains("model loaded"), "{}", run.stderr);
        run.refused(words);
    };
    let control = |words: &[&str]| {
        early(
            &["--control", "in.png", "--control-weights", "in.bin"],
            &[&["--control-weights", "in.bin"], words].concat(),
        );
    };
    write_control(&program, "in.bin", 1);
    spoil(&program, "in.bin");
    control(&["tensor `", "NaN"]);
    write_control(&program, "in.bin", 1);
    let whole = fs::read(program.path("in.bin")).expect("the file is there");
    fs::write(program.path("in.bin"), &whole[..whole.len() / 2]).expect("a cut file");
    control(&[]);
    write_control_of(&program, "in.bin", 1, hidden_size() * 2);
    control(&["mid_convs.1.weight", "shape"]);
    let renamed = "0.time_embedding.linear_1.weight";
    let at = whole
        .windows(renamed.len())
        .position(|window| window == renamed.as_bytes());
    let mut bytes = whole.clone();
    let end = at.expect("the name is there") + renamed.len();
    bytes[end - 1] = b'x';
    fs::write(program.path("in.bin"), bytes).expect("the file is written");
    control(&["time_embedding.linear_1.weigh"]);

    write_lora(&program, "in.safetensors");
    spoil(&program, "in.safetensors");
    early(
        &["--lora", "in.safetensors"],
        &["--lora", "in.safetensors", UP, "not finite"],
    );
    assert_eq!(program.files(), [""; 0]);
}

#[test]
fn controls_that_can_not_be_are_refused() {
    let program = Program::new();
    write_png(&program.path("in.png"), 40, 24);
    program
        .generate(&["x", "--control", "in.png"])
        .refused(&["--control", "--control-weights"]);
    write_lora(&program, "in.safetensors");
    let with = |weights: &str| {
        program.generate(&["x", "--control", "in.png", "--control-weights", weights])
    };
    with("in.safetensors").refused(&["in.safetensors", "LightControl"]);
    with("nothing.bin").refused(&["--control-weights", "nothing.bin", "not found"]);
    write_control(&program, "in.bin", 9);
    with("in.bin").refused(&["in.bin", "9 nets", "double blocks"]);
    program
        .generate(&["x", "--control-weights", "in.bin"])
        .refused(&["--control-weights", "--control"]);
    program
        .generate(&[
            "x",
            "--control",
            "nothing.png",
            "--control-weights",
            "in.bin",
        ])
        .refused(&["--control", "nothing.png", "not found"]);
    assert_eq!(program.files(), [""; 0]);
}
