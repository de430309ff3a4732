//! The teacher from every layout of its files, and what is wrong with some tokenizers.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::tensor::Device;
use serde_json::{Value, json};

use super::charsmap::tests::b_to_a;
use super::sentencepiece::tests::file as spiece;
use super::{T5Tokenizer, Teacher};
use crate::error::{Error, Result};
use crate::model::{ModelSource, TeacherPlaces, read_teacher};
use crate::weights::gguf::{GgufWriter, MetaType, MetaValue};
use crate::weights::{LocalBoxFuture, MemorySource, StoredType, WeightFile, WeightSource};

/// Files in memory.
#[derive(Default)]
struct Files(BTreeMap<String, Vec<u8>>);

impl ModelSource for Files {
    fn name(&self) -> &str {
        "m"
    }

    fn open<'a>(&'a self, path: &'a str) -> LocalBoxFuture<'a, Result<Arc<dyn WeightSource>>> {
        let file = self.0.get(path).cloned();
        Box::pin(std::future::ready(match file {
            Some(bytes) => Ok(Arc::new(MemorySource::new(path, bytes)) as Arc<dyn WeightSource>),
            None => Err(Error::MissingFile { file: path.into() }),
        }))
    }

    fn list<'a>(&'a self, folder: &'a str) -> LocalBoxFuture<'a, Result<Vec<String>>> {
        let inside = self.0.keys().filter_map(|path| {
            let name = path.strip_prefix(folder)?.trim_start_matches('/');
            (!name.contains('/')).then(|| name.to_owned())
        });
        Box::pin(std::future::ready(Ok(inside.collect())))
    }
}

type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;

/// A tensor of numbers that its name decides.
fn made(name: &str, shape: &[usize]) -> (String, Vec<usize>, Vec<f32>) {
    let seed: usize = name.bytes().map(usize::from).sum();
    let count = shape.iter().product();
    let value = |at: usize| ((at * 131 + seed * 17) % 199) as f32 / 400.0 - 0.25;
    (
        name.to_owned(),
        shape.to_vec(),
        (0..count).map(value).collect(),
    )
}

/// A T5 encoder of two blocks: 20 tokens, width 8, two heads of 4, 12 inside.
fn t5() -> Tensors {
    let mut tensors = vec![made("shared.weight", &[20, 8])];
    for block in 0..2 {
        let attention = format!("encoder.block.{block}.layer.0");
        let dense = format!("encoder.block.{block}.layer.1");
        for name in ["q", "k", "v", "o"] {
            tensors.push(made(
                &format!("{attention}.SelfAttention.{name}.weight"),
                &[8, 8],
            ));
        }
        tensors.push(made(&format!("{attention}.layer_norm.weight"), &[8]));
        for (name, shape) in [("wi_0", [12, 8]), ("wi_1", [12, 8]), ("wo", [8, 12])] {
            tensors.push(made(
                &format!("{dense}.DenseReluDense.{name}.weight"),
                &shape,
            ));
        }
        tensors.push(made(&format!("{dense}.layer_norm.weight"), &[8]));
    }
    let bias = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight";
    tensors.push(made(bias, &[8, 2]));
    tensors.push(made("encoder.final_layer_norm.weight", &[8]));
    tensors
}

/// A CLIP text model of one layer: 520 tokens, width 8, two heads, 7 positions.
fn clip() -> Tensors {
    let mut tensors = vec![
        made("text_model.embeddings.token_embedding.weight", &[520, 8]),
        made("text_model.embeddings.position_embedding.weight", &[7, 8]),
    ];
    let layer = "text_model.encoder.layers.0";
    let mut with_bias = |name: &str, output: usize, input: usize| {
        tensors.push(made(&format!("{name}.weight"), &[output, input]));
        tensors.push(made(&format!("{name}.bias"), &[output]));
    };
    for name in ["q_proj", "k_proj", "v_proj", "out_proj"] {
        with_bias(&format!("{layer}.self_attn.{name}"), 8, 8);
    }
    with_bias(&format!("{layer}.mlp.fc1"), 16, 8);
    with_bias(&format!("{layer}.mlp.fc2"), 8, 16);
    for norm in ["layer_norm1", "layer_norm2"].map(|norm| format!("{layer}.{norm}")) {
        tensors.push(made(&format!("{norm}.weight"), &[8]));
        tensors.push(made(&format!("{norm}.bias"), &[8]));
    }
    tensors.push(made("text_model.final_layer_norm.weight", &[8]));
    tensors.push(made("text_model.final_layer_norm.bias", &[8]));
    tensors
}

