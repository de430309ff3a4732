//! A damaged or foreign model: `generate`, `doctor` and `convert` refuse it alike, in one line that names
//! the file and the tensor or key, and no picture is written.

mod program;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use program::{Program, Run};
use serde_json::{Value, json};

/// A Hugging Face style folder of its own, which a test may break.
struct Broken {
    program: Program,
    folder: PathBuf,
}

impl Broken {
    fn new() -> Self {
        let program = Program::new();
        let folder = program.path("in-model");
        let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens");
        for (from, to) in [
            ("pipeline_tiny/flux/transformer", "flux/transformer"),
            ("pipeline_tiny/flux/vae", "flux/vae"),
            ("pipeline_tiny/flux/scheduler", "flux/scheduler"),
            ("pipeline_tiny/proj", "proj"),
            ("qwen2_5_vl_tiny", "mllm"),
        ] {
            copy(&goldens.join(from), &folder.join(to));
        }
        let hints = json!({"defaults": {"width": 64, "height": 64, "padding": null, "steps": 1}});
        fs::write(folder.join("x2i.json"), hints.to_string()).expect("x2i.json is written");
        Self { program, folder }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// Changes a config.
    fn json(&self, file: &str, change: impl FnOnce(&mut Value)) {
        let path = self.path(file);
        let mut json = serde_json::from_slice(&fs::read(&path).expect("the config is there"))
            .expect("the config is JSON");
        change(&mut json);
        fs::write(path, json.to_string()).expect("the config is written");
    }

    /// Changes the bytes of a file.
    fn bytes(&self, file: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.path(file);
        let mut bytes = fs::read(&path).expect("the file is there");
        change(&mut bytes);
        fs::write(path, bytes).expect("the file is written");
    }

    fn run(&self, arguments: &[&str]) -> Run {
        self.program.run(arguments)
    }

    fn model(&self) -> &str {
        self.folder.to_str().expect("a UTF-8 path")
    }

    fn generate(&self) -> Run {
        let picture = [
            "generate",
            "a cat",
            "--model",
            self.model(),
            "--device",
            "cpu",
            "--seed",
            "7",
        ];
        self.run(&picture)
    }

    fn doctor(&self, more: &[&str]) -> Run {
        self.run(&[&["doctor", "--model", self.model()], more].concat())
    }

    fn convert(&self) -> Run {
        self.run(&["convert", self.model(), "converted"])
    }

    /// All three refuse, for this reason, and nothing is written.
    #[track_caller]
    fn refused(&self, words: &[&str]) {
        self.generate().refused(words);
        self.convert().refused(words);
        let doctor = self.doctor(&[]).refused(&["--model"]);
        for word in words {
            assert!(
                doctor.stdout.contains(word),
                "`{word}` is not in {}",
                doctor.stdout
            );
        }
        assert!(!runs(&doctor), "{}", doctor.stdout);
        assert_eq!(self.program.files(), [""; 0]);
    }
}

/// The pixels that a model paints.
fn paint(model: &Broken) -> Vec<u8> {
    model.generate().succeeded();
    let bytes = fs::read(model.program.path("out.png")).expect("a picture");
    image::load_from_memory(&bytes)
        .expect("a PNG")
        .to_rgb8()
        .into_raw()
}

/// What doctor says of the CPU.
fn runs(doctor: &Run) -> bool {
    let mut lines = doctor.stdout.lines();
    lines.any(|line| line.trim_start().starts_with("runs ") && line.contains("  yes"))
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in from.read_dir().expect("a golden folder") {
        let entry = entry.expect("an entry");
        if entry.path().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
        }
    }
}

/// Puts `to` in place of the first `from`, which is as long.
fn replace(bytes: &mut [u8], from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let at = bytes
        .windows(from.len())
        .position(|window| window == from.as_bytes());
    let at = at.unwrap_or_else(|| panic!("{from} is not there"));
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
}

