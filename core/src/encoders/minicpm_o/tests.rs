//! The whole encoder on a model of made-up weights.

use serde_json::json;

use super::*;
use crate::config::{Conditioning, EncoderConfig, PaddingSide};
use crate::encoders::tests::{
    EXACT, Named, assert_close, decoder_layer, encode, image, loaded, named, open, part, stopped,
    tokenizer,
};
use crate::image::Image;
use crate::image::resize::resize_bicubic;
use crate::request::Turn;
use crate::video::Video;
use crate::weights::gguf::GgufWriter;
use crate::weights::{Component, MemorySource, StoredType, Weights, quant};

const HIDDEN: usize = 128;
const VOCABULARY: usize = 35;
const QUERIES: usize = 4;
/// Width of both towers.
const TOWER: usize = 32;
const END: u32 = 27;
const UNK: u32 = 28;
const SPECIAL: [&str; 8] = [
    "<|endoftext|>",
    "<unk>",
    "<image>",
    "</image>",
    "<slice>",
    "</slice>",
    "<|audio_start|>",
    "<|audio_end|>",
];

/// A weight `[output, input]` and its bias.
fn linear(prefix: &str, output: usize, input: usize) -> Vec<Named> {
    named(prefix, &[("weight", &[output, input]), ("bias", &[output])])
}

fn norm(prefix: &str, width: usize) -> Vec<Named> {
    named(prefix, &[("weight", &[width]), ("bias", &[width])])
}

/// A layer of a tower; `names` are its norms and the layers of its MLP.
fn tower_layer(prefix: &str, [norm1, norm2, fc1, fc2]: [&str; 4]) -> Vec<Named> {
    let child = |name: &str| format!("{prefix}.{name}");
    let attention = ["q_proj", "k_proj", "v_proj", "out_proj"];
    let attention =
        attention.map(|name| linear(&child(&format!("self_attn.{name}")), TOWER, TOWER));
    let rest = [
        linear(&child(fc1), 4 * TOWER, TOWER),
        linear(&child(fc2), TOWER, 4 * TOWER),
        norm(&child(norm1), TOWER),
        norm(&child(norm2), TOWER),
    ];
    [attention, rest].concat().concat()
}

fn decoder() -> Vec<Named> {
    let ends: &[(&str, &[usize])] = &[
        ("embed_tokens.weight", &[VOCABULARY, HIDDEN]),
        ("norm.weight", &[HIDDEN]),
    ];
    let layer = decoder_layer("llm.model.layers.0", HIDDEN, 64, 32);
    [named("llm.model", ends), layer].concat()
}

fn vision_tower() -> Vec<Named> {
    named(
        "vpm",
        &[
            ("embeddings.patch_embedding.weight", &[TOWER, 3, 2, 2]),
            ("embeddings.patch_embedding.bias", &[TOWER]),
            ("embeddings.position_embedding.weight", &[16, TOWER]),
            ("post_layernorm.weight", &[TOWER]),
            ("post_layernorm.bias", &[TOWER]),
        ],
    )
}

fn resampler() -> Vec<Named> {
    let mut shapes = named(
        "resampler",
        &[
            ("query", &[QUERIES, HIDDEN]),
            ("kv_proj.weight", &[HIDDEN, TOWER]),
            ("attn.in_proj_weight", &[3 * HIDDEN, HIDDEN]),
            ("attn.in_proj_bias", &[3 * HIDDEN]),
            ("attn.out_proj.weight", &[HIDDEN, HIDDEN]),
            ("attn.out_proj.bias", &[HIDDEN]),
            ("proj", &[HIDDEN, HIDDEN]),
        ],
    );
    for name in ["ln_q", "ln_kv", "ln_post"] {
        shapes.extend(norm(&format!("resampler.{name}"), HIDDEN));
    }
    shapes
}

