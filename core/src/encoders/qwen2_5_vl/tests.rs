//! The whole encoder on a model of a few hundred made-up weights.

mod alternatives;

use burn::tensor::Tensor;
use serde_json::json;

use super::*;
use crate::config::{Conditioning, EncoderConfig, GenerationConfig, PaddingSide, PromptFormat};
use crate::encoders::tests::{
    EXACT, Named, assert_close, decoder_layer, encode, image, loaded, named, options, part,
    stopped, tokenizer, weights,
};
use crate::image::Image;
use crate::request::Part;
use crate::tokenizer::Content;
use crate::weights::Component;

const HIDDEN: usize = 8;
const LAYERS: usize = 2;
const VOCABULARY: usize = 30;
const IMAGE_PAD: u32 = 28;
const VIDEO_PAD: u32 = 29;
const SPECIAL: [&str; 3] = ["<|endoftext|>", "<|image_pad|>", "<|video_pad|>"];
const TEMPLATE: &str = "{% for part in messages[0].content %}{% if part.type == 'text' %}{{ part.text }}{% else %}<|{{ part.type }}_pad|>{% endif %}{% endfor %}";

/// Names and shapes of all tensors.
fn shapes() -> Vec<Named> {
    let mut shapes = named(
        "model",
        &[
            ("embed_tokens.weight", &[VOCABULARY, HIDDEN]),
            ("norm.weight", &[HIDDEN]),
        ],
    );
    shapes.extend(named(
        "visual",
        &[
            ("patch_embed.proj.weight", &[8, 3, 2, 2, 2]),
            ("merger.ln_q.weight", &[8]),
            ("merger.mlp.0.weight", &[32, 32]),
            ("merger.mlp.0.bias", &[32]),
            ("merger.mlp.2.weight", &[HIDDEN, 32]),
            ("merger.mlp.2.bias", &[HIDDEN]),
        ],
    ));
    for layer in 0..LAYERS {
        shapes.extend(decoder_layer(
            &format!("model.layers.{layer}"),
            HIDDEN,
            4,
            12,
        ));
    }
    shapes.extend(named(
        "visual.blocks.0",
        &[
            ("norm1.weight", &[8]),
            ("norm2.weight", &[8]),
            ("attn.qkv.weight", &[24, 8]),
            ("attn.qkv.bias", &[24]),
            ("attn.proj.weight", &[8, 8]),
            ("attn.proj.bias", &[8]),
            ("mlp.gate_proj.weight", &[12, 8]),
            ("mlp.gate_proj.bias", &[12]),
            ("mlp.up_proj.weight", &[12, 8]),
            ("mlp.up_proj.bias", &[12]),
            ("mlp.down_proj.weight", &[8, 12]),
            ("mlp.down_proj.bias", &[8]),
        ],
    ));
    shapes
}

/// A value in -0.5..0.5, by its byte in the file.
fn hashed(_: &str, _: usize, place: usize) -> f32 {
    let hashed = (4 * place as u32 + 1).wrapping_mul(2_654_435_761) >> 16;
    hashed as f32 / 65_536.0 - 0.5
}

fn model(generation: GenerationConfig) -> Qwen2_5Vl {
    let config = json!({
        "vocab_size": VOCABULARY, "hidden_size": HIDDEN, "intermediate_size": 12, "num_hidden_layers": LAYERS,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 40,
        "rope_scaling": { "mrope_section": [1, 1, 0] }, "tie_word_embeddings": true,
        "image_token_id": IMAGE_PAD, "video_token_id": VIDEO_PAD, "vision_start_token_id": 99,
        "vision_config": {
            "depth": 1, "hidden_size": 8, "intermediate_size": 12, "num_heads": 2, "patch_size": 2,
            "window_size": 8, "out_hidden_size": HIDDEN, "fullatt_block_indexes": [],
        },
    });
    let config = Qwen2_5VlConfig::from_json("config.json", config).unwrap();
    let part = EncoderPart {
        chat_template: Some(TEMPLATE.into()),
        preprocessor: PreprocessorConfig {
            min_pixels: 16,
            max_pixels: 144,
            ..PreprocessorConfig::default()
        },
        generation,
        ..part(EncoderConfig::Qwen2_5Vl(config.clone()))
    };
    let weights = weights(Component::Qwen2_5Vl, shapes(), hashed);
    loaded(&config, &part, tokenizer(&SPECIAL), &weights)
}