fn safetensors(tensors: &Tensors) -> Vec<u8> {
    let (mut header, mut body) = (serde_json::Map::new(), vec![]);
    for (name, shape, values) in tensors {
        let start = body.len();
        body.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [start, body.len()]});
        header.insert(name.clone(), entry);
    }
    let header = Value::Object(header).to_string().into_bytes();
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], &header, &body].concat()
}

fn gguf(tensors: &Tensors, metadata: Vec<(String, MetaValue)>) -> Vec<u8> {
    let planned = tensors
        .iter()
        .map(|(name, shape, _)| (name.clone(), StoredType::F32, shape.clone()))
        .collect();
    let writer = GgufWriter::new(metadata, planned).unwrap();
    let mut body = writer.start("t5.gguf", vec![]).unwrap();
    for (.., values) in tensors {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        body.write_tensor(&bytes).unwrap();
    }
    body.finish().unwrap()
}

/// llama.cpp's name of one of transformers'.
fn llama_cpp(name: &str) -> String {
    let mut name = name.replace("encoder.block.", "enc.blk.");
    for (ours, theirs) in [
        (
            "layer.0.SelfAttention.relative_attention_bias",
            "attn_rel_b",
        ),
        ("layer.0.SelfAttention.", "attn_"),
        ("layer.0.layer_norm", "attn_norm"),
        ("layer.1.layer_norm", "ffn_norm"),
        ("layer.1.DenseReluDense.wi_0", "ffn_gate"),
        ("layer.1.DenseReluDense.wi_1", "ffn_up"),
        ("layer.1.DenseReluDense.wo", "ffn_down"),
        ("encoder.final_layer_norm", "enc.output_norm"),
        ("shared", "token_embd"),
    ] {
        name = name.replace(ours, theirs);
    }
    name
}

/// Pieces with their scores and kinds; `▁` marks a space.
const PIECES: [(&str, f32, u64); 9] = [
    ("<pad>", 0.0, 3),
    ("</s>", 0.0, 3),
    ("<unk>", 0.0, 2),
    ("\u{2581}", -2.0, 1),
    ("a", -2.0, 1),
    ("b", -2.5, 1),
    ("\u{2581}a", -3.0, 1),
    ("ab", -3.4, 1),
    ("\u{2581}aba", -4.0, 1),
];

/// CLIP's vocabulary: every byte's letter alone and at a word's end, and the two tokens.
fn clip_vocab() -> Vec<u8> {
    let mut vocab = serde_json::Map::new();
    let letters = (0..=255u32).map(|byte| char::from_u32(byte + 256).unwrap_or(' '));
    let printed = ('!'..='~').chain('¡'..='¬').chain('®'..='ÿ');
    let letters: Vec<char> = printed.chain(letters).take(256).collect();
    let ends = letters.iter().map(|letter| format!("{letter}</w>"));
    let all = letters.iter().map(char::to_string).chain(ends);
    for token in all.chain(["<|startoftext|>", "<|endoftext|>"].map(str::to_owned)) {
        let id = vocab.len();
        vocab.insert(token, id.into());
    }
    Value::Object(vocab).to_string().into_bytes()
}

/// diffusers' folders.
fn diffusers() -> Files {
    let config = json!({
        "vocab_size": 520, "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "max_position_embeddings": 7, "layer_norm_eps": 1e-5,
        "hidden_act": "quick_gelu", "eos_token_id": 2, "architectures": ["CLIPTextModel"],
    });
    let t5_config = json!({"d_model": 8, "num_layers": 2, "feed_forward_proj": "gated-gelu"});
    let tokenizer_config = json!({"extra_ids": 11});
    Files(BTreeMap::from([
        (
            "f/text_encoder/config.json".into(),
            config.to_string().into_bytes(),
        ),
        (
            "f/text_encoder/model.safetensors".into(),
            safetensors(&clip()),
        ),
        (
            "f/text_encoder_2/config.json".into(),
            t5_config.to_string().into_bytes(),
        ),
        (
            "f/text_encoder_2/model.safetensors".into(),
            safetensors(&t5()),
        ),
        ("f/tokenizer/vocab.json".into(), clip_vocab()),
        ("f/tokenizer/merges.txt".into(), b"#version: 0.2\n".to_vec()),
        (
            "f/tokenizer_2/spiece.model".into(),
            spiece(&PIECES, &b_to_a()),
        ),
        (
            "f/tokenizer_2/tokenizer_config.json".into(),
            tokenizer_config.to_string().into_bytes(),
        ),
    ]))
}

