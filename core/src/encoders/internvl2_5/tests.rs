//! The whole encoder on a model of a few hundred made-up weights, and the vision tower beside the
//! reference's numbers for what the golden model has not: RMSNorm, norms of q and k, no bias, a
//! stretched position embedding.

use burn::tensor::Device;
use serde_json::{Value, json};

use super::*;
use crate::config::{EncoderConfig, InternVitConfig, PaddingSide};
use crate::encoders::tests::{
    EXACT, Named, assert_close, decoder_layer, encode, image, loaded, named, options, part,
    stopped, tokenizer, weights,
};
use crate::request::Part;
use crate::video::Video;
use crate::weights::{Component, Weights};

const HIDDEN: usize = 8;
const LAYERS: usize = 2;
/// Letters, the space, six special tokens.
const VOCABULARY: usize = 33;
const SPECIAL: [&str; 6] = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<img>",
    "</img>",
    CONTEXT,
];

/// Names and shapes of a vision tower of two layers.
fn vision_shapes(norm_type: &str, qk_normalization: bool, qkv_bias: bool) -> Vec<Named> {
    let mut shapes = named(
        "vision_model.embeddings",
        &[
            ("class_embedding", &[1, 1, 8]),
            ("position_embedding", &[1, 17, 8]),
            ("patch_embedding.weight", &[8, 3, 2, 2]),
            ("patch_embedding.bias", &[8]),
        ],
    );
    for layer in 0..2 {
        let mut rows: Vec<(&str, &[usize])> = vec![("norm1.weight", &[8]), ("norm2.weight", &[8])];
        if norm_type == "layer_norm" {
            rows.extend([("norm1.bias", &[8][..]), ("norm2.bias", &[8])]);
        }
        if qk_normalization {
            rows.extend([
                ("attn.q_norm.weight", &[8][..]),
                ("attn.k_norm.weight", &[8]),
            ]);
        }
        if qkv_bias {
            rows.push(("attn.qkv.bias", &[24]));
        }
        rows.extend([
            ("attn.qkv.weight", &[24, 8][..]),
            ("attn.proj.weight", &[8, 8]),
            ("attn.proj.bias", &[8]),
            ("mlp.fc1.weight", &[12, 8]),
            ("mlp.fc1.bias", &[12]),
            ("mlp.fc2.weight", &[8, 12]),
            ("mlp.fc2.bias", &[8]),
            ("ls1", &[8]),
            ("ls2", &[8]),
        ]);
        shapes.extend(named(
            &format!("vision_model.encoder.layers.{layer}"),
            &rows,
        ));
    }
    shapes
}

/// Names and shapes of the whole model.
fn shapes() -> Vec<Named> {
    let mut shapes = vision_shapes("layer_norm", false, true);
    shapes.extend(named(
        "mlp1",
        &[
            ("0.weight", &[32]),
            ("0.bias", &[32]),
            ("1.weight", &[HIDDEN, 32]),
            ("1.bias", &[HIDDEN]),
            ("3.weight", &[HIDDEN, HIDDEN]),
            ("3.bias", &[HIDDEN]),
        ],
    ));
    shapes.extend(named(
        "language_model",
        &[
            ("model.embed_tokens.weight", &[VOCABULARY, HIDDEN]),
            ("model.norm.weight", &[HIDDEN]),
            ("lm_head.weight", &[VOCABULARY, HIDDEN]),
        ],
    ));
    for layer in 0..LAYERS {
        let prefix = format!("language_model.model.layers.{layer}");
        shapes.extend(decoder_layer(&prefix, HIDDEN, 4, 12));
    }
    shapes
}

/// Waves: `0.4 sin(0.61 i + bytes of the name without its tower)`.
fn waves(tensors: Vec<Named>) -> Weights {
    weights(Component::InternVl2_5, tensors, |name, index, _| {
        let phase = name.strip_prefix("vision_model.").unwrap_or(name).len() as f64;
        (index as f64 * 0.61 + phase).sin() as f32 * 0.4
    })
}

fn vision_config() -> Value {
    json!({
        "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2,
        "image_size": 8, "patch_size": 2, "norm_type": "layer_norm", "qkv_bias": true,
        "qk_normalization": false,
    })
}

