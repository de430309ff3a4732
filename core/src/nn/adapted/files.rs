//! What files say beside their numbers: PEFT's configs, other models' keys, and what is refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::Lora;
use crate::weights::{MemorySource, StoredType};

use super::bench::{
    DENSE, HIDDEN, Made, SHAPES, adapted, assert_gives, made, model, number, open, open_with,
    outputs, own, refusal, stored_safetensors,
};
use super::oracle::Matrix;

const QKV: &str = "double_blocks.0.img_attn.qkv";

/// A pair of rank 4 on the queries, its keys ending as given.
fn pair(module: &str, ends: [&str; 2]) -> (Vec<Made>, Matrix) {
    let (down, up) = (Matrix::random(1, 4, HIDDEN), Matrix::random(2, HIDDEN, 4));
    let tensors = vec![
        made(format!("{module}.{}", ends[0]), &down),
        made(format!("{module}.{}", ends[1]), &up),
    ];
    (tensors, up.times(&down))
}

const PEFT: &str = "base_model.model.transformer_blocks.0.attn.to_q";
const HALVES: [&str; 2] = ["lora_A.weight", "lora_B.weight"];

/// The pair counts so many times.
#[track_caller]
fn counts(metadata: &str, config: Option<&str>, module: &str, scale: f64) {
    let (tensors, delta) = pair(module, HALVES);
    let lora = open_with(&tensors, metadata, config, 1.0).expect("it opens");
    let weights = adapted(StoredType::F32, vec![lora]).expect("it fits");
    let model = model(StoredType::F32);
    let (matrix, bias) = (
        own(&model, &format!("{QKV}.weight")),
        own(&model, &format!("{QKV}.bias")),
    );
    let matrix = matrix.plus(&delta.scaled(scale).placed(0, matrix.rows));
    assert_gives(&weights, QKV, &matrix, &bias, DENSE);
}

