//! A model's files are found in the layouts and under the names that people have.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;
use x2i_core::model::{open_weights, read_config};
use x2i_core::weights::gguf::{GgufWriter, MetaValue};
use x2i_core::weights::{Component, MemorySource, StoredType, WeightFile};
use x2i_engine::device::{self, DeviceChoice};
use x2i_engine::models::{FolderSource, Model};
use x2i_engine::{Engine, EngineOptions, JobSpec, ignore_progress};

type TestResult = Result<(), Box<dyn Error>>;

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests")
}

/// A model folder of copies of the golden parts.
struct Made(TempDir);

const DIFFUSERS: &str = "diffusion_pytorch_model.safetensors";

impl Made {
    fn new() -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let goldens = tests().join("goldens");
        let parts = [
            ("pipeline_tiny/flux", "flux"),
            ("pipeline_tiny/proj", "proj"),
            ("qwen2_5_vl_tiny", "mllm"),
        ];
        for (from, to) in parts {
            copy(&goldens.join(from), &folder.path().join(to))?;
        }
        // ComfyUI's file is a second AlignNet, and the case's tensors are no weights.
        fs::remove_file(folder.path().join("proj/comfyui_proj.pt"))?;
        fs::remove_file(folder.path().join("mllm/golden.safetensors"))?;
        Ok(Self(folder))
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn rename(&self, from: &str, to: &str) -> std::io::Result<()> {
        let to = self.path(to);
        fs::create_dir_all(to.parent().unwrap_or(&to))?;
        fs::rename(self.path(from), to)
    }

    fn hints(&self, hints: &Value) -> std::io::Result<()> {
        fs::write(self.path("x2i.json"), hints.to_string())
    }

    fn source(&self) -> Result<FolderSource, x2i_core::Error> {
        FolderSource::open(self.0.path())
    }

    /// The weight files of all parts, once all of them have been opened.
    fn opened(&self) -> Result<[Vec<String>; 3], x2i_core::Error> {
        let source = self.source()?;
        let config = pollster::block_on(read_config(&source))?;
        let parts = [
            (config.encoder.config.component(), config.encoder.weights),
            (Component::AlignNet, config.align_net.weights),
            (Component::Flux, config.flux.weights),
            (Component::Vae, config.vae.weights),
        ];
        for (component, files) in &parts {
            pollster::block_on(open_weights(&source, *component, files))?;
        }
        let [encoder, align_net, flux, _] = parts.map(|(_, files)| files);
        Ok([encoder, align_net, flux])
    }

    fn refusal(&self) -> Result<String, Box<dyn Error>> {
        match self.opened() {
            Ok(files) => Err(format!("{files:?} was opened").into()),
            Err(error) => Ok(error.to_string()),
        }
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let (path, to) = (entry.as_ref().map(fs::DirEntry::path), to);
        let path = path.map_err(|error| std::io::Error::other(error.to_string()))?;
        let to = to.join(path.file_name().unwrap_or_default());
        match path.is_dir() {
            true => copy(&path, &to)?,
            false => fs::copy(&path, &to).map(drop)?,
        }
    }
    Ok(())
}

fn open(path: &Path) -> Result<WeightFile, Box<dyn Error>> {
    let source = MemorySource::new("source", fs::read(path)?);
    Ok(pollster::block_on(WeightFile::open(Arc::new(source)))?)
}

/// Writes the tensors of a file into several safetensors files by turns; what the index says.
fn shard(path: &Path, shards: &[PathBuf]) -> Result<Value, Box<dyn Error>> {
    let file = open(path)?;
    let mut map = serde_json::Map::new();
    for (at, shard) in shards.iter().enumerate() {
        let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
        let tensors = file.tensors().iter().skip(at).step_by(shards.len());
        for (name, info) in tensors {
            let begin = data.len();
            data.extend_from_slice(&pollster::block_on(file.read(name))?.bytes);
            let entry = json!({
                "dtype": info.stored.to_string(),
                "shape": info.shape,
                "data_offsets": [begin, data.len()],
            });
            header.insert(name.clone(), entry);
            map.insert(
                name.clone(),
                shard.file_name().and_then(|n| n.to_str()).into(),
            );
        }
        let header = Value::Object(header).to_string();
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        fs::create_dir_all(shard.parent().unwrap_or(shard))?;
        fs::write(shard, bytes)?;
    }
    Ok(json!({ "weight_map": map }))
}