fn greedy() -> Qwen2_5Vl {
    model(GenerationConfig::default())
}

/// Never stops before a layer.
async fn go() -> Result<()> {
    Ok(())
}

fn with_picture(text: &str) -> Prompt {
    Prompt::new(vec![Part::Image(image(12, 8)), Part::Text(text.into())])
}

#[test]
fn states_are_those_of_the_prompt_or_of_the_answers_fed_tokens() {
    let model = greedy();
    let prompt = encode(
        &model,
        &Prompt::text("a cat"),
        &options(Conditioning::Prompt),
    )
    .unwrap();
    assert_eq!(prompt.hidden_states.dims(), [1, LAYERS + 1, 5, HIDDEN]);
    assert_eq!((prompt.prompt_tokens, prompt.answer), (5, None));
    let answer = encode(
        &model,
        &Prompt::text("a cat"),
        &options(Conditioning::Answer),
    )
    .unwrap();
    assert_eq!(answer.hidden_states.dims(), [1, LAYERS + 1, 4, HIDDEN]);
    assert!(answer.answer.is_some());
}

#[test]
fn a_prompt_in_chunks_gives_the_states_of_the_whole() {
    let model = greedy();
    let inputs = model
        .prepare(&with_picture("the dog"), &options(Conditioning::Prompt))
        .unwrap();
    let read = |chunk| {
        let mut decoding = model.llm.start();
        let states = pollster::block_on(async {
            let embeddings = model.embed(&inputs, &mut go).await?;
            let states = decoding
                .prefill_by(chunk, embeddings, &inputs.sequence, &mut go)
                .await?;
            let next = decoding.feed(3, &mut go).await?;
            Ok::<_, Error>(vec![states, next])
        });
        Tensor::cat(states.unwrap(), 2)
    };
    assert_close(read(4), read(100), EXACT);
    assert_close(read(1), read(100), EXACT);
}

#[test]
fn a_fed_token_has_the_states_that_it_has_in_the_prompt() {
    let model = greedy();
    let read = |text: &str| {
        let inputs = model
            .prepare(&with_picture(text), &options(Conditioning::Prompt))
            .unwrap();
        let (decoding, states) = pollster::block_on(model.read(&inputs, &mut go)).unwrap();
        (decoding, states)
    };
    let (_, whole) = read("abc");
    let (mut decoding, _) = read("ab");
    let fed = pollster::block_on(decoding.feed(2, &mut go)).unwrap();
    let last = whole.dims()[2] - 1;
    assert_close(fed, whole.narrow(2, last, 1), EXACT);
}

#[test]
fn padding_on_the_right_leaves_the_prompts_states_alone() {
    let model = greedy();
    let padding = Some(Padding {
        max_length: 12,
        side: PaddingSide::Right,
    });
    let padded = EncodeOptions {
        padding,
        ..options(Conditioning::Prompt)
    };
    let padded = encode(&model, &Prompt::text("a cat"), &padded)
        .unwrap()
        .hidden_states;
    let plain = encode(
        &model,
        &Prompt::text("a cat"),
        &options(Conditioning::Prompt),
    )
    .unwrap();
    assert_eq!(padded.dims()[2], 12);
    assert_close(padded.narrow(2, 0, 5), plain.hidden_states, EXACT);
}

#[test]
fn breaking_cancels_before_the_next_layer() {
    let model = greedy();
    for conditioning in [Conditioning::Prompt, Conditioning::Answer] {
        for allowed in 0..7 {
            let (prompt, options) = (with_picture("ab"), options(conditioning));
            let (cancelled, heard) = stopped(&model, &prompt, &options, allowed);
            // The prompt path reports a vision block, two layers and its end.
            let done = conditioning == Conditioning::Prompt && allowed >= 4;
            assert_eq!(cancelled, !done, "{conditioning:?} {allowed}");
            assert_eq!(heard, if done { 4 } else { allowed + 1 });
        }
    }
}

