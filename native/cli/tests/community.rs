//! GGUF files as ComfyUI and llama.cpp users have them load as they are.
//!
//! `tests/community` holds the golden models in these tools' layouts.

mod program;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use program::{Program, write_png};
use serde_json::{Value, json};
use x2i_core::config::{EncoderPart, PreprocessorConfig};
use x2i_core::model::{self, read_encoder};
use x2i_core::weights::gguf::{GgufWriter, MetaValue};
use x2i_core::weights::{MemorySource, StoredType, WeightFile, quant};
use x2i_engine::models::FolderSource;

const LLM: &str = "qwen2.5-vl-tiny-Q8_0.gguf";
const MMPROJ: &str = "mmproj-qwen2.5-vl-tiny.gguf";
const FLUX: &str = "flux-tiny-Q4_0.gguf";

/// Grey levels that 4-bit blocks and f16 may change on the mean; 0.95 is measured.
const MOST_DIFFERENCE: f64 = 3.0;

fn tests() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests");
    tests.canonicalize().expect("the tests' folder")
}

/// Copies files of `tests/community` into a folder.
fn put(folder: &Path, files: &[&str]) {
    fs::create_dir_all(folder).unwrap();
    for file in files {
        fs::copy(tests().join("community").join(file), folder.join(file)).unwrap();
    }
}

fn copy_golden(file: &str, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(tests().join("goldens").join(file), to).unwrap();
}

/// A model folder whose LLM and transformer are GGUF files alone, but for diffusers' configs (the
/// tiny transformer's rotary axes are no published model's).
fn write_community_model(folder: &Path) {
    put(&folder.join("flux"), &[FLUX]);
    put(&folder.join("mllm"), &[LLM, MMPROJ]);
    for file in [
        "transformer/config.json",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
        "scheduler/scheduler_config.json",
    ] {
        let golden = format!("pipeline_tiny/flux/{file}");
        copy_golden(&golden, &folder.join("flux").join(file));
    }
    write_hints(folder, json!({}));
}

/// `x2i.json` with the golden AlignNet and the tiny model's defaults.
fn write_hints(folder: &Path, more: Value) {
    let mut hints = json!({
        "proj": tests().join("goldens/pipeline_tiny/proj"),
        "defaults": {"width": 64, "height": 64, "padding": null, "input_image_size": null, "max_new_tokens": 4},
    });
    let (Some(hints_map), Value::Object(more)) = (hints.as_object_mut(), more) else {
        panic!("hints are an object");
    };
    hints_map.extend(more);
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("x2i.json"), hints.to_string()).unwrap();
}

fn pixels(program: &Program, name: &str) -> Vec<u8> {
    let picture = image::open(program.path(name)).expect("a picture");
    picture.into_rgb8().into_raw()
}

#[test]
fn a_folder_of_gguf_files_paints_what_the_checkpoints_paint() {
    let program = Program::new();
    write_png(&program.path("in.png"), 56, 84);
    let painting = ["a cat", "--image", "in.png", "--seed", "1", "-o"];
    program
        .generate(&[&painting[..], &["source.png"]].concat())
        .succeeded();
    write_community_model(&program.path("in-community"));
    let generate = |model: &str, name: &str| {
        let arguments = ["generate", "--model", model, "--device", "cpu"];
        program
            .run(&[&arguments[..], &painting[..], &[name]].concat())
            .succeeded();
        pixels(&program, name)
    };
    let made = generate("in-community", "made.png");
    let source = pixels(&program, "source.png");
    let differences = made.iter().zip(&source).map(|(a, b)| a.abs_diff(*b));
    let mean = differences.map(f64::from).sum::<f64>() / made.len() as f64;
    assert!(mean <= MOST_DIFFERENCE, "{mean} grey levels");

    program
        .run(&["convert", "in-community", "small"])
        .succeeded();
    assert_eq!(generate("small", "again.png"), made);
    let left = ["again.png", "made.png", "small", "source.png"];
    assert_eq!(program.files(), left);
}