const TRANSFORMER: &str = "flux/transformer/config.json";
const WEIGHTS: &str = "flux/transformer/diffusion_pytorch_model.safetensors";

#[test]
fn a_whole_model_passes_all_three() {
    let model = Broken::new();
    model.generate().succeeded();
    let doctor = model.doctor(&["--verify"]).succeeded();
    assert!(runs(&doctor), "{}", doctor.stdout);
    model.convert().succeeded();
}

#[test]
fn a_flipped_bit_is_found_by_its_recorded_hash() {
    let model = Broken::new();
    model.convert().succeeded();
    let (converted, picture) = (
        model.program.path("converted"),
        model.program.path("out.png"),
    );
    let flux = converted.join("flux.gguf");
    let generate = |more: &[&str]| {
        let picture = [
            "generate",
            "a cat",
            "--model",
            "converted",
            "--device",
            "cpu",
        ];
        model.run(&[&picture, more].concat())
    };
    std::thread::sleep(Duration::from_millis(300));
    generate(&[]).succeeded();
    generate(&[]).succeeded(); // by the remembered hash
    generate(&["--verify"]).succeeded();
    let cache = model.program.path("in-cache/x2i/hashes.json");
    let known = fs::read_to_string(cache).expect("the cache is written");
    assert!(known.contains("flux.gguf"), "{known}");

    fs::remove_file(&picture).expect("a picture was painted");
    let whole = fs::read(&flux).expect("the weights are there");
    let mut flipped = whole.clone();
    let middle = whole.len() * 3 / 4;
    flipped[middle] ^= 1;
    fs::write(&flux, flipped).expect("the weights are written");
    let record = fs::read(converted.join("model.json")).expect("model.json is there");
    let record: Value = serde_json::from_slice(&record).expect("model.json is JSON");
    let hash = record["files"]["flux.gguf"]["sha256"]
        .as_str()
        .expect("a hash");
    let words = ["flux.gguf", "SHA-256", "model.json records", hash];
    generate(&[]).refused(&words);
    generate(&["--verify"]).refused(&words);
    model
        .run(&["convert", "converted", "again"])
        .refused(&words);
    let doctor = model.run(&["doctor", "--model", "converted"]).refused(&[]);
    assert!(doctor.stdout.contains(hash), "{}", doctor.stdout);
    assert!(!picture.exists() && !model.program.path("again").exists());

    fs::write(&flux, whole).expect("the weights are written");
    generate(&[]).succeeded();
}

#[test]
fn tensors_and_numbers_are_asked_for_alike() {
    let renamed = Broken::new();
    renamed.bytes(WEIGHTS, |bytes| {
        replace(bytes, "proj_out.weight", "proj_oux.weight")
    });
    // What is there and not known comes before what is missing.
    renamed.refused(&[WEIGHTS, "proj_oux.weight"]);

    let deeper = Broken::new();
    deeper.json(TRANSFORMER, |json| json["num_layers"] = json!(1));
    deeper.refused(&[WEIGHTS, "double_blocks.1.", "config"]);

    let guided = Broken::new();
    guided.json(TRANSFORMER, |json| json["guidance_embeds"] = json!(false));
    guided.refused(&["guidance_embeds", "false or missing"]);

    let zero = Broken::new();
    zero.bytes(WEIGHTS, |bytes| {
        let half = bytes.len() / 2;
        bytes[half..].fill(0);
    });
    zero.refused(&[WEIGHTS, "last matrix", "all zeros"]);
}