/// Cuts a GGUF file as llama.cpp's `gguf-split` does.
fn split(path: &Path, parts: &[PathBuf]) -> TestResult {
    let file = open(path)?;
    let count = file.tensors().len();
    for (at, part) in parts.iter().enumerate() {
        let mut metadata = vec![
            ("split.no".to_owned(), MetaValue::U16(at as u16)),
            ("split.count".to_owned(), MetaValue::U16(parts.len() as u16)),
            (
                "split.tensors.count".to_owned(),
                MetaValue::I32(count as i32),
            ),
        ];
        if at == 0 {
            metadata.extend(file.metadata().iter().cloned());
        }
        let own = || file.tensors().iter().skip(at).step_by(parts.len());
        let plan = own().map(|(name, info)| (name.clone(), info.stored, info.shape.clone()));
        let writer = GgufWriter::new(metadata, plan.collect())?;
        let mut body = writer.start("part", fs::File::create(part)?)?;
        for (name, _) in own() {
            body.write_tensor(&pollster::block_on(file.read(name))?.bytes)?;
        }
        body.finish()?;
    }
    Ok(())
}

#[test]
fn names_of_variants_and_endings_are_found() -> TestResult {
    for name in [
        "diffusion_pytorch_model.bf16.safetensors",
        "diffusion_pytorch_model.fp16.safetensors",
        "diffusion_pytorch_model.SAFETENSORS",
        "diffusion_pytorch_model.sft",
    ] {
        let made = Made::new()?;
        let file = format!("flux/transformer/{name}");
        made.rename(&format!("flux/transformer/{DIFFUSERS}"), &file)?;
        made.rename("flux/vae/diffusion_pytorch_model.safetensors", "flux/vae/x")?;
        made.rename("flux/vae/x", &format!("flux/vae/{name}"))?;
        // What macOS leaves beside every file on a foreign disk.
        fs::write(made.path(&format!("flux/transformer/._{name}")), "")?;
        let [_, _, flux] = made.opened()?;
        assert_eq!(flux, [file]);
    }
    Ok(())
}

#[test]
fn shards_are_found_with_and_without_an_index() -> TestResult {
    let names = |stem: &str| [1, 2].map(|n| format!("{stem}-0000{n}-of-00002.safetensors"));
    for (folder, stem, index) in [
        ("", "model", None),
        ("", "model.fp16", None),
        ("", "model.fp16", Some("model.safetensors.index.fp16.json")),
        ("weights/", "model", Some("model.safetensors.index.json")),
    ] {
        let made = Made::new()?;
        let files = names(stem).map(|name| format!("mllm/{folder}{name}"));
        let paths = files.clone().map(|file| made.path(&file));
        let whole = made.path("mllm/model.safetensors");
        let mut map = shard(&whole, &paths)?;
        if let Some(index) = index {
            for file in map["weight_map"]
                .as_object_mut()
                .ok_or("a map")?
                .values_mut()
            {
                *file = format!("{folder}{}", file.as_str().ok_or("a name")?).into();
            }
            fs::write(made.path("mllm").join(index), map.to_string())?;
        }
        fs::remove_file(&whole)?;
        let [encoder, ..] = made.opened()?;
        assert_eq!(encoder, files);
        fs::remove_file(&paths[1])?;
        let said = made.refusal()?;
        assert!(
            said.contains(&files[1]) && said.contains("not found"),
            "{said}"
        );
    }
    Ok(())
}

#[test]
fn a_stale_index_gives_way_to_the_whole_file() -> TestResult {
    let made = Made::new()?;
    let index = json!({"weight_map": {"a": "model-00001-of-00002.safetensors"}});
    let file = made.path("mllm/model.safetensors.index.json");
    fs::write(file, index.to_string())?;
    let [encoder, ..] = made.opened()?;
    assert_eq!(encoder, ["mllm/model.safetensors"]);
    Ok(())
}