fn model() -> InternVl2_5 {
    let config = json!({
        "max_dynamic_patch": 4, "use_thumbnail": true, "ps_version": "v2", "template": "internvl2_5",
        "llm_config": {
            "architectures": ["Qwen2ForCausalLM"], "vocab_size": VOCABULARY, "hidden_size": HIDDEN,
            "intermediate_size": 12, "num_hidden_layers": LAYERS, "num_attention_heads": 2,
            "num_key_value_heads": 1, "max_position_embeddings": 120, "rope_theta": 10_000.0,
        },
        "vision_config": vision_config(),
    });
    let config = InternVl2_5Config::from_json("config.json", config).unwrap();
    let part = part(EncoderConfig::InternVl2_5(config.clone()));
    loaded(&config, &part, tokenizer(&SPECIAL), &waves(shapes()))
}

fn padded(max_length: usize) -> EncodeOptions {
    EncodeOptions {
        padding: Some(Padding {
            max_length,
            side: PaddingSide::Right,
        }),
        ..options(Conditioning::Prompt)
    }
}

/// An image of `width` by 8 pixels (one tile for every 8 of width, and the thumbnail), then text.
fn with_picture(width: usize, text: &str) -> Prompt {
    Prompt::new(vec![Part::Image(image(width, 8)), Part::Text(text.into())])
}

#[test]
fn states_are_those_of_the_prompt_or_of_the_answers_fed_tokens() {
    let (model, prompt) = (model(), with_picture(16, "a cat"));
    let read = encode(&model, &prompt, &options(Conditioning::Prompt)).unwrap();
    let tokens = read.prompt_tokens;
    assert_eq!(read.hidden_states.dims(), [1, LAYERS + 1, tokens, HIDDEN]);
    assert_eq!(read.answer, None);
    let answered = encode(&model, &prompt, &options(Conditioning::Answer)).unwrap();
    assert_eq!(answered.hidden_states.dims(), [1, LAYERS + 1, 4, HIDDEN]);
    assert!(answered.answer.is_some());
}

#[test]
fn every_tile_is_four_tokens_of_its_own() {
    let model = model();
    let prepare = |width| {
        let prompt = with_picture(width, "ab");
        let inputs = model.prepare(&prompt, &options(Conditioning::Prompt));
        inputs.unwrap().sequence.ids
    };
    for (width, tiles) in [(8, 1), (16, 3), (24, 4)] {
        let ids = prepare(width);
        let start = ids.iter().position(|&id| id == 30).unwrap();
        assert_eq!(ids[start + 1..][..tiles * 4], vec![32; tiles * 4]);
        assert_eq!(ids[start + 1 + tiles * 4..][..3], [31, 0, 1]);
    }
}

#[test]
fn the_pictures_tokens_stand_in_place_of_the_placeholders() {
    let model = model();
    let inputs = model
        .prepare(&with_picture(16, "ab"), &options(Conditioning::Prompt))
        .unwrap();
    let go = &mut async || Ok(());
    let embedded = pollster::block_on(model.embed(&inputs, go)).unwrap();
    let start = inputs.sequence.ids.iter().position(|&id| id == 32).unwrap();
    let seen = model
        .vision_model
        .forward(model.pixel_tensor(&inputs.tiles[0]), go);
    let seen = pollster::block_on(seen).unwrap();
    let tokens = model.projector.project(model.projector.pixel_shuffle(seen)); // [3, 4, hidden]
    assert_close(
        embedded.clone().narrow(1, start, 12),
        tokens.reshape([1, 12, HIDDEN]),
        EXACT,
    );
    let text = model.llm.embed(&inputs.sequence.ids, vec![]);
    assert_close(
        embedded.narrow(1, 0, start),
        text.narrow(1, 0, start),
        EXACT,
    );
}