#[test]
fn numbers_that_are_not_finite_are_refused_by_their_tensor() {
    let model = Broken::new();
    model.bytes(WEIGHTS, |bytes| {
        let end = bytes.len();
        bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    let words = [WEIGHTS, "tensor `", "NaN"];
    model.refused(&words);
    let doctor = model.doctor(&["--verify"]).refused(&[]);
    assert!(doctor.stdout.contains("NaN"), "{}", doctor.stdout);
}

#[test]
fn numbers_are_looked_at_once_and_again_after_a_change() {
    let model = Broken::new();
    std::thread::sleep(Duration::from_millis(300));
    assert!(runs(&model.doctor(&[]).succeeded()));
    let cache = model.program.path("in-cache/x2i/hashes.json");
    let known = fs::read_to_string(&cache).expect("the cache is written");
    for part in ["FLUX transformer", "VAE", "AlignNet", "Qwen2.5-VL model"] {
        assert!(known.contains(part), "{part} is not in {known}");
    }
    let whole = fs::read(model.path(WEIGHTS)).expect("the weights are there");
    model.bytes(WEIGHTS, |bytes| {
        let end = bytes.len();
        bytes[end - 4..].copy_from_slice(&f32::INFINITY.to_le_bytes());
    });
    for _ in 0..2 {
        let doctor = model.doctor(&[]).refused(&[]);
        assert!(doctor.stdout.contains("NaN or an infinity") && !runs(&doctor));
    }
    fs::write(model.path(WEIGHTS), whole).expect("the weights are written");
    assert!(runs(&model.doctor(&[]).succeeded()));
    assert!(runs(&model.doctor(&["--verify"]).succeeded()));
}

#[test]
fn tokenizers_and_templates_are_checked_before_painting() {
    let tokenizer = "mllm/tokenizer.json";
    let prefix = Broken::new();
    prefix.json(tokenizer, |json| {
        json["model"]["continuing_subword_prefix"] = json!("##")
    });
    prefix.refused(&[tokenizer, "continuing_subword_prefix"]);

    let template = Broken::new();
    let endless = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
    fs::write(template.path("mllm/chat_template.jinja"), endless).expect("a template");
    template.refused(&["chat template", "fuel"]);

    let config = "mllm/config.json";
    let rows = Broken::new();
    rows.json("mllm/generation_config.json", |json| {
        json["pad_token_id"] = json!(100_000)
    });
    rows.refused(&["pad_token_id is 100000", "728 rows"]);

    let image = Broken::new();
    image.json(config, |json| json["image_token_id"] = json!(728));
    image.refused(&["image_token_id is 728", "728 rows"]);
}

#[test]
fn keys_that_change_the_mathematics_are_refused_by_their_name() {
    let (scheduler, vae) = (
        "flux/scheduler/scheduler_config.json",
        "flux/vae/config.json",
    );
    let mllm = "mllm/config.json";
    for (file, key, value) in [
        (
            scheduler,
            "_class_name",
            json!("FlowMatchHeunDiscreteScheduler"),
        ),
        (scheduler, "use_karras_sigmas", json!(true)),
        (scheduler, "use_beta_sigmas", json!(true)),
        (scheduler, "use_exponential_sigmas", json!(true)),
        (scheduler, "shift_terminal", json!(0.02)),
        (scheduler, "time_shift_type", json!("linear")),
        (scheduler, "stochastic_sampling", json!(true)),
        (scheduler, "invert_sigmas", json!(true)),
        (scheduler, "num_train_timesteps", json!(500)),
        (vae, "_class_name", json!("AutoencoderTiny")),
        (vae, "act_fn", json!("mish")),
        (vae, "mid_block_add_attention", json!(false)),
        (vae, "latents_mean", json!([0.5])),
        (vae, "latents_std", json!([0.5])),
        (vae, "shift_factor", json!(null)),
        (
            TRANSFORMER,
            "_class_name",
            json!("ChromaTransformer2DModel"),
        ),
        (TRANSFORMER, "patch_size", json!(2)),
        (TRANSFORMER, "out_channels", json!(128)),
        (TRANSFORMER, "num_single_layers", json!(1_000_000_000)),
        (TRANSFORMER, "num_layers", json!(1u64 << 63)),
        (vae, "layers_per_block", json!(1u64 << 40)),
        (mllm, "num_hidden_layers", json!(u64::MAX)),
        (mllm, "hidden_act", json!("gelu")),
    ] {
        let model = Broken::new();
        model.json(file, |json| json[key] = value);
        model.generate().refused(&[file, key]);
        let doctor = model.doctor(&[]).refused(&[]);
        assert!(doctor.stdout.contains(key), "{key}: {}", doctor.stdout);
    }
    let yarn = Broken::new();
    yarn.json(mllm, |json| json["rope_scaling"]["type"] = json!("yarn"));
    yarn.refused(&[mllm, "rope_scaling.type `yarn`"]);
}

#[test]
fn keys_that_are_not_known_are_a_warning() {
    let model = Broken::new();
    model.json(TRANSFORMER, |json| json["a_new_key"] = json!(1));
    for run in [model.generate(), model.convert()] {
        let said = run.succeeded().stderr;
        assert!(
            said.contains("warning: ") && said.contains("`a_new_key`"),
            "{said}"
        );
    }
}

#[test]
fn configs_of_newer_libraries_paint_the_same_picture() {
    let older = paint(&Broken::new());
    let model = Broken::new();
    model.json("mllm/config.json", |json| {
        let top = json.as_object_mut().expect("an object");
        let theta = top.remove("rope_theta").expect("a theta");
        let mut rope = top.remove("rope_scaling").expect("sections");
        rope["rope_theta"] = theta;
        let mut text = serde_json::Map::new();
        for key in [
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "vocab_size",
        ] {
            text.insert(key.into(), top.remove(key).expect("a size"));
        }
        text.insert("rope_parameters".into(), rope);
        text.insert("dtype".into(), json!("bfloat16"));
        text.insert("model_type".into(), json!("qwen2_5_vl_text"));
        top.insert("text_config".into(), text.into());
        top.insert("dtype".into(), json!("bfloat16"));
    });
    let mut processor = json!({});
    model.json("mllm/preprocessor_config.json", |json| {
        for key in ["min_pixels", "max_pixels"] {
            json[key] = json!(null);
        }
        processor =
            json!({"image_processor": json.clone(), "processor_class": "Qwen2_5_VLProcessor"});
    });
    fs::remove_file(model.path("mllm/preprocessor_config.json")).expect("the older file goes");
    fs::write(
        model.path("mllm/processor_config.json"),
        processor.to_string(),
    )
    .expect("the newer comes");
    // A byte order mark and Python's NaN, in a key that nobody reads.
    model.bytes("flux/vae/config.json", |bytes| {
        let text = String::from_utf8(bytes.clone()).expect("UTF-8");
        *bytes = format!(
            "\u{feff}{}",
            text.replacen('{', "{\"sample_size\": NaN,", 1).replacen(
                "\"sample_size\": 1024,",
                "",
                1
            )
        )
        .into();
    });
    assert_eq!(paint(&model), older);

    let tokens = Broken::new();
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        fs::remove_file(tokens.path("mllm").join(file)).expect("the newer file goes");
    }
    assert_eq!(paint(&tokens), older);
}

const LLM: &str = "mllm/model.safetensors";

/// Changes the header of a safetensors file.
fn header(bytes: &mut Vec<u8>, change: impl FnOnce(&mut Value)) {
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("a length")) as usize;
    let data = bytes.split_off(8 + length);
    let mut header = serde_json::from_slice(&bytes[8..]).expect("a header");
    change(&mut header);
    let header = header.to_string().into_bytes();
    let length = (header.len() as u64).to_le_bytes();
    *bytes = [&length[..], &header, &data].concat();
}