fn audio_tower() -> Vec<Named> {
    let tower = named(
        "apm",
        &[
            ("conv1.weight", &[TOWER, 8, 3]),
            ("conv1.bias", &[TOWER]),
            ("conv2.weight", &[TOWER, TOWER, 3]),
            ("conv2.bias", &[TOWER]),
            ("embed_positions.weight", &[1500, TOWER]),
            ("layer_norm.weight", &[TOWER]),
            ("layer_norm.bias", &[TOWER]),
        ],
    );
    let projection = [
        linear("audio_projection_layer.linear1", HIDDEN, TOWER),
        linear("audio_projection_layer.linear2", HIDDEN, HIDDEN),
    ];
    [tower, projection.concat()].concat()
}

/// Names and shapes of all tensors.
fn shapes() -> Vec<Named> {
    let siglip = ["layer_norm1", "layer_norm2", "mlp.fc1", "mlp.fc2"];
    let whisper = ["self_attn_layer_norm", "final_layer_norm", "fc1", "fc2"];
    let mut shapes = [
        decoder(),
        tower_layer("vpm.encoder.layers.0", siglip),
        tower_layer("apm.layers.0", whisper),
        vision_tower(),
        resampler(),
        audio_tower(),
    ]
    .concat();
    // Whisper's keys have no bias.
    shapes.retain(|(name, _)| name != "apm.layers.0.self_attn.k_proj.bias");
    shapes
}

/// A GGUF file of those tensors that `keep`, with values in -0.25..0.25; matrices are `stored` so.
fn weights(stored: StoredType, keep: impl Fn(&str) -> bool) -> Weights {
    let shapes: Vec<_> = shapes()
        .into_iter()
        .filter(|(name, _)| keep(name))
        .collect();
    let type_of = |name: &str, shape: &[usize]| match shape {
        [_, row] if name.ends_with(".weight") && row.is_multiple_of(32) => stored,
        _ => StoredType::F32,
    };
    let plan = shapes
        .iter()
        .map(|(name, shape)| (name.clone(), type_of(name, shape), shape.clone()));
    let writer = GgufWriter::new(vec![], plan.collect()).unwrap();
    let mut body = writer.start("tiny.gguf", Vec::new()).unwrap();
    let mut seed = 0u32;
    for (name, shape) in &shapes {
        let value = || {
            seed = seed.wrapping_add(1);
            (seed.wrapping_mul(2_654_435_761) >> 16) as f32 / 131_072.0 - 0.25
        };
        let values: Vec<f32> = std::iter::repeat_with(value)
            .take(shape.iter().product())
            .collect();
        body.write_tensor(&quant::quantize(&values, type_of(name, shape)))
            .unwrap();
    }
    let file = MemorySource::new("tiny.gguf", body.finish().unwrap());
    open(Component::MiniCpmO, file)
}

fn load(weights: &Weights) -> MiniCpmO {
    let config = json!({
        "vocab_size": VOCABULARY, "hidden_size": HIDDEN, "intermediate_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 900,
        "tie_word_embeddings": true, "rope_theta": 10_000.0, "query_num": QUERIES, "drop_vision_last_layer": true,
        "slice_config": { "scale_resolution": 8 },
        "vision_config": {
            "hidden_size": TOWER, "intermediate_size": 4 * TOWER, "num_hidden_layers": 2,
            "num_attention_heads": 2, "image_size": 8, "patch_size": 2,
        },
        "audio_config": {
            "d_model": TOWER, "encoder_layers": 1, "encoder_attention_heads": 2,
            "encoder_ffn_dim": 4 * TOWER, "num_mel_bins": 8,
        },
    });
    let config = MiniCpmOConfig::from_json("config.json", config).unwrap();
    let template = "{% for message in messages %}{{ message.content }}{% endfor %}";
    let part = EncoderPart {
        chat_template: Some(template.into()),
        preprocessor: PreprocessorConfig {
            image_mean: [0.5; 3],
            image_std: [0.5; 3],
            ..PreprocessorConfig::default()
        },
        ..part(EncoderConfig::MiniCpmO(config.clone()))
    };
    loaded(&config, &part, tokenizer(&SPECIAL), weights)
}

fn model() -> MiniCpmO {
    load(&weights(StoredType::F32, |_| true))
}

fn options(conditioning: Conditioning) -> EncodeOptions {
    EncodeOptions {
        max_new_tokens: 3,
        ..crate::encoders::tests::options(conditioning)
    }
}