fn load(files: &Files, places: &TeacherPlaces) -> Result<Teacher> {
    pollster::block_on(async {
        let parts = read_teacher(files, places).await?;
        Teacher::load(files, &parts, &Device::flex(), None).await
    })
}

/// The numbers of a caption's conditioning.
fn encoded(files: &Files, places: &TeacherPlaces) -> (Vec<f32>, Vec<f32>) {
    let conditioning = load(files, places).unwrap().encode("a aba b").unwrap();
    assert_eq!(conditioning.txt.dims(), [1, 512, 8]);
    assert_eq!(conditioning.vec.dims(), [1, 8]);
    let txt = conditioning.txt.into_data().try_to_vec().unwrap();
    (txt, conditioning.vec.into_data().try_to_vec().unwrap())
}

#[test]
fn every_layout_gives_the_same_conditioning() {
    let places = TeacherPlaces::of_flux("f");
    let expected = encoded(&diffusers(), &places);
    assert!(
        expected
            .0
            .iter()
            .chain(&expected.1)
            .all(|value| value.is_finite())
    );

    // ComfyUI's file has the embedding twice.
    let mut files = diffusers();
    let mut tensors = t5();
    tensors.push(made("encoder.embed_tokens.weight", &[20, 8]));
    files
        .0
        .insert("c/t5xxl_fp16.safetensors".into(), safetensors(&tensors));
    let mut single = places.clone();
    single.t5 = "c/t5xxl_fp16.safetensors".into();
    assert_eq!(encoded(&files, &single), expected);
    single.t5 = "c".into();
    assert_eq!(encoded(&files, &single), expected);

    // Some have it under the other name alone.
    tensors.retain(|(name, ..)| name != "encoder.embed_tokens.weight");
    tensors[0].0 = "encoder.embed_tokens.weight".into();
    files
        .0
        .insert("c/t5xxl_fp16.safetensors".into(), safetensors(&tensors));
    assert_eq!(encoded(&files, &single), expected);

    // GGUF with the tokenizer inside.
    let named = t5()
        .into_iter()
        .map(|(name, shape, values)| (llama_cpp(&name), shape, values));
    files
        .0
        .insert("g/t5.gguf".into(), gguf(&named.collect(), gguf_tokenizer()));
    let mut ggufs = places.clone();
    (ggufs.t5, ggufs.t5_tokenizer) = ("g".into(), "g".into());
    assert_eq!(encoded(&files, &ggufs), expected);

    // All in one file, beside other parts.
    let under = |prefix: &'static str, tensors: Tensors| {
        let named = move |(name, shape, values)| (format!("{prefix}{name}"), shape, values);
        tensors.into_iter().map(named)
    };
    let mut all: Tensors = under("text_encoders.t5xxl.transformer.", t5()).collect();
    all.extend(under("text_encoders.clip_l.transformer.", clip()));
    all.push(made("model.diffusion_model.img_in.weight", &[8, 8]));
    all.push(made("text_encoders.clip_l.logit_scale", &[1]));
    files
        .0
        .insert("f/text_encoder/model.safetensors".into(), safetensors(&all));
    files.0.insert(
        "f/text_encoder_2/model.safetensors".into(),
        safetensors(&all),
    );
    assert_eq!(encoded(&files, &places), expected);
}

/// What llama.cpp's converter writes of the tokenizer.
fn gguf_tokenizer() -> Vec<(String, MetaValue)> {
    let extra = (0..11).rev().map(|number| format!("<extra_id_{number}>"));
    let texts = PIECES
        .iter()
        .map(|(text, ..)| (*text).to_owned())
        .chain(extra.clone());
    let texts = texts.map(MetaValue::String).collect();
    let scores = PIECES
        .iter()
        .map(|(_, score, _)| *score)
        .chain(extra.clone().map(|_| 0.0));
    let kinds = PIECES
        .iter()
        .map(|(.., kind)| *kind as i32)
        .chain(extra.map(|_| 4));
    let map = b_to_a().into_iter().map(MetaValue::U8).collect();
    vec![
        (
            "tokenizer.ggml.model".into(),
            MetaValue::String("t5".into()),
        ),
        (
            "tokenizer.ggml.tokens".into(),
            MetaValue::Array(MetaType::String, texts),
        ),
        (
            "tokenizer.ggml.scores".into(),
            MetaValue::Array(MetaType::F32, scores.map(MetaValue::F32).collect()),
        ),
        (
            "tokenizer.ggml.token_type".into(),
            MetaValue::Array(MetaType::I32, kinds.map(MetaValue::I32).collect()),
        ),
        (
            "tokenizer.ggml.precompiled_charsmap".into(),
            MetaValue::Array(MetaType::U8, map),
        ),
        (
            "tokenizer.ggml.add_space_prefix".into(),
            MetaValue::Bool(true),
        ),
    ]
}

