//! What is wrong with a data set ends in one clear line, and never in code that runs, memory that fills,
//! or a file elsewhere.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use x2i_train::data::{DataSource, DataSpec, Dataset, SplitMix64, Task};

use crate::tar::{caption, header, member, seal, write};
use crate::{open, refusal, shards, words};

/// A PNG file of some size.
fn png(side: usize) -> Vec<u8> {
    let pixels: Vec<u8> = (0..side * side * 3).map(|at| (at * 7) as u8).collect();
    let mut file = vec![];
    let mut encoder = png::Encoder::new(&mut file, side as u32, side as u32);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&pixels).unwrap();
    writer.finish().unwrap();
    file
}

#[test]
fn a_size_of_2_to_62_is_neither_read_nor_allocated() {
    let folder = tempfile::tempdir().unwrap();
    let mut huge = header("b.json", 0, b'0');
    huge[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0]);
    seal(&mut huge);
    let path = write(folder.path(), "a.tar", &[caption("a", "a cat"), huge]);
    let set = open(shards(&path), Task::Distill).unwrap();
    assert_eq!(set.len(), 1);
    let note = set.notes()[0].to_string();
    let said = "a.tar, byte 1536, sample `b`: the shard is cut short; what comes before is used, get the \
                whole file (truncated)";
    assert!(note.ends_with(said), "{note}");
    // As pax says it.
    let record = b"28 size=4611686018427387904\n".to_vec();
    let mut pax = header("x", record.len() as u64, b'x');
    pax.extend(&record);
    pax.resize(1024, 0);
    let path = write(
        folder.path(),
        "b.tar",
        &[caption("a", "a cat"), pax, caption("b", "x")],
    );
    let set = open(shards(&path), Task::Distill).unwrap();
    assert_eq!(words(&set), [(Some("b"), "truncated")]);
}

#[test]
fn a_broken_shard_ends_itself_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let good = write(folder.path(), "c.tar", &[caption("c", "a cat")]);
    let whole = [caption("a", "a dog"), caption("b", "a fox")].concat();
    for end in 0..whole.len() {
        let path = folder.path().join("a.tar");
        fs::write(&path, &whole[..end]).unwrap();
        let set = open(shards(format!("{}::{good}", path.display())), Task::Distill).unwrap();
        let keys: Vec<&str> = (0..set.len()).map(|index| set.key(index)).collect();
        let all = ["a", "b", "c"];
        assert!(
            keys.iter().all(|key| all.contains(key)) && keys.last() == Some(&"c"),
            "{end}"
        );
        assert_eq!(keys.contains(&"b"), end >= 1024 + 512 + 22, "{end}");
    }
}

#[test]
fn damage_anywhere_ends_in_notes_and_never_in_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let name = "n".repeat(120);
    let record = format!("134 path={name}.txt\n");
    let mut pax = header("x", record.len() as u64, b'x');
    pax.extend(record.as_bytes());
    pax.resize(1024, 0);
    let whole = [
        caption("a", "a dog"),
        pax,
        member("short.txt", b"a fox"),
        member("b.jpg", &png(16)),
        caption("b", "a cat"),
    ]
    .concat();
    let path = folder.path().join("a.tar");
    fs::write(&path, &whole).unwrap();
    let set = open(shards(path.display().to_string()), Task::Distill).unwrap();
    let keys: Vec<&str> = (0..set.len()).map(|index| set.key(index)).collect();
    assert_eq!(keys, ["a", &name, "b"]);
    let mut random = SplitMix64::new(17);
    for _ in 0..3000 {
        let mut damaged = whole.clone();
        for _ in 0..=random.below(3) {
            let at = random.below(damaged.len() as u64) as usize;
            // Headers alone decide what is read; most of the file is padding.
            let at = if random.below(2) == 0 {
                at / 512 * 512 + at % 160
            } else {
                at
            };
            let at = at.min(damaged.len() - 1);
            damaged[at] = random.draw() as u8;
        }
        damaged.truncate(1 + random.below(damaged.len() as u64 * 2) as usize);
        fs::write(&path, &damaged).unwrap();
        if let Ok(set) = open(shards(path.display().to_string()), Task::Control) {
            for index in 0..set.len() {
                let _ = set.sample(index).map(|sample| sample.decode());
            }
        }
    }
}

#[test]
fn members_that_are_code_are_never_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let ran = folder.path().join("ran");
    let pickle = format!("cos\nsystem\n(S'touch {}'\ntR.", ran.display());
    let members = [
        caption("a", "a cat"),
        member("a.pyd", pickle.as_bytes()),
        member("a.pickle", pickle.as_bytes()),
        member("a.pth", pickle.as_bytes()),
        member("a.cls", &[0xFF; 600]),
    ];
    let path = write(folder.path(), "a.tar", &members);
    let set = open(shards(&path), Task::Distill).unwrap();
    assert_eq!(set.sample(0).unwrap().caption.as_deref(), Some("a cat"));
    assert!(set.notes().is_empty() && !ran.exists());
    let refused = refusal(
        shards(format!("pipe:touch {}", ran.display())),
        Task::Distill,
    );
    assert!(
        refused.contains("asks for a program; x2i runs none"),
        "{refused}"
    );
    assert!(!ran.exists());
}