#[test]
fn one_seed_draws_one_answer() {
    let model = model(GenerationConfig {
        do_sample: true,
        temperature: 3.0,
        ..GenerationConfig::default()
    });
    let answer = |seed| {
        let options = EncodeOptions {
            seed,
            max_new_tokens: 20,
            ..options(Conditioning::Answer)
        };
        encode(&model, &Prompt::text("a"), &options).unwrap().answer
    };
    assert_eq!(answer(1), answer(1));
    assert_ne!(answer(1), answer(2));
}

#[test]
fn prompts_that_do_not_fit_are_refused_with_numbers() {
    let model = greedy();
    let refuse = |prompt: &Prompt, max_length: Option<usize>| {
        let padding = max_length.map(|max_length| Padding {
            max_length,
            side: PaddingSide::Right,
        });
        let options = EncodeOptions {
            padding,
            ..options(Conditioning::Prompt)
        };
        encode(&model, prompt, &options).unwrap_err().to_string()
    };
    assert_eq!(
        refuse(&Prompt::text("ab".repeat(50_000)), None),
        "prompt: has 100000 tokens; the model reads at most 40"
    );
    assert_eq!(refuse(&Prompt::text(""), None), "prompt: has no tokens");
    let cut = refuse(&with_picture(""), Some(3));
    assert!(
        cut.starts_with("prompt: has 6 tokens with its pictures; only 3 are read"),
        "{cut}"
    );
    let cut = refuse(&with_video(""), Some(3));
    assert!(cut.contains("would cut a picture"), "{cut}");
}

#[test]
fn a_prompt_too_long_for_its_video_is_mended_by_the_rate_of_frames() {
    let options = EncodeOptions {
        padding: Some(Padding {
            max_length: 3,
            side: PaddingSide::Right,
        }),
        ..options(Conditioning::Prompt)
    };
    let remedy = |prompt: &Prompt| match encode(&greedy(), prompt, &options).unwrap_err() {
        crate::Error::Remedy { field, .. } => Some(field),
        _ => None,
    };
    assert_eq!(remedy(&with_video("")), Some(crate::Field::VideoFps));
    assert_eq!(remedy(&with_picture("")), None);
}

#[test]
fn a_prompt_that_is_cut_says_how_much_is_left_before_it_is_read() {
    let options = EncodeOptions {
        padding: Some(Padding {
            max_length: 8,
            side: PaddingSide::Left,
        }),
        ..options(Conditioning::Prompt)
    };
    let told = |letters: usize| {
        let (model, prompt) = (greedy(), Prompt::text("a".repeat(letters)));
        let mut told = vec![];
        let mut hear = async |progress: crate::Progress| {
            told.extend(progress.prompt_tokens);
            std::ops::ControlFlow::Continue(())
        };
        let encoded = pollster::block_on(model.encode(&prompt, &options, &mut hear)).unwrap();
        told.dedup();
        assert_eq!(told, [encoded.tokens]);
        (encoded.tokens.read, encoded.tokens.left)
    };
    assert_eq!(told(5), (5, 0));
    assert_eq!(told(8), (8, 0));
    assert_eq!(told(20), (8, 12));
}

#[test]
fn control_tokens_in_words_are_text() {
    let model = greedy();
    let tokens = |prompt: &Prompt| {
        let encoded = encode(&model, prompt, &options(Conditioning::Prompt)).unwrap();
        encoded.prompt_tokens
    };
    // The letters of the token's name, which are all that the tiny vocabulary knows of it.
    let name = "imagepad".len();
    assert_eq!(tokens(&Prompt::text("a<|image_pad|>b")), 2 + name);
    let plain = tokens(&with_picture("a"));
    assert_eq!(tokens(&with_picture("<|image_pad|>")), plain - 1 + name);
    assert_eq!(tokens(&with_picture("a<|image_")), plain + "image".len());
}

#[test]
fn an_answer_of_one_token_can_not_paint() {
    let options = EncodeOptions {
        max_new_tokens: 1,
        ..options(Conditioning::Answer)
    };
    let error = encode(&greedy(), &Prompt::text("a"), &options)
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("conditioning: the LLM's answer is empty"),
        "{error}"
    );
}