#[test]
fn a_tower_whose_config_is_another_ones_is_refused() {
    let shallow = Broken::new();
    shallow.json("mllm/config.json", |json| {
        json["vision_config"]["depth"] = json!(2)
    });
    shallow.refused(&[LLM, "visual.blocks.2.", "config"]);

    let headless = Broken::new();
    headless.bytes(LLM, |bytes| {
        replace(
            bytes,
            "visual.patch_embed.proj.weight",
            "visual.patch_embed.proy.weight",
        )
    });
    headless.refused(&[LLM, "visual.patch_embed.proy.weight"]);
}

#[test]
fn fp8_that_has_lost_its_scales_is_refused() {
    // Bytes of another type: what they are worth does not matter here.
    let matrix = "model.layers.0.mlp.up_proj.weight";
    let as_fp8 = |header: &mut Value| {
        header[matrix]["dtype"] = json!("F8_E4M3");
        let start = header[matrix]["data_offsets"][0]
            .as_u64()
            .expect("an offset");
        let end = header[matrix]["data_offsets"][1]
            .as_u64()
            .expect("an offset");
        let quarter = start + (end - start) / 4;
        header[matrix]["data_offsets"][1] = json!(quarter);
        // The rest of the place belongs to a table that nothing reads.
        header["model.rotary_emb.inv_freq"] =
            json!({"dtype": "U8", "shape": [end - quarter], "data_offsets": [quarter, end]});
    };
    let lost = Broken::new();
    lost.bytes(LLM, |bytes| header(bytes, as_fp8));
    lost.json("mllm/config.json", |json| {
        json["quantization_config"] =
            json!({"quant_method": "fp8", "weight_block_size": [128, 128]})
    });
    lost.refused(&[LLM, matrix, "FP8", "scale"]);
}

