//! Pictures that steer: beside a picture in a folder, in a shard, and named by a JSONL file.

use std::fs;
use std::path::Path;

use x2i_train::data::{DataSource, DataSpec, Task};

use crate::tar::{member, write};
use crate::{open, shards, words};

/// The bytes of the hint, and of what is painted, of the first sample.
fn first(spec: DataSpec, task: Task) -> [Option<Vec<u8>>; 2] {
    let set = open(spec, task).unwrap();
    let sample = set.sample(0).unwrap();
    [sample.hint.as_ref(), sample.target()].map(|picture| Some(picture?.bytes.to_vec()))
}

fn folder(path: &Path) -> DataSpec {
    DataSpec::new(DataSource::Folder {
        path: path.to_owned(),
        caption: None,
    })
}

#[test]
fn a_hint_is_beside_its_picture_and_is_no_picture_itself() {
    let place = tempfile::tempdir().unwrap();
    for (name, bytes) in [("a.png", "A"), ("a.hint.jpg", "H"), ("b.webp", "B")] {
        fs::write(place.path().join(name), bytes).unwrap();
    }
    let both = [Some(b"H".to_vec()), Some(b"A".to_vec())];
    assert_eq!(first(folder(place.path()), Task::Control), both);
    assert_eq!(open(folder(place.path()), Task::Control).unwrap().len(), 2);
    // Other tasks need a caption, and see no hint.
    fs::write(place.path().join("a.txt"), "a cat").unwrap();
    let painted = first(folder(place.path()), Task::Paint);
    assert_eq!(painted, [None, Some(b"A".to_vec())]);
}

#[test]
fn a_shard_and_a_jsonl_file_have_hints_too() {
    let place = tempfile::tempdir().unwrap();
    let members = [
        member("7.json", b"{}"),
        member("7.jpg", b"A"),
        member("7.hint.png", b"H"),
    ];
    let both = [Some(b"H".to_vec()), Some(b"A".to_vec())];
    let path = write(place.path(), "a.tar", &members);
    assert_eq!(first(shards(&path), Task::Control), both);
    for (name, bytes) in [("a.png", "A"), ("h.png", "H"), ("s.png", "S")] {
        fs::write(place.path().join(name), bytes).unwrap();
    }
    let jsonl = |line: &str| {
        let path = place.path().join("lines.jsonl");
        fs::write(&path, line).unwrap();
        DataSpec::new(DataSource::Jsonl(path))
    };
    let named = jsonl("{\"image\": \"a.png\", \"hint\": \"h.png\"}");
    assert_eq!(first(named, Task::Control), both);
    let named = jsonl("{\"target\": \"a.png\", \"hint\": \"h.png\"}");
    assert_eq!(first(named, Task::Control), both);
    // A source and a target are a pair for LightControl without an instruction too.
    let pair = jsonl("{\"source\": \"s.png\", \"target\": \"a.png\"}");
    let set = open(pair, Task::Control).unwrap();
    let sample = set.sample(0).unwrap();
    let bytes =
        [&sample.picture, &sample.edited].map(|picture| picture.as_ref().unwrap().bytes.to_vec());
    assert_eq!(bytes, [b"S".to_vec(), b"A".to_vec()]);
    // A hint that is not there leaves its sample out, and one that leads out too.
    let lines = "{\"image\": \"a.png\"}\n{\"image\": \"a.png\", \"hint\": \"no.png\"}\n\
                 {\"image\": \"a.png\", \"hint\": \"../h.png\"}\n";
    let set = open(jsonl(lines), Task::Control).unwrap();
    assert_eq!(set.len(), 1);
    assert_eq!(
        words(&set),
        [(Some("2"), "missing_image"), (Some("3"), "bad_name")]
    );
}