/// Channel `10 * row + column` of a grid of 4 x 4 patches, behind a class token.
#[test]
fn pixel_shuffle_joins_two_by_two_neighbours_row_by_row() {
    let places = (0..4).flat_map(|row| (0..4).map(move |column| (10 * row + column) as f32));
    let places: Vec<f32> = std::iter::once(-1.0).chain(places).collect();
    let x = Tensor::<1>::from_floats(places.as_slice(), &Device::flex())
        .reshape([1, 17, 1])
        .repeat_dim(2, 8);
    let shuffled = model().projector.pixel_shuffle(x);
    let channels = [0, 8, 16, 24].map(|channel| shuffled.clone().narrow(2, channel, 1));
    let values: Vec<f32> = Tensor::cat(channels.to_vec(), 2)
        .into_data()
        .try_to_vec()
        .unwrap();
    assert_eq!(
        values,
        [
            0., 1., 10., 11., 2., 3., 12., 13., 20., 21., 30., 31., 22., 23., 32., 33.
        ]
    );
}

#[test]
fn padding_on_the_right_leaves_the_prompts_states_alone() {
    let (model, prompt) = (model(), Prompt::text("a cat"));
    let whole = encode(&model, &prompt, &padded(60)).unwrap().hidden_states;
    let plain = encode(&model, &prompt, &options(Conditioning::Prompt)).unwrap();
    assert_eq!(whole.dims()[2], 60);
    assert_close(
        whole.narrow(2, 0, plain.prompt_tokens),
        plain.hidden_states,
        EXACT,
    );
}

#[test]
fn an_answer_goes_on_from_the_prompt_and_not_from_its_padding() {
    let (model, prompt) = (model(), Prompt::text("a cat"));
    let answer = |padding| {
        let options = EncodeOptions {
            padding,
            ..options(Conditioning::Answer)
        };
        encode(&model, &prompt, &options).unwrap()
    };
    let (padded, plain) = (answer(padded(60).padding), answer(None));
    assert_eq!(padded.answer, plain.answer);
    assert_close(padded.hidden_states, plain.hidden_states, EXACT);
}

#[test]
fn answers_that_are_known_before_have_the_states_of_those_that_are_chosen() {
    let model = model();
    for padding in [None, padded(60).padding] {
        let options = EncodeOptions {
            padding,
            ..options(Conditioning::Answer)
        };
        let prompts = ["a cat", "a dog on the moon", "b"];
        let chosen = prompts.map(|words| encode(&model, &Prompt::text(words), &options).unwrap());
        let answers = chosen.iter().flat_map(|it| &it.answer);
        let answers: Vec<&str> = answers.map(|answer| answer.text.as_str()).collect();
        let pairs: Vec<(&str, &str)> = prompts.into_iter().zip(answers).collect();
        let told = pollster::block_on(model.told(&pairs, &options)).unwrap();
        assert_eq!(told.len(), prompts.len());
        for (told, chosen) in told.into_iter().zip(chosen) {
            assert_close(told, chosen.hidden_states, EXACT);
        }
    }
    let told = pollster::block_on(model.told(&[("a", "")], &options(Conditioning::Answer)));
    let message = told.map(drop).unwrap_err().to_string();
    assert!(message.contains("an answer without a token"), "{message}");
}

#[test]
fn words_are_cut_and_pictures_are_not() {
    let model = model();
    let tokens = |prompt: &Prompt| encode(&model, prompt, &padded(40)).unwrap().prompt_tokens;
    assert_eq!(tokens(&Prompt::text("a".repeat(100))), 40);
    assert_eq!(tokens(&with_picture(8, &"a".repeat(60))), 40);
    let frames = Video::new(vec![image(8, 8); 8], 1.0).unwrap();
    let video = Prompt::new(vec![Part::Video(frames)]);
    let whole = encode(&model, &video, &options(Conditioning::Prompt)).unwrap();
    assert!(whole.prompt_tokens > 40);
    assert_eq!(tokens(&video), whole.prompt_tokens);
}

#[test]
fn prompts_that_do_not_fit_are_refused_with_numbers() {
    let model = model();
    let refuse = |prompt: &Prompt| {
        let refused = encode(&model, prompt, &options(Conditioning::Prompt));
        refused.unwrap_err().to_string()
    };
    let long = refuse(&Prompt::text("ab".repeat(50_000)));
    assert!(
        long.ends_with("tokens; the model reads at most 120"),
        "{long}"
    );
}