#[test]
fn comfyuis_one_file_is_found_beside_the_config_and_by_its_name() -> TestResult {
    let made = Made::new()?;
    let name = "mllm/qwen_2.5_vl_7b.safetensors";
    made.rename("mllm/model.safetensors", name)?;
    let [encoder, ..] = made.opened()?;
    assert_eq!(encoder, [name]);
    made.hints(&json!({"mllm": name}))?;
    assert_eq!(made.opened()?[0], [name]);
    // In ComfyUI's own folder, and the configs elsewhere.
    let elsewhere = "text_encoders/qwen_2.5_vl_7b.safetensors";
    made.rename(name, elsewhere)?;
    made.hints(&json!({"mllm": {"model": elsewhere, "config": "mllm"}}))?;
    assert_eq!(made.opened()?[0], [elsewhere]);
    Ok(())
}

#[test]
fn split_gguf_files_are_one() -> TestResult {
    let made = Made::new()?;
    let community = tests().join("community");
    let parts = |stem: &str| [1, 2, 3].map(|n| format!("{stem}-0000{n}-of-00003.gguf"));
    let flux = parts("flux/flux-tiny-Q4_0");
    split(
        &community.join("flux-tiny-Q4_0.gguf"),
        &flux.clone().map(|file| made.path(&file)),
    )?;
    fs::remove_file(made.path(&format!("flux/transformer/{DIFFUSERS}")))?;
    fs::remove_dir_all(made.path("mllm"))?;
    fs::create_dir(made.path("mllm"))?;
    let llm = parts("mllm/qwen-Q8_0");
    split(
        &community.join("qwen2.5-vl-tiny-Q8_0.gguf"),
        &llm.clone().map(|file| made.path(&file)),
    )?;
    let mmproj = "mllm/MMPROJ-tiny.GGUF";
    fs::copy(
        community.join("mmproj-qwen2.5-vl-tiny.gguf"),
        made.path(mmproj),
    )?;
    // What lies beside published files.
    let imatrix = GgufWriter::new(vec![("general.type".into(), "imatrix".into())], vec![])?;
    let file = fs::File::create(made.path("mllm/imatrix.gguf"))?;
    imatrix.start("imatrix", file)?.finish()?;
    fs::write(made.path("mllm/._qwen-Q8_0-00001-of-00003.gguf"), "")?;

    let [encoder, _, found] = made.opened()?;
    assert_eq!(found, flux);
    assert_eq!(encoder, [&llm[..], &[mmproj.to_owned()]].concat());
    // By the name of one part.
    made.hints(&json!({"mllm": {"model": llm[1], "mmproj": mmproj}}))?;
    assert_eq!(made.opened()?[0], encoder);

    fs::remove_file(made.path(&llm[2]))?;
    let said = made.refusal()?;
    assert!(said.contains(&llm[2]), "{said}");
    // A part under another name says itself that it is none.
    fs::remove_file(made.path(&llm[1]))?;
    made.rename(&llm[0], "mllm/qwen.gguf")?;
    made.hints(&json!({}))?;
    let said = made.refusal()?;
    assert!(said.contains("split into 3 parts, and part 2"), "{said}");
    Ok(())
}

#[test]
fn alignnet_is_found_under_x2is_names_and_as_a_file() -> TestResult {
    let made = Made::new()?;
    let own = "proj/diffusion_pytorch_model.bin";
    for name in ["proj/qwen2.5-vl-3b_proj.pt", "qwen2.5-vl-3b_proj.pt"] {
        made.rename(own, name)?;
        assert_eq!(made.opened()?[1], [name]);
        made.rename(name, own)?;
    }
    made.hints(&json!({"proj": own}))?;
    assert_eq!(made.opened()?[1], [own]);
    made.hints(&json!({}))?;
    // Of all of X2I's, the one that fits the LLM.
    made.rename(own, "proj/qwen2.5-vl-7b_proj.pt")?;
    let other = tests().join("goldens/alignnet/conv/comfyui_proj.pt");
    let other = match other.exists() {
        true => other,
        false => return Err(format!("{} is not there", other.display()).into()),
    };
    fs::copy(other, made.path("proj/internvl2.5-1b_proj.pt"))?;
    assert_eq!(made.opened()?[1], ["proj/qwen2.5-vl-7b_proj.pt"]);
    fs::copy(
        made.path("proj/qwen2.5-vl-7b_proj.pt"),
        made.path("proj/second_proj.pt"),
    )?;
    let said = made.refusal()?;
    for word in ["several AlignNets", "second_proj.pt", "x2i.json"] {
        assert!(said.contains(word), "{said}");
    }
    Ok(())
}

