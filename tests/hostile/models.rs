//! Model folders in which one file is malformed.

use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::base::{Base, Change, Source};
use crate::case::{Case, Expect, Input};
use crate::random::Random;
use crate::{json, weights};

/// A Hugging Face folder: the tiny reference models.
fn hugging_face() -> &'static Base {
    static BASE: OnceLock<Base> = OnceLock::new();
    BASE.get_or_init(|| {
        let defaults = json!({"width": 64, "height": 64, "padding": null, "input_image_size": null, "max_new_tokens": 4});
        let hints = json!({"name": "tiny", "defaults": defaults}).to_string().into_bytes();
        let flux = "tests/goldens/pipeline_tiny/flux";
        let folders = ["transformer", "vae", "scheduler"].map(|part| (format!("flux/{part}/"), format!("{flux}/{part}")));
        let mut folders: Vec<(&str, &str)> = folders.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        folders.push(("proj/", "tests/goldens/pipeline_tiny/proj"));
        folders.push(("mllm/", "tests/goldens/qwen2_5_vl_tiny"));
        Base::new(&folders, vec![("x2i.json".into(), Source::Bytes(hints))])
    })
}

/// A model folder of our own: model.json, with hashes, and GGUF.
fn own() -> &'static Base {
    static BASE: OnceLock<Base> = OnceLock::new();
    BASE.get_or_init(|| Base::new(&[("", "core/models/emoji")], vec![]))
}

/// The same without hashes, so that a changed file is looked into.
fn unhashed() -> &'static Base {
    static BASE: OnceLock<Base> = OnceLock::new();
    BASE.get_or_init(|| {
        let mut base = Base::new(&[("", "core/models/emoji")], vec![]);
        let mut config = base.json("model.json");
        config.as_object_mut().expect("an object").remove("files");
        base.files.retain(|(name, _)| name != "model.json");
        base.files.push((
            "model.json".into(),
            Source::Bytes(config.to_string().into_bytes()),
        ));
        base
    })
}

fn case(
    kind: &'static str,
    base: &'static Base,
    file: &str,
    what: impl Into<String>,
    (change, expect): (Change, Expect),
) -> Case {
    Case {
        kind,
        what: format!("{file}: {}", what.into()),
        input: Input::Model {
            base,
            file: file.to_owned(),
            change,
            names: vec![],
        },
        expect,
    }
}

/// All cases; the same every time.
pub fn cases() -> Vec<Case> {
    let mut random = Random::new(2025);
    let mut cases = Vec::new();
    documents(&mut cases, &mut random);
    weight_files(&mut cases, &mut random);
    whole_files(&mut cases);
    hashed_files(&mut cases, &mut random);
    other_mathematics(&mut cases);
    cases
}

/// JSON files, key by key.
fn documents(cases: &mut Vec<Case>, random: &mut Random) {
    let hugging_face_files = [
        ("flux/transformer/config.json", 80),
        ("flux/vae/config.json", 80),
        ("flux/scheduler/scheduler_config.json", 50),
        ("proj/config.json", 30),
        ("mllm/config.json", 120),
        ("mllm/preprocessor_config.json", 30),
        ("mllm/generation_config.json", 15),
        ("mllm/tokenizer.json", 120),
        ("mllm/tokenizer_config.json", 30),
        ("x2i.json", 40),
    ];
    let files = hugging_face_files.map(|(file, count)| (hugging_face(), file, count));
    let own_files = [
        (unhashed(), "model.json", 120),
        (unhashed(), "tokenizer.json", 60),
    ];
    for (base, file, count) in files.into_iter().chain(own_files) {
        for mutation in json::mutations(&base.bytes(file), count, random) {
            let mut case = case(
                "JSON: a key",
                base,
                file,
                mutation.what,
                (Change::Write(mutation.bytes), Expect::Either),
            );
            // A wrong number may show in the shape of a tensor, and a tokenizer's parser names no keys.
            if let Input::Model { names, .. } = &mut case.input
                && !mutation.key.is_empty()
                && !file.contains("tokenizer")
            {
                *names = vec![
                    mutation.key,
                    "`".into(),
                    "line ".into(),
                    "file not found".into(),
                ];
            }
            cases.push(case);
        }
        let text = base.bytes(file);
        for (what, bytes) in [
            ("cut", text[..text.len() / 2].to_vec()),
            ("empty", vec![]),
            ("a list", b"[1]".to_vec()),
            ("not UTF-8", vec![0xff; 64]),
            ("brackets", b"[".repeat(200_000)),
        ] {
            // A tokenizer.json needs no tokenizer_config.json.
            let expect = match file.ends_with("tokenizer_config.json") {
                true => Expect::Either,
                false => Expect::Refused,
            };
            cases.push(case(
                "JSON: the syntax",
                base,
                file,
                what,
                (Change::Write(bytes), expect),
            ));
        }
    }
}