#[test]
fn positions_spread_over_a_picture_and_go_on_after_it() {
    let inputs = greedy()
        .prepare(&with_picture("ab"), &options(Conditioning::Prompt))
        .unwrap();
    assert_eq!(inputs.sequence.ids, [28, 28, 28, 28, 28, 28, 0, 1]); // 3 x 2 merged patches
    let places = [
        [0, 0, 0],
        [0, 0, 1],
        [0, 0, 2],
        [0, 1, 0],
        [0, 1, 1],
        [0, 1, 2],
        [3, 3, 3],
        [4, 4, 4],
    ];
    assert_eq!(inputs.sequence.positions.tokens, places);
    assert_eq!(inputs.sequence.positions.delta, -3);
}

/// Four frames of 12x8, two a second, then text.
fn with_video(text: &str) -> Prompt {
    let frame = |shade: u8| {
        let pixels = (0..12 * 8 * 3).map(|i| (i * 7 % 200) as u8 + shade);
        Image::new(12, 8, pixels.collect()).unwrap()
    };
    let video = Video::new([0, 10, 20, 30].map(frame).into(), 2.0).unwrap();
    Prompt::new(vec![Part::Video(video), Part::Text(text.into())])
}

#[test]
fn a_video_takes_tokens_in_time_and_space() {
    let model = greedy();
    let inputs = model
        .prepare(&with_video("ab"), &options(Conditioning::Prompt))
        .unwrap();
    // Two steps of two frames, 3 x 2 merged patches each.
    assert_eq!(
        inputs.sequence.ids,
        [&[VIDEO_PAD; 12][..], &[0, 1]].concat()
    );
    assert_eq!(inputs.videos[0].seconds_per_grid, 1.0);
    let a_second = model.config.vision_config.tokens_per_second as i64;
    let places = &inputs.sequence.positions.tokens;
    assert_eq!(places[5], [0, 1, 2]);
    assert_eq!(places[6], [a_second, 0, 0]);
}

#[test]
fn a_video_changes_what_the_model_answers_from() {
    let model = greedy();
    for conditioning in [Conditioning::Prompt, Conditioning::Answer] {
        let options = options(conditioning);
        let seen = encode(&model, &with_video("ab"), &options).unwrap();
        let mut other = with_video("ab");
        let black = Image::new(12, 8, vec![0; 12 * 8 * 3]).unwrap();
        other.parts[0] = Part::Video(Video::new(vec![black; 4], 2.0).unwrap());
        let unseen = encode(&model, &other, &options).unwrap();
        assert_eq!(seen.answer.is_some(), conditioning == Conditioning::Answer);
        let tokens = seen.hidden_states.dims()[2].min(unseen.hidden_states.dims()[2]);
        let [seen, unseen] = [seen, unseen].map(|it| it.hidden_states.narrow(2, 0, tokens));
        let difference: f32 = (seen - unseen).abs().max().into_scalar();
        assert!(difference > 1e-4, "{conditioning:?}: {difference}");
    }
}

#[test]
fn scripts_give_frames_as_many_pixels_as_pictures() {
    let options = EncodeOptions {
        input_image_size: Some([8, 8]),
        ..options(Conditioning::Prompt)
    };
    let inputs = greedy().prepare(&with_video(""), &options).unwrap();
    let grid = inputs.videos[0].grid;
    assert_eq!((grid.t, grid.h, grid.w), (2, 2, 4)); // 8 x 4 pixels
}

#[test]
fn comfys_form_puts_a_video_before_its_string() {
    let messages = input::messages(&with_video("ab"), PromptFormat::Comfy).unwrap();
    let [Content::Video, Content::Text { text }] = &messages[0].content[..] else {
        panic!("{messages:?}");
    };
    assert!(text.contains("'image input': 'yes'"), "{text}");
}

#[test]
fn sounds_are_refused_by_the_name_of_a_model_that_hears() {
    let sound = crate::Audio::new(vec![0.0; 10]).unwrap();
    let prompt = Prompt::new(vec![Part::Audio(sound)]);
    let model = greedy();
    let error = encode(&model, &prompt, &options(Conditioning::Prompt)).unwrap_err();
    let checked = EncoderConfig::Qwen2_5Vl(model.config.clone()).check_hears();
    for error in [error, checked.unwrap_err()] {
        assert_eq!(
            error.to_string(),
            "Qwen2.5-VL can't read audio; models that can: MiniCPM-o 2.6"
        );
    }
}