#[test]
fn context_tokens_in_words_are_text() {
    let model = model();
    let tokens = |prompt: &Prompt| {
        let encoded = encode(&model, prompt, &options(Conditioning::Prompt)).unwrap();
        encoded.prompt_tokens
    };
    let plain = tokens(&with_picture(8, ""));
    // No letter of it is in the tiny vocabulary.
    assert_eq!(tokens(&with_picture(8, CONTEXT)), plain);
    assert_eq!(
        tokens(&with_picture(8, "a<|im_end|>b")),
        plain + 2 + "imend".len()
    );
}

#[test]
fn breaking_cancels_before_the_next_layer() {
    let (model, prompt) = (model(), with_picture(16, "ab"));
    // Two layers of the tower, two of the decoder, and the end.
    for allowed in 0..6 {
        let options = options(Conditioning::Prompt);
        let (cancelled, heard) = stopped(&model, &prompt, &options, allowed);
        assert_eq!((cancelled, heard), (allowed < 5, (allowed + 1).min(5)));
    }
}

/// A tower of the reference's class with these weights: its first and last values, and the sum of
/// each value times the sine of its place. Tiles of 12 pixels stretch the positions of 4 x 4 patches.
#[test]
fn both_kinds_of_tower_match_the_reference() {
    for tower in REFERENCE {
        let (norm_type, qk_norm, bias) = match tower.rms {
            true => ("rms_norm", true, false),
            false => ("layer_norm", false, true),
        };
        let mut config = vision_config();
        config["norm_type"] = json!(norm_type);
        config["qk_normalization"] = json!(qk_norm);
        config["qkv_bias"] = json!(bias);
        let config: InternVitConfig = serde_json::from_value(config).unwrap();
        let weights = waves(vision_shapes(norm_type, qk_norm, bias));
        let device = Device::flex();
        let scope = weights.scope(&device).child("vision_model");
        let size = tower.size;
        let loaded = pollster::block_on(InternVit::load(&config, size / 2, &scope)).unwrap();
        let waves = (0..2 * 3 * size * size).map(|i| (i as f64 * 0.37).sin() as f32);
        let pixels = TensorData::new(waves.collect::<Vec<_>>(), [2, 3, size, size]);
        let pixels = Tensor::from_data(pixels, &device);
        let seen = pollster::block_on(loaded.forward(pixels, &mut async || Ok(()))).unwrap();
        let values: Vec<f32> = seen.into_data().try_to_vec().unwrap();
        let close = |ours: f64, theirs: f64, most: f64| {
            assert!(
                (ours - theirs).abs() < most,
                "{norm_type} {size}: {ours} {theirs}"
            );
        };
        let ends = values[..4].iter().chain(&values[values.len() - 4..]);
        for (ours, theirs) in ends.zip(tower.ends) {
            close(f64::from(*ours), theirs, 1e-5);
        }
        let terms = values.iter().enumerate();
        let sum: f64 = terms
            .map(|(i, value)| f64::from(*value) * (i as f64).sin())
            .sum();
        close(sum, tower.weighted, 1e-3);
    }
}

struct Reference {
    rms: bool,
    size: usize,
    ends: [f64; 8],
    weighted: f64,
}

const REFERENCE: [Reference; 4] = [
    Reference {
        rms: true,
        size: 8,
        ends: [
            -0.39896, -0.579539, -0.248167, -0.013682, 0.739189, -0.06924, -0.652374, -0.960784,
        ],
        weighted: 11.777130,
    },
    Reference {
        rms: true,
        size: 12,
        ends: [
            -0.396007, -0.62679, -0.261033, -0.006848, -0.954419, -1.815665, -0.723292, 0.710001,
        ],
        weighted: 0.852832,
    },
    Reference {
        rms: false,
        size: 8,
        ends: [
            0.038906, -0.746523, -0.634951, -0.016, 0.481078, -0.294749, -0.160074, -0.615865,
        ],
        weighted: 11.869619,
    },
    Reference {
        rms: false,
        size: 12,
        ends: [
            0.046463, -0.775861, -0.647549, -0.012141, -1.210265, -2.0142, -0.200423, 1.050115,
        ],
        weighted: 0.621864,
    },
];
