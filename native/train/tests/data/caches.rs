//! Caches on disk.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use x2i_train::cache::{Array, Cache, Encoding, Key, Put};

fn models(hash: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("t5".to_owned(), hash.to_owned())])
}

fn array(count: usize) -> Vec<Array> {
    vec![Array {
        name: "txt".into(),
        shape: vec![count / 32, 32],
        values: (0..count).map(|at| at as f32 / 8.0).collect(),
    }]
}

fn key(content: &str) -> Key {
    Key::of("t5")
        .with("form", "plain")
        .content(content.as_bytes())
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found
}

#[test]
fn what_was_put_is_there_for_the_next_run() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Cache::open(folder.path(), &models("aa"), 1 << 20).unwrap();
    let cache = open();
    assert_eq!(cache.get(&key("a")).unwrap(), None);
    assert_eq!(
        cache.put(&key("a"), &array(64), Encoding::F16).unwrap(),
        Put::Kept
    );
    let cache = open();
    assert_eq!(cache.get(&key("a")).unwrap(), Some(array(64)));
    assert_eq!(cache.get(&key("b")).unwrap(), None);
    let entry = files(folder.path())
        .into_iter()
        .find(|path| path.extension().is_some_and(|end| end == "x2i"));
    assert_eq!(cache.used(), entry.unwrap().metadata().unwrap().len());
}

#[test]
fn another_models_cache_is_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    Cache::open(folder.path(), &models(&"a1".repeat(32)), 1 << 20).unwrap();
    let error = Cache::open(folder.path(), &models(&"b2".repeat(32)), 1 << 20).unwrap_err();
    let error = error.to_string();
    let said = "cache.json: this is the cache of another model (t5 a1a1a1a1a1a1, not b2b2b2b2b2b2); take \
                another folder, or remove it";
    assert!(
        error.ends_with(said) && error.lines().count() == 1,
        "{error}"
    );
    let more = BTreeMap::new();
    assert!(Cache::open(folder.path(), &more, 1 << 20).is_err());
    fs::write(folder.path().join("cache.json"), "{").unwrap();
    let error = Cache::open(folder.path(), &models("aa"), 1)
        .unwrap_err()
        .to_string();
    assert!(error.contains("is no cache's"), "{error}");
}

#[test]
fn a_folder_with_other_files_is_no_cache() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.txt"), "mine").unwrap();
    let error = Cache::open(folder.path(), &models("aa"), 1 << 20)
        .unwrap_err()
        .to_string();
    assert!(error.contains("holds files and no cache.json"), "{error}");
    assert_eq!(files(folder.path()).len(), 1);
}

#[test]
fn a_full_cache_keeps_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path(), &models("aa"), 1000).unwrap();
    let put = |name: &str| cache.put(&key(name), &array(128), Encoding::F16).unwrap();
    assert_eq!(
        [put("a"), put("b"), put("c")],
        [Put::Kept, Put::Kept, Put::Full]
    );
    assert!(cache.used() <= 1000);
    assert!(cache.get(&key("a")).unwrap().is_some());
    assert!(cache.get(&key("c")).unwrap().is_none());
    // The same again takes no more room.
    assert_eq!(put("b"), Put::Kept);
}

#[test]
fn a_damaged_entry_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path(), &models("aa"), 1 << 20).unwrap();
    cache.put(&key("a"), &array(64), Encoding::Bf16).unwrap();
    let entry = files(folder.path())
        .into_iter()
        .find(|path| path.extension().is_some_and(|end| end == "x2i"));
    let entry = entry.unwrap();
    let whole = fs::read(&entry).unwrap();
    for bytes in [&whole[..whole.len() / 2], b""] {
        fs::write(&entry, bytes).unwrap();
        assert_eq!(cache.get(&key("a")).unwrap(), None);
    }
    cache.put(&key("a"), &array(64), Encoding::Bf16).unwrap();
    assert!(cache.get(&key("a")).unwrap().is_some());
}

#[test]
fn what_a_killed_run_has_left_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path(), &models("aa"), 1 << 20).unwrap();
    cache.put(&key("a"), &array(64), Encoding::F16).unwrap();
    let used = cache.used();
    let part = files(folder.path())
        .into_iter()
        .find(|path| path.extension().is_some_and(|end| end == "x2i"));
    let left = part.unwrap().with_file_name(".x2i-left.tmp");
    fs::write(&left, [0; 99]).unwrap();
    let cache = Cache::open(folder.path(), &models("aa"), 1 << 20).unwrap();
    assert!(!left.exists() && cache.used() == used);
}

#[test]
fn what_is_computed_is_the_same_whether_it_was_kept_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let open = |limit| Cache::open(folder.path(), &models("aa"), limit).unwrap();
    let third = || {
        let mut arrays = array(64);
        arrays[0].values.iter_mut().for_each(|value| *value /= 3.0);
        Ok(arrays)
    };
    let through = |cache: &Cache| cache.through(&key("a"), Encoding::Bf16, third).unwrap();
    // A full cache keeps nothing, and gives the same numbers.
    let full = through(&open(0));
    assert_eq!(open(1).used(), 0);
    let cache = open(1 << 20);
    let first = through(&cache);
    let again = cache.through(&key("a"), Encoding::Bf16, || panic!("it is there"));
    assert_eq!(first, again.unwrap());
    assert_eq!(first, full);
    assert_ne!(first, third().unwrap());
}