fn weight_files(cases: &mut Vec<Case>, random: &mut Random) {
    let safetensors = [
        "flux/transformer/diffusion_pytorch_model.safetensors",
        "flux/vae/diffusion_pytorch_model.safetensors",
        "mllm/model.safetensors",
    ];
    for file in safetensors {
        let bytes = hugging_face().bytes(file);
        let mutations = weights::safetensors(&bytes, 48, random);
        add(cases, hugging_face(), file, mutations);
        add(
            cases,
            hugging_face(),
            file,
            weights::raw(&bytes, 20, random),
        );
    }
    let pickle = "proj/diffusion_pytorch_model.bin";
    add(
        cases,
        hugging_face(),
        pickle,
        weights::raw(&hugging_face().bytes(pickle), 60, random),
    );
    for file in ["encoder.gguf", "align_net.gguf", "flux.gguf", "vae.gguf"] {
        add(
            cases,
            unhashed(),
            file,
            weights::raw(&unhashed().bytes(file), 24, random),
        );
    }
}

fn add(cases: &mut Vec<Case>, base: &'static Base, file: &str, mutations: Vec<weights::Mutation>) {
    for mutation in mutations {
        let change = (Change::Write(mutation.bytes), mutation.expect);
        let mut case = case(mutation.kind, base, file, mutation.what, change);
        if let (Input::Model { names, .. }, Some(tensor)) = (&mut case.input, &mutation.tensor) {
            *names = vec![tensor.clone(), "`".into()];
        }
        cases.push(case);
    }
}

/// Files that are no files.
fn whole_files(cases: &mut Vec<Case>) {
    for base in [hugging_face(), own()] {
        for (file, _) in &base.files {
            let needed = ![
                "vocab.json",
                "merges.txt",
                "added_tokens.json",
                "special_tokens_map.json",
            ]
            .iter()
            .any(|optional| file.ends_with(optional));
            let expect = match needed {
                true => Expect::Either,
                false => continue,
            };
            let changes = [
                ("missing", Change::Remove),
                ("a folder", Change::Folder),
                ("a FIFO", Change::Fifo),
                ("a link to itself", Change::LinkToItself),
            ];
            for (what, change) in changes {
                cases.push(case(
                    "a file that is none",
                    base,
                    file,
                    what,
                    (change, expect),
                ));
            }
        }
    }
}

/// A flipped bit, or zeros in place of the second half, in files whose hashes model.json has.
fn hashed_files(cases: &mut Vec<Case>, random: &mut Random) {
    for file in [
        "encoder.gguf",
        "align_net.gguf",
        "flux.gguf",
        "vae.gguf",
        "tokenizer.json",
    ] {
        let bytes = own().bytes(file);
        for _ in 0..12 {
            let mut changed = bytes.clone();
            let at = random.below(bytes.len());
            changed[at] ^= 1 << random.below(8);
            let change = (Change::Write(changed), Expect::Refused);
            cases.push(case(
                "hashes: a flipped bit",
                own(),
                file,
                format!("at {at}"),
                change,
            ));
        }
        let mut changed = bytes.clone();
        let half = bytes.len() / 2;
        changed[half..].fill(0);
        cases.push(case(
            "hashes: half of zeros",
            own(),
            file,
            "",
            (Change::Write(changed), Expect::Refused),
        ));
    }
}

/// Keys of published configs that ask for other mathematics than x2i's.
fn other_mathematics(cases: &mut Vec<Case>) {
    let scheduler = "flux/scheduler/scheduler_config.json";
    let (vae, transformer, llm) = (
        "flux/vae/config.json",
        "flux/transformer/config.json",
        "mllm/config.json",
    );
    let changes: [(&str, &str, Value); 18] = [
        (
            scheduler,
            "_class_name",
            json!("FlowMatchHeunDiscreteScheduler"),
        ),
        (
            scheduler,
            "_class_name",
            json!("DPMSolverMultistepScheduler"),
        ),
        (scheduler, "use_karras_sigmas", json!(true)),
        (scheduler, "use_beta_sigmas", json!(true)),
        (scheduler, "use_exponential_sigmas", json!(true)),
        (scheduler, "invert_sigmas", json!(true)),
        (scheduler, "stochastic_sampling", json!(true)),
        (scheduler, "shift_terminal", json!(0.1)),
        (scheduler, "time_shift_type", json!("linear")),
        (vae, "_class_name", json!("AutoencoderTiny")),
        (vae, "act_fn", json!("relu")),
        (vae, "mid_block_add_attention", json!(false)),
        (vae, "latents_mean", json!([1.0, 2.0])),
        (
            transformer,
            "_class_name",
            json!("ChromaTransformer2DModel"),
        ),
        (transformer, "patch_size", json!(2)),
        (
            llm,
            "rope_scaling",
            json!({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8}),
        ),
        (llm, "hidden_act", json!("relu")),
        (llm, "quantization_config", json!({"quant_method": "aqlm"})),
    ];
    for (file, key, value) in changes {
        let mut config = hugging_face().json(file);
        let what = format!("{key} {value}");
        config[key] = value;
        let bytes = config.to_string().into_bytes();
        let mut case = case(
            "configs: other mathematics",
            hugging_face(),
            file,
            what,
            (Change::Write(bytes), Expect::Refused),
        );
        if let Input::Model { names, .. } = &mut case.input {
            names.push(key.to_owned());
        }
        cases.push(case);
    }
}