#[test]
fn a_config_says_how_much_a_pair_counts() {
    counts("{}", None, PEFT, 1.0);
    counts("{}", Some(r#"{"lora_alpha": 8, "r": 4}"#), PEFT, 2.0);
    let root = r#"{"lora_alpha": 8, "r": 4, "use_rslora": true}"#;
    counts("{}", Some(root), PEFT, 4.0);
    let patterns = r#"{"lora_alpha": 8, "r": 16, "rank_pattern": {"to_q": 4},
        "alpha_pattern": {"transformer_blocks.0.attn.to_q": 2}}"#;
    counts("{}", Some(patterns), PEFT, 0.5);
}

#[test]
fn metadata_of_diffusers_counts_where_no_config_is_given() {
    let module = "transformer.transformer_blocks.0.attn.to_q";
    let json = r#"{\"transformer.lora_alpha\": 8, \"transformer.r\": 4}"#;
    let metadata = format!(r#"{{"format": "pt", "lora_adapter_metadata": "{json}"}}"#);
    counts(&metadata, None, module, 2.0);
    counts(&metadata, Some(r#"{"lora_alpha": 4, "r": 4}"#), module, 1.0);
    // A transformer that is saved alone writes no part's name.
    let json = r#"{\"lora_alpha\": 8, \"r\": 4}"#;
    let metadata = format!(r#"{{"lora_adapter_metadata": "{json}"}}"#);
    counts(&metadata, None, module, 2.0);
    let json = r#"{\"text_encoder.lora_alpha\": 8, \"text_encoder.r\": 4}"#;
    let metadata = format!(r#"{{"lora_adapter_metadata": "{json}"}}"#);
    counts(&metadata, None, module, 1.0);
    let broken = r#"{"lora_adapter_metadata": "{"}"#;
    let error = open_with(&pair(module, HALVES).0, broken, None, 1.0).unwrap_err();
    assert!(
        error.to_string().contains("lora_adapter_metadata"),
        "{error}"
    );
}

#[test]
fn an_alpha_in_the_file_counts_before_a_config() {
    let (mut tensors, delta) = pair(PEFT, HALVES);
    tensors.push(number(format!("{PEFT}.lora_A.alpha"), 6.0));
    let config = Some(r#"{"lora_alpha": 8, "r": 4}"#);
    let lora = open_with(&tensors, "{}", config, 1.0).expect("it opens");
    let weights = adapted(StoredType::F32, vec![lora]).expect("it fits");
    let model = model(StoredType::F32);
    let (matrix, bias) = (
        own(&model, &format!("{QKV}.weight")),
        own(&model, &format!("{QKV}.bias")),
    );
    let matrix = matrix.plus(&delta.scaled(1.5).placed(0, matrix.rows));
    assert_gives(&weights, QKV, &matrix, &bias, DENSE);
}

#[test]
fn configs_that_do_not_fit_their_file_are_refused() {
    let refuse = |config: &str| {
        let lora = open_with(&pair(PEFT, HALVES).0, "{}", Some(config), 1.0);
        let weights = lora.and_then(|lora| adapted(StoredType::F32, vec![lora]));
        weights.unwrap_err().to_string()
    };
    let rank = refuse(r#"{"lora_alpha": 8, "r": 8}"#);
    assert!(rank.contains("rank 4") && rank.contains("says 8"), "{rank}");
    let dora = refuse(r#"{"lora_alpha": 8, "r": 4, "use_dora": true}"#);
    assert!(
        dora.contains("no magnitude") && dora.contains("use_dora"),
        "{dora}"
    );
    let saved = refuse(r#"{"r": 4, "modules_to_save": ["proj_out"]}"#);
    assert!(saved.contains("modules_to_save"), "{saved}");
}

#[test]
fn every_spelling_of_a_pair_changes_the_same_rows() {
    for (module, down, up) in [
        (
            "unet.transformer_blocks.0.attn.to_q",
            "lora_A.weight",
            "lora_B.weight",
        ),
        (PEFT, "lora_A.my_style.weight", "lora_B.my_style.weight"),
        (
            "lycoris_transformer_blocks_0_attn_to_q",
            "lora_down.weight",
            "lora_up.weight",
        ),
        (
            "transformer.transformer_blocks.0.attn.processor.to_q_lora",
            "down.weight",
            "up.weight",
        ),
        (
            "transformer.transformer_blocks.0.attn.to_q",
            "lora_linear_layer.down.weight",
            "lora_linear_layer.up.weight",
        ),
        (
            "lora_unet_transformer_blocks_0_attn_to_q_",
            "lora_down.weight",
            "lora_up.weight",
        ),
    ] {
        let (tensors, delta) = pair(module, [down, up]);
        let lora = open(&tensors, 1.0).expect("it opens");
        let weights = adapted(StoredType::F32, vec![lora]);
        let weights = weights.unwrap_or_else(|error| panic!("{module}: {error}"));
        let model = model(StoredType::F32);
        let (matrix, bias) = (
            own(&model, &format!("{QKV}.weight")),
            own(&model, &format!("{QKV}.bias")),
        );
        let matrix = matrix.plus(&delta.placed(0, matrix.rows));
        assert_gives(&weights, QKV, &matrix, &bias, DENSE);
    }
}

#[test]
fn a_layer_that_is_changed_under_two_names_is_refused() {
    let (mut tensors, _) = pair(PEFT, HALVES);
    tensors.extend(pair("unet.transformer_blocks.0.attn.to_q", HALVES).0);
    let lora = open(&tensors, 1.0).expect("it opens");
    let error = adapted(StoredType::F32, vec![lora])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("change the same layer") && error.contains("unet."),
        "{error}"
    );
    // Another piece of the same matrix is another layer.
    let (mut tensors, _) = pair(PEFT, HALVES);
    tensors.extend(pair("unet.transformer_blocks.0.attn.to_k", HALVES).0);
    let lora = open(&tensors, 1.0).expect("it opens");
    adapted(StoredType::F32, vec![lora]).expect("it fits");
}

#[test]
fn factors_of_whole_numbers_are_refused_by_their_key() {
    let keys = HALVES.map(|end| format!("{PEFT}.{end}"));
    let file = stored_safetensors(
        [
            (
                keys[0].as_str(),
                "I8",
                &[4, HIDDEN][..],
                vec![1; 4 * HIDDEN],
            ),
            (
                keys[1].as_str(),
                "I8",
                &[HIDDEN, 4][..],
                vec![1; HIDDEN * 4],
            ),
        ],
        "{}",
    );
    let source = Arc::new(MemorySource::new("lora", file));
    let lora = pollster::block_on(Lora::open(source, 1.0)).expect("it opens");
    let error = adapted(StoredType::F32, vec![lora])
        .unwrap_err()
        .to_string();
    assert!(error.contains("whole numbers (I8)"), "{error}");
}

/// Tensors that the model has no use for, beside a pair that it has.
fn with_pair(more: &[&str]) -> Vec<Made> {
    let (mut tensors, _) = pair("transformer.transformer_blocks.0.attn.to_q", HALVES);
    let square = Matrix::random(5, 4, 4);
    tensors.extend(more.iter().map(|key| made(*key, &square)));
    tensors
}

#[test]
fn what_another_model_has_is_left_out_with_a_warning() {
    for (more, words) in [
        (
            [
                "lora_te1_text_model_a.lora_down.weight",
                "text_encoder_2.b.lora_A.weight",
            ],
            "2 keys change the text encoders",
        ),
        (
            ["emb_params", "bundle_emb.cat.clip_l"],
            "2 keys add new words",
        ),
        (
            [
                "lora_unet_guidance_in_in_layer.lora_down.weight",
                "lora_unet_guidance_in_in_layer.lora_up.weight",
            ],
            "guidance",
        ),
        (
            [
                "transformer.transformer_blocks.18.attn.to_q.lora_A.weight",
                "transformer.transformer_blocks.18.attn.to_q.lora_B.weight",
            ],
            "double_blocks.18.img_attn.qkv",
        ),
    ] {
        let lora = open(&with_pair(&more), 1.0).expect("it opens");
        let has = |layer: &str| !layer.contains(".18.") && !layer.starts_with("guidance_in.");
        let warnings = lora.warnings(has);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(
            warnings[0].contains(words) && warnings[0].starts_with("lora: "),
            "{warnings:?}"
        );
        assert!(adapted(StoredType::F32, vec![lora]).is_ok(), "{more:?}");
        let tensors = &with_pair(&more)[2..];
        assert!(refusal(tensors).contains("no key changes"), "{more:?}");
    }
    let (tensors, _) = pair(PEFT, HALVES);
    let warnings = open(&tensors, 1.0).expect("it opens").warnings(|_| true);
    assert!(warnings[0].contains("adapter_config.json"), "{warnings:?}");
}

#[test]
fn a_control_lora_is_told_by_its_input() {
    let (down, up) = (Matrix::random(1, 4, 64), Matrix::random(2, HIDDEN, 4));
    let message = refusal(&[
        made("img_in.lora_A.weight", &down),
        made("img_in.lora_B.weight", &up),
    ]);
    assert!(
        message.contains("64 channels") && message.contains("control LoRA"),
        "{message}"
    );
}

#[test]
fn ten_keys_are_named_and_the_rest_is_counted() {
    let keys: Vec<String> = (0..2000)
        .map(|at| format!("down_blocks.{at}.lokr_w1"))
        .collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let message = refusal(&with_pair(&keys));
    assert!(
        message.contains("2000 of 2002 keys match nothing"),
        "{message}"
    );
    assert!(
        message.contains("and 1990 more") && message.len() < 1000,
        "{message}"
    );
    let long = format!("{}.lora_A.weight", "a".repeat(70_000));
    assert!(refusal(&with_pair(&[&long])).len() < 1000);
}

#[test]
fn a_key_of_any_length_but_a_reasonable_one_matches_nothing() {
    // As many underscores as a stranger likes are dropped before a flat name.
    let keyed = |count: usize| {
        let module = format!(
            "lora_unet_{}double_blocks_0_img_attn_qkv",
            "_".repeat(count)
        );
        let (down, up) = (
            Matrix::random(1, 2, HIDDEN),
            Matrix::random(2, 3 * HIDDEN, 2),
        );
        [
            made(format!("{module}.lora_down.weight"), &down),
            made(format!("{module}.lora_up.weight"), &up),
        ]
    };
    let fitting = open(&keyed(900), 1.0).and_then(|lora| adapted(StoredType::F32, vec![lora]));
    assert!(fitting.is_ok(), "{:?}", fitting.err());
    let message = refusal(&keyed(1000));
    assert!(message.contains("2 of 2 keys match nothing"), "{message}");
    assert!(message.len() < 500, "{message}");
}

#[test]
fn what_is_wrong_is_named() {
    let module = "transformer.transformer_blocks.0.attn.to_k";
    let matrix = |rows, columns| Matrix::random(3, rows, columns);
    let part = |end: &str, rows, columns| made(format!("{module}.{end}"), &matrix(rows, columns));
    for (tensors, words) in [
        (vec![part("lora_A.weight", 2, HIDDEN)], "one half of a pair"),
        (vec![part("lokr_w1", 2, 2)], "one factor of a LoKr"),
        (
            vec![part("lokr_w1", 2, 2), part("lokr_w2", 2, 2)],
            "of shape [4, 4], the transformer takes [32, 32]",
        ),
        (
            vec![
                part("lora_A.weight", 2, HIDDEN),
                part("lora_B.weight", HIDDEN, 3),
            ],
            "does not fit",
        ),
        (
            vec![part("hada_w1_a", HIDDEN, 2), part("hada_w1_b", 2, HIDDEN)],
            "half of a LoHa",
        ),
        (vec![part("diff", HIDDEN, 31)], "takes 32 columns"),
        (vec![part("dora_scale", HIDDEN, 1)], "no change beside it"),
        (vec![part("weight", HIDDEN, HIDDEN)], "weights themselves"),
        (vec![part("oft_blocks", 2, 2)], "OFT"),
        (vec![part("a1.weight", 2, 2)], "GLoRA"),
        (
            vec![
                part("lora_A.one.weight", 2, HIDDEN),
                part("lora_B.two.weight", HIDDEN, 2),
            ],
            "several adapters",
        ),
        (
            vec![
                part("lora_A.weight", 2, HIDDEN),
                part("lora_B.weight", HIDDEN, 2),
                part("dora_scale", 3, 1),
            ],
            "its change is [32, 32]",
        ),
        (
            vec![
                part("diff", HIDDEN, HIDDEN),
                part("lora_A.weight", 2, HIDDEN),
                part("lora_B.weight", HIDDEN, 2),
            ],
            "more than one kind",
        ),
        (vec![part("diff_b", 31, 1)], "takes 32 numbers"),
        (vec![part("alpha", 2, 1)], "one number"),
        (vec![part("alpha", 1, 1)], "an alpha alone"),
        (
            vec![(format!("{module}.lora_A.weight"), vec![0, HIDDEN], vec![])],
            "no matrix",
        ),
    ] {
        let message = refusal(&tensors);
        let names = message.contains("to_k") || words == "several adapters";
        assert!(message.contains(words) && names, "{words}: {message}");
    }
}

#[test]
fn numbers_that_are_not_finite_are_refused_by_their_key() {
    use crate::nn::{Bias, Linear};
    use burn::tensor::Device;
    let (mut tensors, _) = pair("transformer.transformer_blocks.0.attn.to_q", HALVES);
    tensors[1].2[5] = f32::NAN;
    let lora = open(&tensors, 1.0).expect("it opens");
    let weights = adapted(StoredType::F32, vec![lora]).expect("it fits");
    let device = Device::flex();
    let scope = weights.scope(&device).child(QKV);
    let linear = Linear::load(&scope, HIDDEN, 3 * HIDDEN, Bias::Yes);
    let error = pollster::block_on(linear).unwrap_err().to_string();
    assert!(
        error.contains("to_q.lora_B.weight") && error.contains("finite"),
        "{error}"
    );
}

/// The bytes of 1, 2, -1 and 0.5 as `float8_e4m3fn`.
#[test]
fn factors_of_eight_bits_are_read() {
    let bytes = [0x38u8, 0x40, 0xb8, 0x30];
    let values = [1.0, 2.0, -1.0, 0.5];
    let module = "transformer.transformer_blocks.0.attn.to_q";
    let keys = HALVES.map(|end| format!("{module}.{end}"));
    let pattern = |at: usize| (at * 7 + at / 5) % 4;
    let stored = |count| (0..count).map(|at| bytes[pattern(at)]).collect::<Vec<u8>>();
    let file = stored_safetensors(
        [
            (
                keys[0].as_str(),
                "F8_E4M3",
                &[4, HIDDEN][..],
                stored(4 * HIDDEN),
            ),
            (
                keys[1].as_str(),
                "F8_E4M3",
                &[HIDDEN, 4][..],
                stored(HIDDEN * 4),
            ),
        ],
        "{}",
    );
    let source = Arc::new(MemorySource::new("lora", file));
    let lora = pollster::block_on(Lora::open(source, 1.0)).expect("it opens");
    let weights = adapted(StoredType::F32, vec![lora]).expect("it fits");
    let matrix = |rows, columns| {
        Matrix::new(rows, columns, |row, column| {
            values[pattern(row * columns + column)]
        })
    };
    let delta = matrix(HIDDEN, 4).times(&matrix(4, HIDDEN));
    let model = model(StoredType::F32);
    let (own_matrix, bias) = (
        own(&model, &format!("{QKV}.weight")),
        own(&model, &format!("{QKV}.bias")),
    );
    let changed = own_matrix.plus(&delta.placed(0, own_matrix.rows));
    assert_gives(&weights, QKV, &changed, &bias, DENSE);
}

/// Files of roles and shapes that were drawn at random are refused or applied, without a panic.
#[test]
fn any_roles_of_any_shapes_are_refused_or_applied() {
    const MODULES: &[&str] = &[
        "transformer.transformer_blocks.0.attn.to_k",
        "double_blocks.0.img_attn.qkv",
        "lora_unet_single_blocks_0_linear1",
        "transformer.norm_out.linear",
        "double_blocks.0.img_attn.norm.query_norm",
        "guidance_in.in_layer",
        "img_in",
    ];
    const ENDS: &[&str] = &[
        "lora_A.weight",
        "lora_B.weight",
        "lora_mid.weight",
        "lora_B.bias",
        "alpha",
        "dora_scale",
        "lora_magnitude_vector",
        "lokr_w1",
        "lokr_w1_a",
        "lokr_w1_b",
        "lokr_w2",
        "lokr_w2_a",
        "lokr_w2_b",
        "lokr_t2",
        "hada_w1_a",
        "hada_w1_b",
        "hada_w2_a",
        "hada_w2_b",
        "hada_t1",
        "diff",
        "diff_b",
        "weight",
        "bias",
    ];
    const SIZES: &[usize] = &[0, 1, 1, 2, 2, 2, 4, 8, 16, 32, 32, 64, 96];
    let mut state = 1u64;
    let mut next = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize % below
    };
    let (mut applied, mut refused) = (0, 0);
    for _ in 0..3000 {
        let module = MODULES[next(MODULES.len())];
        let count = 1 + next(4);
        let first = next(ENDS.len());
        let mut tensors = BTreeMap::new();
        for at in 0..count {
            // Mostly neighbours in the list, which belong together.
            let end = match next(4) {
                0 => next(ENDS.len()),
                _ => (first + at) % ENDS.len(),
            };
            let axes = [0, 1, 2, 2, 2, 4][next(6)];
            let shape: Vec<usize> = match axes {
                4 => vec![SIZES[next(SIZES.len())], SIZES[next(SIZES.len())], 1, 1],
                axes => (0..axes).map(|_| SIZES[next(SIZES.len())]).collect(),
            };
            let values = vec![0.5; shape.iter().product()];
            tensors.insert(format!("{module}.{}", ENDS[end]), (shape, values));
        }
        let tensors: Vec<Made> = tensors
            .into_iter()
            .map(|(key, (shape, values))| (key, shape, values))
            .collect();
        let lora = open(&tensors, 1.0);
        match lora.and_then(|lora| adapted(StoredType::F32, vec![lora])) {
            Err(_) => refused += 1,
            Ok(weights) => {
                applied += 1;
                for (name, shape) in SHAPES {
                    if let Some(layer) = name.strip_suffix(".weight") {
                        outputs(&weights, layer, 0..shape[0]);
                    }
                }
            }
        }
    }
    assert!(applied > 0 && refused > 1000, "{applied} {refused}");
}