/// A safetensors file of tensors, each with its type and shape; of zeros where there are no bytes.
#[derive(Default)]
struct Writer {
    header: serde_json::Map<String, Value>,
    data: Vec<u8>,
}

impl Writer {
    fn add(&mut self, name: String, dtype: &str, shape: &[usize], bytes: &[u8]) {
        let begin = self.data.len();
        self.data.extend_from_slice(bytes);
        let offsets = [begin, self.data.len()];
        let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": offsets});
        self.header.insert(name, entry);
    }

    /// The tensors that tell a transformer's sizes, with heads as published, in 8 bits.
    fn add_flux(&mut self, prefix: &str) {
        for (name, shape) in [
            ("img_in.weight", vec![256, 64]),
            ("txt_in.weight", vec![256, 64]),
            ("vector_in.in_layer.weight", vec![256, 32]),
            ("double_blocks.0.img_attn.proj.weight", vec![256, 256]),
            ("single_blocks.0.norm.query_norm.scale", vec![128]),
        ] {
            let zeros = vec![0; shape.iter().product()];
            self.add(format!("{prefix}{name}"), "F8_E4M3", &shape, &zeros);
        }
    }

    fn write(self, path: &Path) -> std::io::Result<()> {
        let header = Value::Object(self.header).to_string();
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(self.data);
        fs::create_dir_all(path.parent().unwrap_or(path))?;
        fs::write(path, bytes)
    }
}

#[test]
fn one_transformer_of_any_name_is_found_beside_its_vae() -> TestResult {
    let made = Made::new()?;
    let mut file = Writer::default();
    file.add_flux("");
    let name = "all/flux1-krea-dev_fp8.safetensors";
    file.write(&made.path(name))?;
    made.rename("flux/vae/diffusion_pytorch_model.safetensors", "all/ae.sft")?;
    fs::write(made.path("all/t5xxl_fp8_e4m3fn.safetensors"), "")?;
    fs::write(made.path("all/clip_l.safetensors"), "")?;
    made.hints(&json!({"flux": "all"}))?;
    let [_, _, flux] = made.opened()?;
    assert_eq!(flux, [name]);
    Ok(())
}

/// What is said of FLUX.1 Kontext among the warnings of a model.
fn said_of_kontext(made: &Made) -> Result<Vec<String>, x2i_core::Error> {
    let config = pollster::block_on(read_config(&made.source()?))?;
    let mut said = config.warnings;
    said.retain(|warning| warning.contains("Kontext"));
    Ok(said)
}

#[test]
fn kontext_is_told_by_its_names_and_krea_is_as_dev() -> TestResult {
    for (name, told) in [
        ("all/flux1-dev-kontext_fp8_scaled.safetensors", true),
        ("FLUX.1-Kontext-dev/model.safetensors", true),
        ("all/flux1-krea-dev.safetensors", false),
    ] {
        let made = Made::new()?;
        let mut file = Writer::default();
        file.add_flux("");
        file.write(&made.path(name))?;
        made.hints(&json!({"flux": name, "vae": "flux/vae"}))?;
        let said = said_of_kontext(&made)?;
        assert_eq!(said.len(), usize::from(told), "{name}: {said:?}");
        assert!(said.iter().all(|said| said.starts_with(name)), "{said:?}");
    }
    Ok(())
}

