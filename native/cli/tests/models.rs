//! What is in the cache: `x2i models` lists and deletes it, and no name or link leads out of it.

#![cfg(all(unix, feature = "hub"))]

mod hub;
mod program;

use std::fs;

use hub::pulling::Pulling;
use hub::{COMMIT, Faults, REPOSITORY};
use program::names;
use serde_json::Value;

#[test]
fn names_of_a_server_do_not_lead_out_of_the_cache() {
    let pulling = Pulling::new();
    for name in [
        "../../../evil.gguf",
        "/tmp/evil.gguf",
        "a/../../evil.gguf",
        "a\\..\\evil.gguf",
        "C:evil",
        "a\0b",
    ] {
        pulling.server.does(Faults {
            names: vec![name],
            ..Faults::default()
        });
        pulling.pull().refused(&[
            "hf:x2i/emoji: lists the file",
            "no name of a file inside of it",
        ]);
        pulling.has_nothing();
    }
    for etag in ["../../../evil", "..", "a/b", ""] {
        pulling.server.does(Faults {
            etag: Some(etag),
            ..Faults::default()
        });
        pulling.pull().refused(&["the server gives no etag"]);
        pulling.has_nothing();
    }
    pulling.server.does(Faults {
        size: Some("1000000000000000000"),
        ..Faults::default()
    });
    pulling
        .pull()
        .refused(&["the server says that it is longer than 16 TiB"]);
    pulling.server.does(Faults::default());
    // A folder of the snapshot that is a link leads elsewhere.
    let mut files = pulling.server.files();
    files.insert("deep/model.json".into(), b"{}".to_vec());
    pulling.server.add_commit(COMMIT, files);
    let outside = pulling.program.path("in-outside");
    fs::create_dir_all(&outside).unwrap();
    fs::create_dir_all(pulling.snapshot()).unwrap();
    std::os::unix::fs::symlink(&outside, pulling.snapshot().join("deep")).unwrap();
    pulling.pull().refused(&["deep", "is in the way"]);
    fs::remove_dir_all(pulling.snapshot()).unwrap();
    std::os::unix::fs::symlink(&outside, pulling.snapshot()).unwrap();
    pulling.pull().refused(&["is in the way"]);
    assert_eq!(names(&outside), [""; 0]);
}

/// The model's listing.
fn listed(pulling: &Pulling) -> Value {
    let run = pulling.run(&["models", "--json"]).succeeded();
    serde_json::from_str(&run.stdout).unwrap()
}

#[test]
fn models_are_listed_with_sizes_and_deleted_without_what_others_share() {
    let pulling = Pulling::new();
    assert!(
        pulling
            .run(&["models"])
            .succeeded()
            .stdout
            .contains("no models")
    );
    let mut files = pulling.server.files();
    files.insert("vae.gguf".into(), b"an older one".to_vec());
    pulling.server.add_commit(hub::OLD, files);
    pulling.pull().succeeded();
    pulling.run(&["pull", "x2i/emoji@old"]).succeeded();
    let text = pulling.run(&["models"]).succeeded().stdout;
    assert!(text.contains("1 model, 16.0 MB"), "{text}");
    assert!(
        text.contains("x2i/emoji  main  0123456789ab  6 files  16.0 MB"),
        "{text}"
    );
    let model = &listed(&pulling)["models"][0];
    assert_eq!(
        (&model["name"], model["revisions"].as_array().unwrap().len()),
        (&REPOSITORY.into(), 2)
    );
    let run = pulling.run(&["models", "rm", "x2i/emoji@old"]).succeeded();
    assert_eq!(run.stdout, "hf:x2i/emoji@old: deleted, 12 B freed\n");
    pulling.is_whole();
    pulling
        .run(&["models", "rm", "x2i/emoji@old"])
        .refused(&["is not in the cache; of this model it has main"]);
    for name in ["x2i/none", "../evil", "x2i/emoji:vae.gguf"] {
        assert_ne!(pulling.run(&["models", "rm", name]).code, Some(0), "{name}");
    }
    pulling.is_whole();
    pulling.run(&["models", "rm", REPOSITORY]).succeeded();
    assert!(!pulling.repository().exists());
}

#[test]
fn what_is_no_folder_of_the_cache_is_not_deleted() {
    let pulling = Pulling::new();
    let mine = pulling.program.path("in-mine");
    fs::create_dir_all(mine.join("snapshots")).unwrap();
    fs::create_dir_all(pulling.repository().parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(&mine, pulling.repository()).unwrap();
    pulling
        .run(&["models", "rm", REPOSITORY])
        .refused(&["is a link or a file, not a folder of the cache"]);
    assert!(mine.join("snapshots").is_dir());
    fs::remove_file(pulling.repository()).unwrap();
    fs::create_dir(pulling.repository()).unwrap();
    fs::write(pulling.repository().join("thesis.txt"), "x").unwrap();
    pulling
        .run(&["models", "rm", REPOSITORY])
        .refused(&["is not in the cache"]);
    assert!(pulling.repository().join("thesis.txt").exists());
}