#[test]
fn names_that_leave_the_data_set_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["../up", "/root", "a/../../b", "C:\\x"];
    let mut members: Vec<Vec<u8>> = names.iter().map(|name| caption(name, "x")).collect();
    members.push(caption("fine", "a cat"));
    // A link is passed over, wherever it leads.
    members.push(header("link.json", 0, b'2'));
    let path = write(folder.path(), "a.tar", &members);
    let set = open(shards(&path), Task::Distill).unwrap();
    assert_eq!(set.len(), 1);
    let expected: Vec<_> = names.iter().map(|name| (Some(*name), "bad_name")).collect();
    assert_eq!(words(&set), expected);
    let jsonl = folder.path().join("a.jsonl");
    let lines = "{\"image\": \"../../etc/x.png\", \"text\": \"a\"}\n\
                 {\"image\": \"http://h/x.png\", \"text\": \"a\"}\n\
                 {\"image\": \"gone.png\", \"text\": \"a\"}\n";
    fs::write(&jsonl, lines).unwrap();
    let refused = refusal(DataSpec::new(DataSource::Jsonl(jsonl.clone())), Task::Paint);
    assert!(
        refused.contains("sample `1`: has a name that leads out"),
        "{refused}"
    );
    fs::write(folder.path().join("in.png"), png(16)).unwrap();
    let lines = format!("{lines}\n{{\"image\": \"in.png\", \"text\": \"a\"}}\n");
    fs::write(&jsonl, lines).unwrap();
    let set = open(DataSpec::new(DataSource::Jsonl(jsonl)), Task::Paint).unwrap();
    let expected = [("1", "bad_name"), ("2", "bad_name"), ("3", "missing_image")];
    assert_eq!(words(&set), expected.map(|(key, word)| (Some(key), word)));
    assert_eq!(set.sample(0).unwrap().decode().unwrap().target.width(), 16);
}

#[test]
fn a_caption_of_10_000_words_is_used_and_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let long = "word ".repeat(10_000);
    let path = write(folder.path(), "a.tar", &[caption("a", &long)]);
    let set = open(shards(&path), Task::Distill).unwrap();
    let note = set.notes()[0].to_string();
    let said = "sample `a`: has a caption of 10000 words; encoders read its first 512 tokens (long_caption)";
    assert!(note.ends_with(said), "{note}");
    assert_eq!(set.sample(0).unwrap().caption, Some(long));
}

#[test]
fn texts_that_are_not_utf8_or_too_large_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let members = [
        member("a.txt", b"caf\xE9"),
        member("b.json", b"{\"caption_en\": \"caf\xE9\"}"),
        member("c.txt", b"\xEF\xBB\xBF fine \n"),
        member("d.txt", &vec![b'x'; (16 << 20) + 1]),
        member("e.txt", b" \n"),
    ];
    let path = write(folder.path(), "a.tar", &members);
    let set = open(shards(&path), Task::Distill).unwrap();
    let left_out = [
        ("a", "bad_text"),
        ("b", "bad_json"),
        ("d", "too_large"),
        ("e", "no_caption"),
    ];
    assert_eq!(words(&set), left_out.map(|(key, word)| (Some(key), word)));
    assert_eq!(set.sample(0).unwrap().caption.as_deref(), Some("fine"));
}

#[test]
fn pictures_that_can_not_be_decoded_are_named_when_they_are_needed() {
    let folder = tempfile::tempdir().unwrap();
    let cut = &png(64)[..100];
    let members = [
        caption("a", "x"),
        member("a.jpg", b"no picture"),
        caption("b", "x"),
        member("b.jpg", cut),
        member("c.json", b"{\"caption_en\": \"x\", \"style_zh\": \"y\"}"),
        member("c.jpg", &png(16)),
        member("c.png", &png(32)),
    ];
    let path = write(folder.path(), "a.tar", &members);
    let set = open(shards(&path), Task::Control).unwrap();
    let said: Vec<String> = (0..3)
        .map(|index| set.sample(index).unwrap().decode().unwrap_err().to_string())
        .collect();
    assert!(
        said[0].starts_with("its picture ") && said[0].ends_with("; it is left out"),
        "{}",
        said[0]
    );
    assert!(
        said[1].starts_with("its picture can't be read"),
        "{}",
        said[1]
    );
    assert_eq!(
        said[2],
        "its source has 16x16 pixels, its target 32x32; it is left out"
    );
    // Distillation needs none of them.
    assert_eq!(open(shards(&path), Task::Distill).unwrap().len(), 3);
}

