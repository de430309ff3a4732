//! What else an answer could have been, where it is unsure or names something unknown.

use super::*;
use crate::config::{Certainty, Unknown};
use crate::encoders::alternatives::{Onward, Rival};
use crate::encoders::decoding::read_back;
use crate::encoders::doubt::Doubt;
use crate::encoders::sampling::likeliest;

/// The greedy end of an answer that begins with `begin`, one token after the other; none where it neither ends nor meets
/// `tail` in so many more.
fn told_alone(
    model: &Qwen2_5Vl,
    inputs: &Inputs,
    begin: &[u32],
    ends: &[u32],
    (tail, rounds): (&[u32], usize),
) -> Option<Vec<u32>> {
    pollster::block_on(async {
        let (mut decoding, _) = model.read(inputs, &mut go).await.unwrap();
        let mut tokens = begin.to_vec();
        let last = tokens.pop().unwrap();
        for &token in &tokens {
            decoding.feed(token, &mut go).await.unwrap();
        }
        let mut next = last;
        for round in 0.. {
            if let Some(met) = tail.iter().position(|&later| later == next) {
                tokens.extend(&tail[met..]);
                return Some(tokens);
            }
            tokens.push(next);
            if ends.contains(&next) {
                return Some(tokens);
            }
            if round == rounds {
                return None;
            }
            let states = decoding.feed(next, &mut go).await.unwrap();
            let logits = read_back(decoding.logits(&states)).await.unwrap();
            next = likeliest(&logits) as u32;
        }
        None
    })
}

#[test]
fn alternatives_are_what_the_model_says_after_another_token() {
    const ENDS: [u32; 1] = [27];
    let model = greedy();
    let inputs = model
        .prepare(&with_picture("the dog"), &options(Conditioning::Answer))
        .unwrap();
    let answer = [7, 19, 3, 24, 11, 2, 16];
    let (mut complete, mut fed) = (0, 0);
    for index in [0, 2, 5, 6] {
        let doubt = Doubt {
            index,
            certainty: 0.1,
            rivals: (0..VOCABULARY as u32 - 2)
                .map(|token| (token, token as f32))
                .collect(),
        };
        let ours = pollster::block_on(async {
            let (mut decoding, _) = model.read(&inputs, &mut go).await.unwrap();
            for &token in &answer[..answer.len() - 1] {
                decoding.feed(token, &mut go).await.unwrap();
            }
            let onward = Onward::Rejoining;
            decoding
                .alternatives(&answer, &doubt, onward, &ENDS, &mut go)
                .await
        });
        let expected = doubt.rivals.iter().filter_map(|&(token, probability)| {
            let begin = [&answer[..index], &[token]].concat();
            let tail = &answer[index + 1..];
            let tokens = told_alone(&model, &inputs, &begin, &ENDS, (tail, tail.len()))?;
            fed += usize::from(!answer[index + 1..].contains(&token));
            Some(Rival {
                tokens,
                probability,
            })
        });
        let expected: Vec<Rival> = expected.collect();
        complete += expected.len();
        assert_eq!(ours.unwrap(), expected, "after {index} tokens");
    }
    assert!(complete > fed && fed > 4, "{complete} {fed}");
}

#[test]
fn alternatives_to_what_is_unknown_meet_no_token_of_it() {
    const MOST: usize = 9;
    let model = greedy();
    let inputs = model
        .prepare(&with_picture("the dog"), &options(Conditioning::Answer))
        .unwrap();
    let answer = [7, 19, 3, 24, 11];
    let doubt = Doubt {
        index: 0,
        certainty: 0.0,
        rivals: (0..VOCABULARY as u32 - 2)
            .map(|token| (token, token as f32))
            .collect(),
    };
    let mut lengths = vec![];
    for every in 2..6 {
        let ends: Vec<u32> = (0..VOCABULARY as u32).step_by(every).collect();
        let ours = pollster::block_on(async {
            let (mut decoding, _) = model.read(&inputs, &mut go).await.unwrap();
            for &token in &answer[..answer.len() - 1] {
                decoding.feed(token, &mut go).await.unwrap();
            }
            let onward = Onward::Alone(MOST);
            decoding
                .alternatives(&answer, &doubt, onward, &ends, &mut go)
                .await
        });
        let expected = doubt.rivals.iter().filter_map(|&(token, probability)| {
            let tokens = told_alone(&model, &inputs, &[token], &ends, (&[], MOST - 1))?;
            Some(Rival {
                tokens,
                probability,
            })
        });
        let expected: Vec<Rival> = expected.collect();
        lengths.extend(expected.iter().map(|rival| rival.tokens.len()));
        assert_eq!(ours.unwrap(), expected, "every {every} ends");
    }
    lengths.sort_unstable();
    lengths.dedup();
    assert!(lengths.len() > 1, "none is read on: {lengths:?}");
}

#[test]
fn an_answer_of_something_unknown_comes_with_what_begins_otherwise() {
    let asked = |unknown: Option<Unknown>| {
        let options = EncodeOptions {
            unknown,
            max_new_tokens: 20,
            ..options(Conditioning::Answer)
        };
        let model = model(GenerationConfig {
            eos_token_id: (0..VOCABULARY as u32).step_by(2).collect(),
            ..GenerationConfig::default()
        });
        let encoded = encode(&model, &Prompt::text("a cat"), &options).unwrap();
        encoded.answer.unwrap()
    };
    let saying = |prefix: &str| {
        Some(Unknown {
            prefix: prefix.into(),
            until: String::new(),
        })
    };
    let plain = asked(None);
    assert_eq!((&plain.unknown, &plain.alternatives), (&None, &None));
    let (prefix, name) = plain.text.split_at(1);
    for other in ["no ", &plain.text] {
        assert_eq!(asked(saying(other)), plain, "after {other}");
    }
    let unknowing = asked(saying(prefix));
    assert_eq!(
        (&unknowing.text, unknowing.certainty),
        (&plain.text, plain.certainty)
    );
    assert_eq!(unknowing.unknown.as_deref(), Some(name));
    let nearest = unknowing.alternatives.unwrap();
    assert!((1..=3).contains(&nearest.len()), "{nearest:?}");
    for near in &nearest {
        assert!(!near.text.starts_with(prefix) && near.name.as_ref() == Some(&near.text));
    }
    for pair in nearest.windows(2) {
        assert!(pair[0].probability >= pair[1].probability && pair[0].name != pair[1].name);
    }
}

#[test]
fn an_answer_of_low_certainty_comes_with_alternatives() {
    let asked = |least: Option<f32>| {
        let options = EncodeOptions {
            certainty: least.map(|least| Certainty { least, tokens: 99 }),
            ..options(Conditioning::Answer)
        };
        let encoded = encode(&greedy(), &Prompt::text("a cat"), &options).unwrap();
        encoded.answer.unwrap()
    };
    let plain = asked(None);
    assert!((0.0..1.0).contains(&plain.certainty), "{plain:?}");
    assert_eq!(plain.alternatives, None);
    assert_eq!(asked(Some(plain.certainty)), plain);
    let unsure = asked(Some(1.0));
    assert_eq!(
        (&unsure.text, unsure.certainty),
        (&plain.text, plain.certainty)
    );
    let alternatives = unsure.alternatives.unwrap();
    for pair in alternatives.windows(2) {
        assert!(pair[0].probability >= pair[1].probability && pair[0].text != pair[1].text);
    }
    assert!(alternatives.iter().all(|other| other.text != unsure.text));
}