#[test]
fn parts_that_do_not_fit_are_named() {
    let places = TeacherPlaces::of_flux("f");
    let message = |change: &dyn Fn(&mut Files)| {
        let mut files = diffusers();
        change(&mut files);
        load(&files, &places).unwrap_err().to_string()
    };
    let said = message(&|files| {
        files.0.remove("f/text_encoder_2/model.safetensors");
    });
    assert_eq!(said, "f/text_encoder_2/model.safetensors: file not found");
    let said = message(&|files| {
        files.0.remove("f/tokenizer_2/spiece.model");
    });
    assert_eq!(said, "f/tokenizer_2/tokenizer.json: file not found");
    let said = message(&|files| {
        let config = br#"{"d_ff": 13}"#.to_vec();
        files
            .0
            .insert("f/text_encoder_2/config.json".into(), config);
    });
    assert!(said.contains("d_ff is 13, the tensors have 12"), "{said}");
    // Without a config CLIP is CLIP-L.
    let said = message(&|files| {
        files.0.remove("f/text_encoder/config.json");
    });
    assert!(
        said.ends_with("has shape [8], the config asks for [768]"),
        "{said}"
    );
    let said = message(&|files| {
        let config = br#"{"extra_ids": 12}"#.to_vec();
        files
            .0
            .insert("f/tokenizer_2/tokenizer_config.json".into(), config);
    });
    assert!(
        said.contains("has 21 tokens, T5's embedding has 20 rows"),
        "{said}"
    );
}

/// A `tokenizer.json` of these pieces without steps.
fn tokenizer_json() -> Value {
    let vocab: Vec<Value> = PIECES
        .iter()
        .map(|(text, score, _)| json!([text, score]))
        .collect();
    json!({
        "added_tokens": [
            {"id": 0, "content": "<pad>"}, {"id": 1, "content": "</s>"}, {"id": 2, "content": "<unk>"},
        ],
        "normalizer": null,
        "pre_tokenizer": {"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always"},
        "model": {"type": "Unigram", "unk_id": 2, "vocab": vocab},
    })
}

fn from_json(json: &Value) -> Result<T5Tokenizer> {
    T5Tokenizer::from_json("t.json", json.to_string().as_bytes())
}

#[test]
fn the_best_pieces_are_found_and_the_end_stays() {
    let tokenizer = from_json(&tokenizer_json()).unwrap();
    let ids = |text: &str, tokens| tokenizer.encode(text, tokens).unwrap();
    // `▁aba` scores better than its parts, `▁` and `ab` better than `▁a` and `b`.
    assert_eq!(ids("aba ab", 6), [8, 3, 7, 1, 0, 0]);
    assert_eq!(ids("", 2), [1, 0]);
    assert_eq!(ids("x", 4), [3, 2, 1, 0]);
    // A token's text is the token.
    assert_eq!(ids("a</s>", 4), [6, 1, 1, 0]);
    for text in [
        "a".repeat(100_000),
        "aba ".repeat(10_000),
        "🐘".repeat(20_000),
    ] {
        let cut = ids(&text, 512);
        assert_eq!((cut.len(), cut[511]), (512, 1));
    }
}

#[test]
fn a_model_file_gives_what_its_json_gives() {
    let map = b_to_a();
    let config = br#"{"extra_ids": 0, "add_prefix_space": true}"#;
    let spiece = spiece(&PIECES, &map);
    let file = T5Tokenizer::from_sentencepiece("s.model", &spiece, Some(config)).unwrap();
    let mut json = tokenizer_json();
    json["normalizer"] = json!({"type": "Sequence", "normalizers": [
        {"type": "Precompiled", "precompiled_charsmap": encode(&map)},
        {"type": "Strip", "strip_left": false, "strip_right": true},
        {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "\u{2581}"},
    ]});
    let json = from_json(&json).unwrap();
    for text in ["aba", "b a  aa ", "x  b", ""] {
        assert_eq!(
            file.encode(text, 16).unwrap(),
            json.encode(text, 16).unwrap(),
            "{text:?}"
        );
    }
    // The map makes every `b` an `a`.
    assert_eq!(file.encode("b", 3).unwrap(), json.encode("a", 3).unwrap());
    let none = T5Tokenizer::from_sentencepiece(
        "s.model",
        &spiece,
        Some(br#"{"extra_ids": 0, "add_prefix_space": null}"#),
    );
    assert_eq!(none.unwrap().encode("a", 3).unwrap(), [4, 1, 0]);
}

/// Base64, as the file has it.
fn encode(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, at| {
            bits << 8 | u32::from(*chunk.get(at).unwrap_or(&0))
        });
        for digit in 0..4 {
            text.push(match digit <= chunk.len() {
                true => char::from(DIGITS[(bits >> (18 - 6 * digit) & 63) as usize]),
                false => '=',
            });
        }
    }
    text
}