#[test]
fn control_tokens_come_from_the_other_files_or_are_missed() {
    let tokenizer = "mllm/tokenizer.json";
    let whole = Broken::new();
    let expected = paint(&whole);
    let other_files = Broken::new();
    other_files.json(tokenizer, |json| json["added_tokens"] = json!([]));
    assert_eq!(paint(&other_files), expected);

    let none = Broken::new();
    none.json(tokenizer, |json| json["added_tokens"] = json!([]));
    for file in [
        "tokenizer_config.json",
        "added_tokens.json",
        "special_tokens_map.json",
    ] {
        fs::remove_file(none.path(&format!("mllm/{file}"))).expect("it is removed");
    }
    none.refused(&[tokenizer, "has no token `<|im_start|>`"]);

    let begins = Broken::new();
    begins.json(tokenizer, |json| {
        json["post_processor"] = json!({
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}],
            "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [700], "tokens": ["<|endoftext|>"]}},
        })
    });
    begins.refused(&[tokenizer, "post_processor", "TemplateProcessing"]);

    let deaf = Broken::new();
    fs::write(deaf.path("mllm/chat_template.jinja"), "hello").expect("a template");
    deaf.refused(&["chat template", "leaves out"]);

    let image = Broken::new();
    image.json("mllm/config.json", |json| json["image_token_id"] = json!(3));
    image.refused(&["image_token_id is 3", "<|image_pad|>"]);
}

#[test]
fn defaults_that_no_request_can_have_are_refused_by_their_key() {
    for (key, value) in [
        ("width", json!(100)),
        ("height", json!(0)),
        ("steps", json!(0)),
        ("guidance", json!(1e300)),
        ("max_new_tokens", json!(0)),
        ("certainty", json!({"least": 1.5, "tokens": 2})),
        ("certainty", json!({"least": 0.5, "tokens": 0})),
        ("unknown", json!({"prefix": " ", "until": " on a "})),
    ] {
        let model = Broken::new();
        model.json("x2i.json", |json| json["defaults"][key] = value);
        model.refused(&[key]);
    }
}

#[test]
fn an_aligner_whose_config_is_another_ones_is_refused() {
    for (key, value) in [
        ("use_t5", json!(true)),
        ("kernel_size", json!(3)),
        ("in_channels", json!(5)),
        ("output_dim1", json!(64)),
    ] {
        let model = Broken::new();
        model.json("proj/config.json", |json| json[key] = value);
        model.refused(&[key, "another AlignNet"]);
    }
}