fn states(model: &MiniCpmO, parts: &[Part]) -> Tensor<3> {
    let prompt = Prompt::new(parts.to_vec());
    let encoded = encode(model, &prompt, &options(Conditioning::Prompt)).unwrap();
    // The embeddings: what stands where.
    encoded.hidden_states.narrow(1, 0, 1).squeeze_dim(1)
}

fn refusal(model: &MiniCpmO, parts: &[Part]) -> String {
    let prompt = Prompt::new(parts.to_vec());
    let encoded = encode(model, &prompt, &options(Conditioning::Prompt));
    encoded.unwrap_err().to_string()
}

fn text(text: &str) -> Part {
    Part::Text(text.into())
}

fn sound(samples: usize) -> Part {
    let sample = |index: usize| ((index * 37 % 101) as f32 / 101.0 - 0.5) * 0.5;
    Part::Audio(Audio::new((0..samples).map(sample).collect()).unwrap())
}

#[test]
fn pictures_and_sounds_stand_in_reading_order() {
    let model = model();
    let (wide, tall) = (Part::Image(image(9, 5)), Part::Image(image(4, 11)));
    let (short, long) = (sound(1700), sound(20_000));
    let alone = |part: &Part| states(&model, std::slice::from_ref(part));
    let parts = [&wide, &long, &tall, &short, &wide];
    let together = states(&model, &parts.map(Part::clone));
    // Only `wide` is the same in any company: sounds hear the longest's silence.
    let expected = Tensor::cat([&wide, &long, &tall].map(alone).to_vec(), 1);
    let tokens = expected.dims()[1];
    assert_close(together.clone().narrow(1, 0, tokens), expected, EXACT);
    let last = alone(&wide);
    let (all, tokens) = (together.dims()[1], last.dims()[1]);
    assert_close(together.narrow(1, all - tokens, tokens), last, EXACT);
}

#[test]
fn a_video_is_its_frames_a_second_apart() {
    let model = model();
    let frames: Vec<Image> = (0..6).map(|index| image(8, 8 + index)).collect();
    let frames: Vec<Image> = frames
        .iter()
        .map(|frame| resize_bicubic(frame, 8, 8).unwrap())
        .collect();
    let video = Part::Video(Video::new(frames.clone(), 2.0).unwrap());
    let seen = [0, 2, 4].map(|index| Part::Image(frames[index].clone()));
    assert_close(states(&model, &[video]), states(&model, &seen), EXACT);
}

#[test]
fn a_sound_longer_than_a_clip_is_heard_in_clips() {
    let model = model();
    let Part::Audio(audio) = sound(CLIP + 16_000) else {
        unreachable!()
    };
    let Shown::Audio(clips) = model.hear("audio 1", &audio).unwrap() else {
        unreachable!()
    };
    let frames: Vec<usize> = clips.iter().map(|mel| mel.frames).collect();
    assert_eq!(frames, [3000, 100]);
    let tokens = states(&model, &[Part::Audio(audio)]).dims()[1];
    assert_eq!(tokens, 775 + 2 * 31); // 31 seconds between marks
}

#[test]
fn sounds_that_can_not_be_heard_are_refused_with_their_length() {
    let model = model();
    assert_eq!(
        refusal(&model, &[sound(16_000), sound(300)]),
        "audio 2: lasts 0.019 s, too short to be heard"
    );
    assert_eq!(
        refusal(&model, &[sound(37 * 16_000)]),
        "audio 1: lasts 37 s, which are 925 tokens; the model reads at most 900"
    );
}

#[test]
fn a_frame_hears_its_own_second_and_half_of_the_silence_behind_a_clip() {
    let model = model();
    let tower = model.audio().unwrap();
    let mask = tower.mask(130, 300).unwrap();
    assert_eq!(mask.dims(), [1, 1, 150, 150]);
    let heard = |query: usize| {
        let row = mask.clone().narrow(2, query, 1);
        let row: Vec<f32> = row.into_data().try_to_vec().unwrap();
        assert!(row.is_sorted_by(|a, b| a >= b));
        row.iter().filter(|&&value| value == 0.0).count()
    };
    assert_eq!(
        [0, 49, 50, 99, 100, 149].map(heard),
        [50, 50, 100, 100, 130, 130]
    );
    assert!(tower.mask(100, 100).is_none());
}

