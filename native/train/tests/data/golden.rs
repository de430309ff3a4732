//! The golden's shards, order and malformed files.

use std::fs;

use serde_json::Value;
use x2i_train::data::{Order, Problem, SplitMix64, Task};

use crate::{golden, open, shards};

fn json(file: &str) -> Value {
    let bytes = fs::read(golden().join(file)).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn task(name: &str) -> Task {
    match name {
        "distill" => Task::Distill,
        "control" => Task::Control,
        other => panic!("{other}"),
    }
}

fn all() -> String {
    format!("{}/train-*.tar", golden().display())
}

fn hex(bytes: &[u8]) -> String {
    use sha2::Digest;
    x2i_engine::files::hex(&sha2::Sha256::digest(bytes))
}

#[test]
fn samples_are_those_of_the_reference() {
    let expected = json("expected.json");
    let samples = expected["samples"].as_array().unwrap();
    let set = open(shards(all()), Task::Distill).unwrap();
    assert!(set.notes().is_empty(), "{:?}", set.notes());
    assert_eq!(set.len(), samples.len());
    for (index, expected) in samples.iter().enumerate() {
        let sample = set.sample(index).unwrap();
        assert_eq!(sample.key, expected["key"]);
        assert_eq!(sample.caption.as_deref(), expected["caption_en"].as_str());
        assert_eq!(sample.distill_text(), expected["distill_text"]);
        // Distillation opens no picture.
        assert!(sample.picture.is_none() && sample.edited.is_none());
    }
    let set = open(shards(all()), Task::Control).unwrap();
    let samples = samples.iter().filter(|sample| !sample["control"].is_null());
    let samples: Vec<&Value> = samples.collect();
    assert_eq!(set.len(), samples.len());
    for (index, expected) in samples.into_iter().enumerate() {
        let sample = set.sample(index).unwrap();
        let control = &expected["control"];
        assert_eq!(sample.key, expected["key"]);
        assert_eq!(sample.control_text(), control["text"]);
        assert_eq!(sample.edited.is_some(), control["kind"] == "edit");
        let picture = sample.picture.as_ref().unwrap();
        assert_eq!(
            hex(&picture.bytes),
            expected["sha256"][control["hint"].as_str().unwrap()]
        );
        let target = sample.edited.as_ref().unwrap_or(picture);
        assert_eq!(
            hex(&target.bytes),
            expected["sha256"][control["target"].as_str().unwrap()]
        );
        let pictures = sample.decode().unwrap();
        assert_eq!((pictures.target.width(), pictures.hint.height()), (32, 32));
    }
}

#[test]
fn the_order_is_the_golden_one_for_every_rank_and_goes_on_from_a_number() {
    let expected = json("expected.json");
    let number = |value: &Value| value.as_u64().unwrap();
    for sequence in expected["sequences"].as_array().unwrap() {
        let set = open(shards(all()), task(sequence["task"].as_str().unwrap())).unwrap();
        let [seed, world, rank] = ["seed", "world", "rank"].map(|key| number(&sequence[key]));
        let mut order = Order::new(set.len(), seed, world as usize, rank as usize).unwrap();
        assert_eq!(order.epoch_len() as u64, number(&sequence["epoch_length"]));
        for (k, key) in sequence["keys"].as_array().unwrap().iter().enumerate() {
            assert_eq!(set.key(order.at(k as u64)), key, "{sequence}");
        }
    }
    let resume = &expected["resume"];
    let set = open(shards(all()), Task::Distill).unwrap();
    let mut order = Order::new(set.len(), number(&resume["seed"]), 1, 0).unwrap();
    let consumed = number(&resume["consumed"]);
    for (k, key) in resume["keys_from_there"]
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
    {
        assert_eq!(set.key(order.at(consumed + k as u64)), key);
    }
    let mut random = SplitMix64::new(number(&expected["splitmix64"]["state"]));
    for draw in expected["splitmix64"]["first"].as_array().unwrap() {
        assert_eq!(random.draw().to_string(), *draw.as_str().unwrap());
    }
    for (name, golden) in expected["order_of_10"].as_object().unwrap() {
        let (seed, epoch) = name.split_once(".epoch").unwrap();
        let seed = seed.trim_start_matches("seed").parse().unwrap();
        let epoch: u64 = epoch.parse().unwrap();
        let mut order = Order::new(10, seed, 1, 0).unwrap();
        let ours: Vec<usize> = (epoch * 10..(epoch + 1) * 10)
            .map(|k| order.at(k))
            .collect();
        assert_eq!(Value::from(ours), *golden, "{name}");
    }
}

#[test]
fn malformed_shards_give_what_the_golden_says_and_one_line_each() {
    let cases = json("malformed.json");
    for (file, case) in cases.as_object().unwrap() {
        for name in ["distill", "control"] {
            let expected = case["expect"].as_array().unwrap();
            let (used, noted) = wanted(expected, name);
            // A shard with a sample in it, so that the set opens in any case.
            let both = format!("{}/malformed/{file}::{}", golden().display(), all());
            let set = open(shards(both), task(name)).unwrap();
            let own = |key: &&str| !key.starts_with("00/") && !key.starts_with("01/");
            let keys: Vec<&str> = (0..set.len()).map(|index| set.key(index)).collect();
            let found: Vec<&str> = keys.iter().copied().filter(own).collect();
            assert_eq!(found, used, "{file} {name}");
            let mut notes: Vec<(Option<String>, String)> = set
                .notes()
                .iter()
                .filter(|note| note.file.ends_with(file))
                .map(|note| (note.key.clone(), note.problem.word().to_owned()))
                .collect();
            notes.extend(undecodable(&set, &keys));
            notes.sort();
            assert_eq!(notes, noted, "{file} {name}");
            for note in set.notes() {
                let line = note.to_string();
                assert!(
                    line.lines().count() == 1 && line.contains(&note.file),
                    "{line}"
                );
            }
        }
    }
}

/// The keys that are used, and what is to be said of the others, sorted.
#[allow(clippy::type_complexity, reason = "two lists of a test")]
fn wanted<'a>(expected: &'a [Value], task: &str) -> (Vec<&'a str>, Vec<(Option<String>, String)>) {
    let (mut used, mut noted) = (vec![], vec![]);
    for one in expected {
        let key = one["key"].as_str();
        let mut note = |word: &Value| {
            if let Some(word) = word.as_str() {
                noted.push((key.map(str::to_owned), word.to_owned()));
            }
        };
        note(&one["shard_error"]);
        note(&one["warning"]);
        match one[task].as_str() {
            None => {}
            Some("used") => used.extend(key),
            // Found when pictures are decoded: the sample counts in the order.
            Some("bad_image" | "size_mismatch") => {
                used.extend(key);
                note(&one[task]);
            }
            Some(_) => note(&one[task]),
        }
    }
    noted.sort();
    (used, noted)
}