/// What a folder's LLM says about itself.
fn encoder(folder: &Path) -> EncoderPart {
    let source = FolderSource::open(folder).unwrap();
    pollster::block_on(read_encoder(&source, "")).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn configs_and_tokenizer_from_metadata_are_those_of_the_checkpoint() {
    let program = Program::new();
    let folder = program.path("in-mllm");
    put(&folder, &[LLM, MMPROJ]);
    let golden_folder = tests().join("goldens/qwen2_5_vl_tiny");
    let (gguf, golden) = (encoder(&folder), encoder(&golden_folder));
    assert_eq!(gguf.config, golden.config);
    // GGUF has f32, the published JSON more digits than f32 can tell.
    let narrow = |part: &EncoderPart| {
        let PreprocessorConfig {
            min_pixels,
            max_pixels,
            image_mean,
            image_std,
        } = part.preprocessor;
        (
            min_pixels,
            max_pixels,
            image_mean.map(|x| x as f32),
            image_std.map(|x| x as f32),
        )
    };
    assert_eq!(narrow(&gguf), narrow(&golden));
    assert_eq!(gguf.generation.eos_token_id, [702, 700]);
    assert_eq!(gguf.generation.pad_token_id, Some(700));

    let tokenizer = |folder: &Path, part: &EncoderPart| {
        let source = FolderSource::open(folder).unwrap();
        pollster::block_on(model::read_tokenizer(&source, part))
            .unwrap_or_else(|error| panic!("{error}"))
    };
    let own = tokenizer(&folder, &gguf);
    let published = tokenizer(&golden_folder, &golden);
    for text in [
        "a red apple on a blue background",
        "<|im_start|>user\n蓝色背景上的红苹果<|im_end|>\n",
        "  don't\tstop 12345 \u{e9}\u{65}\u{301}",
        "<tool_call><|image_pad|>",
    ] {
        assert_eq!(
            own.encode(text).unwrap(),
            published.encode(text).unwrap(),
            "{text}"
        );
    }
}

#[test]
fn the_llms_files_may_be_named_and_of_two_vision_parts_one_is_taken() {
    let program = Program::new();
    let model = program.path("in-model");
    write_community_model(&model);
    let inspect = || program.run(&["inspect", "in-model"]);
    inspect().succeeded();
    // Of two vision parts the one of 16 bits is taken, and the user hears of it.
    let (mmproj, second) = (
        model.join("mllm").join(MMPROJ),
        model.join("mllm/a-mmproj-BF16.gguf"),
    );
    write_bf16(&mmproj, &second);
    let paint = |more: &[&str]| {
        let all = [
            "generate", "a cat", "--model", "in-model", "--device", "cpu",
        ];
        program.run(&[&all[..], &["-o", "a.png"], more].concat())
    };
    let said = paint(&[]).succeeded().stderr;
    for word in [
        &format!("mllm/{MMPROJ} is the vision part"),
        "a-mmproj-BF16.gguf is not",
    ] {
        assert!(said.contains(word), "{said}");
    }
    let files = json!({"model": format!("mllm/{LLM}"), "mmproj": "mllm/a-mmproj-BF16.gguf"});
    write_hints(&model, json!({"mllm": files}));
    let listed = inspect().succeeded().stdout;
    assert!(listed.contains("a-mmproj-BF16.gguf"), "{listed}");
    write_hints(&model, json!({}));
    // Without any, words alone are read.
    fs::remove_file(&second).unwrap();
    fs::remove_file(&mmproj).unwrap();
    write_png(&program.path("in.png"), 56, 84);
    paint(&[]).succeeded();
    paint(&["--image", "in.png"]).refused(&[LLM, "mmproj", "missing"]);
    program.run(&["convert", "in-model", "words"]).succeeded();
    let converted = ["generate", "a cat", "--model", "words", "--device", "cpu"];
    let said = program.run(&[&converted[..], &["-o", "b.png", "--seed", "1"]].concat());
    assert!(!said.succeeded().stderr.contains("not known"));
    paint(&["--seed", "1"]).succeeded();
    assert_eq!(pixels(&program, "a.png"), pixels(&program, "b.png"));

    fs::copy(model.join("flux").join(FLUX), model.join("flux/other.gguf")).unwrap();
    put(&model.join("mllm"), &[MMPROJ]);
    inspect().refused(&["flux", FLUX, "other.gguf", "several"]);
    // Not an LLM at all.
    fs::remove_file(model.join("flux/other.gguf")).unwrap();
    put(&model.join("mllm"), &[FLUX]);
    inspect().refused(&["mllm", FLUX, "flux"]);
}

/// The same GGUF file with its f16 matrices as bf16.
fn write_bf16(from: &Path, to: &Path) {
    rewrite(
        from,
        to,
        |_| {},
        |stored| match stored {
            StoredType::F16 => StoredType::BF16,
            other => other,
        },
    );
}

/// A copy of a GGUF file with other metadata, and its tensors in other types.
fn rewrite(
    from: &Path,
    to: &Path,
    change: impl Fn(&mut Vec<(String, MetaValue)>),
    retype: impl Fn(StoredType) -> StoredType,
) {
    let source = MemorySource::new("source", fs::read(from).unwrap());
    let file = pollster::block_on(WeightFile::open(Arc::new(source))).unwrap();
    let mut metadata = file.metadata().to_vec();
    change(&mut metadata);
    let infos = file.tensors().iter();
    let planned = infos.map(|(name, info)| (name.clone(), retype(info.stored), info.shape.clone()));
    let writer = GgufWriter::new(metadata, planned.collect()).unwrap();
    let mut body = writer.start("copy", File::create(to).unwrap()).unwrap();
    for (name, info) in file.tensors() {
        let tensor = pollster::block_on(file.read(name)).unwrap();
        let bytes = match retype(info.stored) {
            same if same == info.stored => tensor.bytes.into_owned(),
            other => quant::quantize(&tensor.to_f32(), other),
        };
        body.write_tensor(&bytes).unwrap();
    }
    body.finish().unwrap();
}

#[test]
fn keys_that_older_converters_did_not_write_have_the_published_values() {
    let program = Program::new();
    let folder = program.path("in-old");
    put(&folder, &[LLM, MMPROJ]);
    let new = encoder(&folder);
    let old = program.path("in-older");
    fs::create_dir_all(&old).unwrap();
    for file in [LLM, MMPROJ] {
        let missing = [
            "clip.projector_type",
            "clip.vision.block_count",
            "clip.vision.patch_size",
            "clip.vision.image_mean",
            "clip.vision.image_std",
            "qwen2vl.rope.dimension_sections",
            "qwen2vl.rope.freq_base",
            "qwen2vl.attention.layer_norm_rms_epsilon",
            "general.type",
        ];
        let keep = |metadata: &mut Vec<(String, MetaValue)>| {
            metadata.retain(|(key, _)| !missing.contains(&key.as_str()));
        };
        rewrite(&folder.join(file), &old.join(file), keep, |stored| stored);
    }
    let found = encoder(&old);
    assert_eq!(found.config, new.config);
    let narrow = |part: &EncoderPart| part.preprocessor.image_mean.map(|x| x as f32);
    assert_eq!(narrow(&found), narrow(&new));
}

#[test]
fn metadata_that_changes_the_mathematics_is_refused_by_its_key() {
    for (key, value) in [
        (
            "qwen2vl.rope.scaling.type",
            MetaValue::String("yarn".into()),
        ),
        ("qwen2vl.rope.scaling.factor", MetaValue::F32(4.0)),
        ("qwen2vl.rope.dimension_count", MetaValue::U32(4)),
        ("qwen2vl.attention.sliding_window", MetaValue::U32(64)),
        ("qwen2vl.attention.causal", MetaValue::Bool(false)),
        ("qwen2vl.expert_count", MetaValue::U32(8)),
        ("general.type", MetaValue::String("adapter".into())),
    ] {
        let program = Program::new();
        let (source, folder) = (program.path("in-source"), program.path("in-mllm"));
        put(&source, &[LLM]);
        put(&folder, &[MMPROJ]);
        let set = |metadata: &mut Vec<(String, MetaValue)>| {
            metadata.retain(|(name, _)| name != key);
            metadata.push((key.to_owned(), value.clone()));
        };
        rewrite(&source.join(LLM), &folder.join(LLM), set, |stored| stored);
        let files = FolderSource::open(&folder).unwrap();
        let error = pollster::block_on(read_encoder(&files, "")).unwrap_err();
        let error = error.to_string();
        assert!(error.contains(key) && error.contains(LLM), "{error}");
    }
}

/// A GGUF file of zeros of which only the header takes room on the disk.
fn write_sparse_gguf(path: &Path, tensors: Vec<(String, StoredType, Vec<usize>)>) {
    let writer = GgufWriter::new(
        vec![("general.architecture".into(), "flux".into())],
        tensors,
    );
    let writer = writer.unwrap();
    let length = writer.file_len();
    let header = tempfile::tempfile().unwrap();
    drop(writer.start("header", header.try_clone().unwrap()).unwrap());
    let mut file = File::create(path).unwrap();
    let mut header = header;
    std::io::Seek::rewind(&mut header).unwrap();
    std::io::copy(&mut header, &mut file).unwrap();
    file.flush().unwrap();
    file.set_len(length).unwrap();
}

#[test]
fn a_transformers_sizes_are_those_of_its_tensors() {
    let program = Program::new();
    for (guidance, words) in [
        (
            true,
            "FLUX dev, 8 double and 38 single blocks of width 3072",
        ),
        (
            false,
            "FLUX schnell, 8 double and 38 single blocks of width 3072",
        ),
    ] {
        let folder = program.path(if guidance { "in-dev" } else { "in-schnell" });
        let flux = folder.join("flux");
        fs::create_dir_all(&flux).unwrap();
        // As a pruned model (FLUX.1-lite has 8 double blocks), with the tensors that count.
        let mut tensors: Vec<(String, StoredType, Vec<usize>)> = vec![
            ("img_in.weight".into(), StoredType::F16, vec![3072, 64]),
            ("txt_in.weight".into(), StoredType::F16, vec![3072, 4096]),
            (
                "vector_in.in_layer.weight".into(),
                StoredType::F16,
                vec![3072, 768],
            ),
        ];
        if guidance {
            let name = "guidance_in.in_layer.weight";
            tensors.push((name.into(), StoredType::F16, vec![3072, 256]));
        }
        for block in 0..8 {
            let name = format!("double_blocks.{block}.img_attn.proj.weight");
            tensors.push((name, StoredType::Q4K, vec![3072, 3072]));
        }
        for block in 0..38 {
            let name = format!("single_blocks.{block}.norm.query_norm.scale");
            tensors.push((name, StoredType::F32, vec![128]));
        }
        write_sparse_gguf(&flux.join("flux-lite-Q4_K_S.gguf"), tensors);
        copy_golden(
            "pipeline_tiny/flux/vae/diffusion_pytorch_model.safetensors",
            &flux.join("ae.safetensors"),
        );
        put(&folder.join("mllm"), &[LLM, MMPROJ]);
        write_hints(&folder, json!({}));
        let name = folder.file_name().unwrap().to_str().unwrap();
        let text = program.run(&["inspect", name]).succeeded().stdout;
        assert!(text.contains(words), "`{words}` is not in {text}");

        // The same by its file's name, with the VAE elsewhere.
        fs::rename(flux.join("ae.safetensors"), folder.join("vae.safetensors")).unwrap();
        let places = json!({"flux": "flux/flux-lite-Q4_K_S.gguf", "vae": "vae.safetensors"});
        write_hints(&folder, places);
        let text = program.run(&["inspect", name]).succeeded().stdout;
        assert!(text.contains(words), "`{words}` is not in {text}");
        write_hints(&folder, json!({"flux": "flux/flux-lite-Q4_K_S.gguf"}));
        program
            .run(&["inspect", name])
            .refused(&["flux/ae.safetensors"]);
    }
}