#[test]
fn a_set_without_a_sample_says_the_first_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("empty.tar");
    fs::write(&path, "").unwrap();
    let said = refusal(shards(path.display().to_string()), Task::Distill);
    assert!(
        said.starts_with("data set: no sample can be used; the first problem: "),
        "{said}"
    );
    assert!(
        said.contains("empty.tar, byte 0: is an empty file; it is left out (empty)"),
        "{said}"
    );
    let path = write(folder.path(), "none.tar", &[]);
    assert_eq!(
        refusal(shards(path), Task::Distill),
        "data set: there is no sample"
    );
    let missing = refusal(shards("no/such.tar"), Task::Distill);
    assert_eq!(missing, "no/such.tar: file not found");
    let folder_of_none = DataSource::Folder {
        path: folder.path().into(),
        caption: None,
    };
    let said = refusal(DataSpec::new(folder_of_none), Task::Paint);
    assert!(said.contains("holds no picture"), "{said}");
}

#[test]
fn a_strict_set_refuses_what_another_leaves_out() {
    let folder = tempfile::tempdir().unwrap();
    let long = "word ".repeat(600);
    let go_on = &mut |_: &str, _| ControlFlow::Continue(());
    let path = write(folder.path(), "a.tar", &[caption("a", &long)]);
    assert!(Dataset::open_strict(&[shards(path)], Task::Distill, go_on).is_ok());
    let members = [caption("a", "x"), member("b.json", b"[]")];
    let path = write(folder.path(), "b.tar", &members);
    let said = Dataset::open_strict(&[shards(path)], Task::Distill, go_on)
        .err()
        .unwrap();
    let said = said.to_string();
    assert!(
        said.ends_with(
            "b.tar: sample `b`: its JSON can't be read (it is no object); it is left out (bad_json)"
        ),
        "{said}"
    );
}

#[test]
fn a_shard_that_is_cut_after_it_was_opened_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "a.tar", &[caption("a", "a cat")]);
    let set = open(shards(&path), Task::Distill).unwrap();
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(520)
        .unwrap();
    let said = set.sample(0).unwrap_err().to_string();
    assert!(said.contains("a.tar"), "{said}");
}

/// A folder as trainers take it.
fn pictures(folder: &Path) {
    fs::create_dir(folder.join("sub")).unwrap();
    for (name, bytes) in [
        ("b.png", png(16)),
        ("b.txt", b"a boat\n".to_vec()),
        ("a.PNG", png(24)),
        ("sub/c.png", png(8)),
        ("sub/c.json", b"{\"text\": \"a cup\", \"n\": 3}".to_vec()),
        (".hidden.png", png(8)),
        ("notes.md", b"x".to_vec()),
    ] {
        fs::write(folder.join(name), bytes).unwrap();
    }
}

#[test]
fn a_folder_gives_its_pictures_with_their_captions() {
    let folder = tempfile::tempdir().unwrap();
    pictures(folder.path());
    let spec = |caption: Option<&str>| {
        let path = folder.path().into();
        let caption = caption.map(str::to_owned);
        DataSpec {
            repeats: 3,
            ..DataSpec::new(DataSource::Folder { path, caption })
        }
    };
    let set = open(spec(None), Task::Paint).unwrap();
    assert_eq!(words(&set), [(Some("a"), "missing_json")]);
    let samples: Vec<_> = (0..set.len())
        .map(|index| set.sample(index).unwrap())
        .collect();
    let told = |index: usize| {
        (
            samples[index].key.as_str(),
            samples[index].caption.as_deref(),
        )
    };
    assert_eq!(
        [told(0), told(1)],
        [("b", Some("a boat")), ("sub/c", Some("a cup"))]
    );
    assert_eq!(samples[1].fields["n"], 3);
    assert_eq!(samples[0].decode().unwrap().target.width(), 16);
    assert_eq!(set.repeats(0), 3);
    let set = open(spec(Some("a thing")), Task::Paint).unwrap();
    assert_eq!(set.len(), 3);
    assert_eq!(set.sample(0).unwrap().caption.as_deref(), Some("a thing"));
}

#[test]
fn lines_give_pairs_and_fields_of_other_names() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["s.png", "t.png"] {
        fs::write(folder.path().join(name), png(16)).unwrap();
    }
    let jsonl = folder.path().join("a.jsonl");
    let lines = "{\"source\": \"s.png\", \"target\": \"t.png\", \"caption\": \"c\", \"instruction\": \"i\"}\n\
                 {\"target\": \"t.png\", \"caption\": \"only a picture\"}\r\n\
                 not JSON\n\
                 {\"image\": \"s.png\", \"words\": \"mine\"}";
    fs::write(&jsonl, lines).unwrap();
    let set = open(DataSpec::new(DataSource::Jsonl(jsonl.clone())), Task::Paint).unwrap();
    assert_eq!(
        words(&set),
        [(Some("3"), "bad_json"), (Some("4"), "no_caption")]
    );
    let pair = set.sample(0).unwrap();
    assert_eq!(pair.instruction.as_deref(), Some("i"));
    assert!(pair.picture.is_some() && pair.edited.is_some());
    let alone = set.sample(1).unwrap();
    assert!(alone.picture.is_some() && alone.edited.is_none());
    let mut spec = DataSpec::new(DataSource::Jsonl(jsonl));
    spec.keys.caption = Some("words".into());
    let set = open(spec, Task::Paint).unwrap();
    // The pair's instruction is enough.
    assert_eq!((set.len(), set.key(0), set.key(1)), (2, "1", "4"));
    assert_eq!(set.pairs(), 1);
}