/// The samples whose pictures can't be decoded.
fn undecodable(set: &x2i_train::data::Dataset, keys: &[&str]) -> Vec<(Option<String>, String)> {
    let mut found = vec![];
    for (index, key) in keys.iter().enumerate() {
        let sample = set.sample(index).unwrap();
        if sample.picture.is_some()
            && let Err(problem) = sample.decode()
        {
            let (Problem::BadImage(_) | Problem::SizeMismatch(..)) = problem else {
                panic!("{key}: {problem}");
            };
            found.push((Some((*key).to_owned()), problem.word().to_owned()));
        }
    }
    found
}

#[test]
fn captions_of_malformed_shards_are_the_golden_ones() {
    for (file, case) in json("malformed.json").as_object().unwrap() {
        let captions = case["expect"].as_array().unwrap().iter();
        let captions: Vec<&Value> = captions.filter(|one| one["caption"].is_string()).collect();
        if captions.is_empty() {
            continue;
        }
        let path = format!("{}/malformed/{file}", golden().display());
        let set = open(shards(path), Task::Distill).unwrap();
        for one in captions {
            let index = (0..set.len())
                .find(|&index| set.key(index) == one["key"])
                .unwrap();
            assert_eq!(
                set.sample(index).unwrap().caption.as_deref(),
                one["caption"].as_str()
            );
        }
    }
}