#[test]
fn tokenizers_that_the_crate_would_trip_over_are_refused() {
    let broken_map = encode(&[4, 0, 0, 0, 255, 255, 255, 127, b'a', 0]);
    let precompiled = |map: &str| json!({"type": "Precompiled", "precompiled_charsmap": map});
    let nested =
        json!({"type": "Sequence", "normalizers": [{"type": "Sequence", "normalizers": []}]});
    for (pointer, value, message) in [
        (
            "/model/type",
            json!("BPE"),
            "is a BPE model; T5 has a Unigram",
        ),
        ("/model/vocab", json!({"a": 1}), "model.vocab: "),
        ("/model/unk_id", json!(9), "has no unknown piece"),
        ("/model/unk_id", Value::Null, "has no unknown piece"),
        ("/model/vocab/4/0", json!(""), "piece 4 has 0 bytes"),
        (
            "/model/vocab/4/0",
            json!("x".repeat(300)),
            "piece 4 has 300 bytes",
        ),
        (
            "/model/vocab/0/0",
            json!("pad"),
            "added token \"<pad>\" can't have id 0",
        ),
        (
            "/added_tokens/0/id",
            json!(7),
            "added token \"<pad>\" can't have id 7",
        ),
        (
            "/normalizer",
            precompiled(&broken_map),
            "its character map leads out of its table at unit 0",
        ),
        (
            "/normalizer",
            precompiled("AAA"),
            "its character map is cut short",
        ),
        (
            "/normalizer",
            precompiled("?"),
            "its character map is no base64",
        ),
        ("/normalizer", nested, "sequences in one another"),
        (
            "/normalizer",
            json!({"type": "Lowercase"}),
            "normalizer: `Lowercase` is not supported",
        ),
        (
            "/normalizer",
            json!({"type": "Replace", "pattern": {"Regex": "(a*)*b"}, "content": ""}),
            "`Replace` is not supported",
        ),
        (
            "/pre_tokenizer",
            json!({"type": "ByteLevel"}),
            "pre_tokenizer: `ByteLevel`",
        ),
    ] {
        let mut json = tokenizer_json();
        *json.pointer_mut(pointer).unwrap() = value;
        let error = from_json(&json).unwrap_err().to_string();
        assert!(
            error.starts_with("t.json: ") && error.contains(message),
            "{error}"
        );
    }
    let scores = spiece(&[("<unk>", f32::NAN, 2)], b"");
    let error = T5Tokenizer::from_sentencepiece("s.model", &scores, None).unwrap_err();
    assert_eq!(error.to_string(), "s.model: piece 0 has the score NaN");
    let other = MemorySource::new("t.gguf", gguf(&t5(), vec![]));
    let other = pollster::block_on(WeightFile::open(Arc::new(other))).unwrap();
    let error = T5Tokenizer::from_gguf(&other).unwrap_err().to_string();
    assert!(
        error.contains("holds no tokenizer of T5; put a tokenizer.json"),
        "{error}"
    );
}

#[test]
fn a_damaged_model_file_is_refused_or_read_and_never_a_panic() {
    let whole = spiece(&PIECES, &b_to_a());
    let mut state = 7u64;
    let mut random = |below: usize| {
        state = state
            .wrapping_mul(0x5851_F42D_4C95_7F2D)
            .wrapping_add(0x1405_7B7E_F767_814F);
        (state >> 33) as usize % below
    };
    let mut read = 0;
    for _ in 0..2000 {
        let mut damaged = whole.clone();
        let at = random(damaged.len());
        damaged[at] = random(256) as u8;
        if let Ok(tokenizer) = T5Tokenizer::from_sentencepiece("s.model", &damaged, None) {
            read += 1;
            let ids = tokenizer
                .encode("ab ba\u{FB01} e\u{301} \u{1F418} b", 24)
                .unwrap();
            assert_eq!(ids.len(), 24);
        }
    }
    assert!(read > 100, "{read}");
}