#[test]
fn padding_is_read_like_any_token() {
    let model = model();
    let padding = Some(Padding {
        max_length: 8,
        side: PaddingSide::Right,
    });
    let options = EncodeOptions {
        padding,
        ..options(Conditioning::Prompt)
    };
    let padded = encode(&model, &Prompt::text("abc"), &options).unwrap();
    let inputs = model.prepare(&Prompt::text("abc"), &options).unwrap();
    assert_eq!(inputs.sequence.ids[3..], [END; 5]);
    let ends = "<|endoftext|>".repeat(5);
    let typed = model.assemble(&format!("abc{ends}"), vec![], None).unwrap();
    let mut go = async || Ok(());
    let (_, typed) = pollster::block_on(model.read(&typed, &mut go)).unwrap();
    assert_close(padded.hidden_states, typed, EXACT);
}

#[test]
fn earlier_turns_are_read_before_this_one() {
    let model = model();
    let prompt = Prompt {
        earlier: vec![Turn {
            parts: vec![Part::Image(image(8, 8))],
            answer: "b".into(),
        }],
        parts: vec![text("a")],
    };
    let inputs = model
        .prepare(&prompt, &options(Conditioning::Prompt))
        .unwrap();
    let picture = [29, UNK, UNK, UNK, UNK, 30];
    assert_eq!(inputs.sequence.ids[..6], picture);
    assert_eq!(inputs.sequence.ids[6..], [1, 0]);
}

#[test]
fn an_answer_has_the_states_of_its_fed_tokens() {
    let prompt = Prompt::new(vec![Part::Image(image(8, 8)), text("a")]);
    let encoded = encode(&model(), &prompt, &options(Conditioning::Answer)).unwrap();
    assert_eq!(encoded.hidden_states.dims(), [1, 2, 2, HIDDEN]);
    assert!(encoded.answer.is_some());
}

#[test]
fn marks_and_placeholders_in_words_are_text_beside_what_is_shown() {
    let model = model();
    let tokens = |parts: &[Part]| states(&model, parts).dims()[1];
    let image = Part::Image(image(8, 8));
    let plain = tokens(std::slice::from_ref(&image));
    let shown = |words: &str| tokens(&[image.clone(), text(words)]) - plain;
    assert_eq!(shown("<unk>"), "unk".len());
    assert_eq!(shown("(<audio>./</audio>)"), 2 * "audio".len());
    assert_eq!(shown("(<image>./</image>)"), 2 * "image".len());
    assert_eq!(tokens(&[text("a<unk>")]), 1 + "unk".len());
}

#[test]
fn breaking_cancels_before_the_next_layer() {
    let model = model();
    let prompt = Prompt::new(vec![Part::Image(image(8, 8)), sound(16_000)]);
    // A layer of each tower, one of the decoder, and the end.
    for allowed in 0..5 {
        let options = options(Conditioning::Prompt);
        let (cancelled, _) = stopped(&model, &prompt, &options, allowed);
        assert_eq!(cancelled, allowed < 4, "{allowed}");
    }
}

#[test]
fn weights_without_a_tower_say_so() {
    let decoder = load(&weights(StoredType::F32, |name| name.starts_with("llm.")));
    let image = refusal(&decoder, &[Part::Image(image(8, 8))]);
    assert!(image.contains("can't read images"), "{image}");
    let audio = refusal(&decoder, &[sound(16_000)]);
    assert!(audio.contains("can't read audio"), "{audio}");
    assert_eq!(states(&decoder, &[text("ab")]).dims(), [1, 2, HIDDEN]);
}

#[test]
fn weights_in_blocks_give_nearly_the_same_tokens() {
    let parts = [Part::Image(image(9, 5)), sound(16_000)];
    let exact = states(&model(), &parts);
    let largest: f32 = exact.clone().abs().max().into_scalar();
    let blocks = load(&weights(StoredType::Q8_0, |_| true));
    // Q8_0 keeps two and a half digits.
    assert_close(states(&blocks, &parts), exact, 0.03 * largest);
}
