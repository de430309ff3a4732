//! InternVL as transformers itself writes it: the golden model in that form has the reference's numbers.
//!
//! The files are made here as transformers' conversion script makes them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use burn::tensor::Device;
use serde_json::{Value, json};
use x2i_engine::models::FolderSource;
use x2i_parity::{Goldens, TestDevice};

const CASE: &str = "internvl2_5_tiny";

/// Tensors by name: their type, shape and bytes.
type Tensors = BTreeMap<String, (String, Vec<usize>, Vec<u8>)>;

fn read(path: &Path) -> Tensors {
    let file = fs::read(path).unwrap();
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header: BTreeMap<String, Value> = serde_json::from_slice(&file[8..8 + length]).unwrap();
    let data = &file[8 + length..];
    let tensors = header
        .into_iter()
        .filter(|(name, _)| name != "__metadata__");
    let tensor = |(name, facts): (String, Value)| {
        let place = |at: usize| facts["data_offsets"][at].as_u64().unwrap() as usize;
        let shape = facts["shape"].as_array().unwrap().iter();
        let shape = shape.map(|side| side.as_u64().unwrap() as usize).collect();
        let kind = facts["dtype"].as_str().unwrap().to_owned();
        (name, (kind, shape, data[place(0)..place(1)].to_vec()))
    };
    tensors.map(tensor).collect()
}

fn write(path: &Path, tensors: &Tensors) {
    let (mut header, mut data) = (serde_json::Map::new(), vec![]);
    for (name, (kind, shape, bytes)) in tensors {
        let places = [data.len(), data.len() + bytes.len()];
        let facts = json!({"dtype": kind, "shape": shape, "data_offsets": places});
        header.insert(name.clone(), facts);
        data.extend(bytes);
    }
    let header = serde_json::to_vec(&header).unwrap();
    let length = (header.len() as u64).to_le_bytes();
    fs::write(path, [&length[..], &header, &data].concat()).unwrap();
}

/// transformers' name of a tensor; `recent` is that from release 4.52 on.
fn renamed(name: &str, recent: bool) -> String {
    let parts = [
        (
            "vision_model.encoder.layers.",
            "vision_tower.encoder.layer.",
        ),
        ("vision_model.", "vision_tower."),
        ("class_embedding", "cls_token"),
        ("position_embedding", "position_embeddings"),
        ("patch_embedding", "patch_embeddings.projection"),
        (".ls1", ".lambda_1"),
        (".ls2", ".lambda_2"),
        ("attn.proj", "attention.projection_layer"),
        (".attn.", ".attention."),
        ("norm1", "layernorm_before"),
        ("norm2", "layernorm_after"),
        ("mlp1.0", "multi_modal_projector.layer_norm"),
        ("mlp1.1", "multi_modal_projector.linear_1"),
        ("mlp1.3", "multi_modal_projector.linear_2"),
    ];
    let name = match name.starts_with("language_model.") {
        true => name.to_owned(),
        false => parts
            .iter()
            .fold(name.to_owned(), |name, (old, new)| name.replace(old, new)),
    };
    match name.strip_prefix("language_model.") {
        _ if !recent => name,
        Some(head @ "lm_head.weight") => head.to_owned(),
        Some(rest) => format!(
            "model.language_model.{}",
            rest.strip_prefix("model.").unwrap()
        ),
        None => format!("model.{name}"),
    }
}

fn converted(tensors: Tensors, recent: bool) -> Tensors {
    let mut made = Tensors::new();
    for (name, (kind, shape, bytes)) in tensors {
        let name = renamed(&name, recent);
        if !name.contains("attention.qkv") {
            made.insert(name, (kind, shape, bytes));
            continue;
        }
        let third = [&[shape[0] / 3], &shape[1..]].concat();
        let parts = bytes.chunks_exact(bytes.len() / 3);
        for (part, bytes) in ["q_proj", "k_proj", "v_proj"].into_iter().zip(parts) {
            let part = name.replace("qkv", part);
            made.insert(part, (kind.clone(), third.clone(), bytes.to_vec()));
        }
    }
    made
}

fn config(original: &Value) -> Value {
    let (text, vision) = (&original["llm_config"], &original["vision_config"]);
    let side = |key: &str| json!([vision[key], vision[key]]);
    let mut vision_config = json!({
        "model_type": "internvl_vision",
        "attention_bias": vision["qkv_bias"],
        "use_qk_norm": vision["qk_normalization"],
        "image_size": side("image_size"),
        "patch_size": side("patch_size"),
        "use_absolute_position_embeddings": true,
        "use_mean_pooling": true,
        "use_mask_token": false,
    });
    for key in [
        "hidden_size",
        "intermediate_size",
        "num_attention_heads",
        "num_hidden_layers",
        "norm_type",
    ] {
        vision_config[key] = vision[key].clone();
    }
    json!({
        "architectures": ["InternVLForConditionalGeneration"],
        "model_type": "internvl",
        "downsample_ratio": original["downsample_ratio"],
        "image_token_id": 684,
        "image_seq_length": 4,
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "default",
        "text_config": text,
        "vision_config": vision_config,
    })
}

#[test]
fn the_form_of_transformers_has_the_numbers_of_the_reference() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("goldens")
        .join(CASE);
    for recent in [false, true] {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join(CASE);
        fs::create_dir(&folder).unwrap();
        let mut paths = vec![];
        for entry in fs::read_dir(&golden).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            fs::copy(golden.join(&name), folder.join(&name)).unwrap();
            paths.push(format!("{CASE}/{name}"));
        }
        let tensors = converted(read(&golden.join("model.safetensors")), recent);
        assert!(
            tensors
                .keys()
                .all(|name| !name.contains("vision_model") && !name.contains("qkv"))
        );
        write(&folder.join("model.safetensors"), &tensors);
        let original = fs::read(golden.join("config.json")).unwrap();
        let config = config(&serde_json::from_slice(&original).unwrap());
        fs::write(folder.join("config.json"), config.to_string()).unwrap();
        let pictures = json!({
            "image_processor_type": "GotOcr2ImageProcessorFast",
            "processor_class": "InternVLProcessor",
            "size": {"height": 56, "width": 56},
            "crop_to_patches": false,
            "max_patches": 12,
            "image_mean": [0.485, 0.456, 0.406],
            "image_std": [0.229, 0.224, 0.225],
        });
        fs::write(
            folder.join("preprocessor_config.json"),
            pictures.to_string(),
        )
        .unwrap();
        let goldens = Goldens {
            source: &FolderSource::open(root.path()).unwrap(),
            paths: &paths,
        };
        let device = TestDevice::cpu("cpu", Device::flex());
        let report = pollster::block_on(goldens.run(CASE, &device)).unwrap();
        assert!(report.passed(), "{report}");
    }
}