#[test]
fn kontext_and_krea_paint_as_dev_does() -> TestResult {
    let made = Made::new()?;
    let index = made.path("flux/model_index.json");
    let dev = fs::read_to_string(&index)?;
    let paint = || -> Result<Vec<u8>, Box<dyn Error>> {
        let model = Model::open(made.0.path().to_str().ok_or("UTF-8")?)?;
        let mut job = JobSpec::text("a red apple");
        job.settings.size = Some((32, 32));
        job.settings.steps = Some(1);
        job.settings.seed = Some(7);
        let job = job.job(&model)?;
        let (device, options) = (
            device::acquire(DeviceChoice::Cpu)?,
            EngineOptions::default(),
        );
        let mut engine = Engine::open(model, device, &options, &mut ignore_progress)?;
        Ok(engine
            .paint(&job, &mut ignore_progress)?
            .image
            .pixels()
            .to_vec())
    };
    let expected = paint()?;
    assert_eq!(said_of_kontext(&made)?, [""; 0]);
    fs::write(&index, dev.replace("FluxPipeline", "FluxKontextPipeline"))?;
    let said = said_of_kontext(&made)?;
    assert!(
        said[0].starts_with("flux/model_index.json: FLUX.1 Kontext paints"),
        "{said:?}"
    );
    assert_eq!(paint()?, expected);
    Ok(())
}

#[test]
fn an_all_in_one_checkpoint_has_its_vae_inside() -> TestResult {
    let made = Made::new()?;
    let mut all = Writer::default();
    all.add_flux("model.diffusion_model.");
    let vae = open(&made.path("flux/vae").join(DIFFUSERS))?;
    for (name, info) in vae.tensors() {
        let bytes = pollster::block_on(vae.read(name))?.bytes;
        let dtype = info.stored.to_string();
        all.add(format!("vae.{name}"), &dtype, &info.shape, &bytes);
    }
    // Text encoders of types that nobody needs.
    for (dtype, size) in [("F8_E4M3", 1), ("BOOL", 1), ("U32", 4), ("F8_E8M0", 1)] {
        let name = format!("text_encoders.t5xxl.{dtype}");
        all.add(name, dtype, &[2], &vec![0; 2 * size]);
    }
    all.write(&made.path("all.safetensors"))?;
    made.hints(&json!({"flux": "all.safetensors"}))?;
    let source = made.source()?;
    let config = pollster::block_on(read_config(&source))?;
    assert_eq!(config.vae.weights, ["all.safetensors"]);
    let vae = open_weights(&source, Component::Vae, &config.vae.weights);
    assert!(pollster::block_on(vae)?.contains("decoder.conv_in.weight"));
    assert_eq!(made.opened()?[2], ["all.safetensors"]);
    Ok(())
}

#[test]
fn a_part_given_for_the_whole_is_named_with_what_is_missing() -> TestResult {
    let made = Made::new()?;
    let file = made.path("flux1-dev-Q4_0.gguf");
    fs::copy(tests().join("community/flux-tiny-Q4_0.gguf"), &file)?;
    for place in [file, made.path("flux")] {
        let place = place.to_str().ok_or("UTF-8")?;
        let Err(error) = Model::open(place) else {
            return Err(format!("{place} was opened").into());
        };
        let said = error.to_string();
        for word in [
            place,
            "huggingface-cli download",
            "mllm",
            "_proj.pt",
            "AlignNet",
        ] {
            assert!(said.contains(word), "{said}");
        }
    }
    Ok(())
}

#[test]
fn a_prefix_of_peft_is_taken_off() -> TestResult {
    let made = Made::new()?;
    let whole = made.path("mllm/model.safetensors");
    let plain = open(&whole)?;
    let mut bytes = fs::read(&whole)?;
    let length = u64::from_le_bytes(bytes[..8].try_into()?) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length])?;
    let header = header.as_object().ok_or("an object")?.iter();
    let header: serde_json::Map<String, Value> = header
        .filter(|(name, _)| *name != "__metadata__")
        .map(|(name, entry)| (format!("base_model.model.{name}"), entry.clone()))
        .collect();
    let header = Value::Object(header).to_string();
    let data = bytes.split_off(8 + length);
    let mut prefixed = (header.len() as u64).to_le_bytes().to_vec();
    prefixed.extend(header.as_bytes());
    prefixed.extend(data);
    fs::write(&whole, prefixed)?;
    let source = made.source()?;
    let files = ["mllm/model.safetensors".to_owned()];
    let weights = pollster::block_on(open_weights(&source, Component::Qwen2_5Vl, &files))?;
    assert!(weights.ignored().is_empty());
    assert_eq!(weights.names().count(), plain.tensors().len());
    assert_eq!(weights.stored("model.norm.weight"), Some(StoredType::F32));
    Ok(())
}
