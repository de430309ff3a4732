//! What a word of a run's settings names: shards, a folder of pictures, or a file of lines.

use std::path::Path;

use super::dataset::DataSource;

/// The source of a word: `*.jsonl` a file, a folder as it is there, all else shards.
pub fn source(word: &str) -> DataSource {
    let path = Path::new(word);
    let ends = |ending: &str| {
        let found = path.extension().and_then(|found| found.to_str());
        found.is_some_and(|found| found.eq_ignore_ascii_case(ending))
    };
    if ends("jsonl") {
        DataSource::Jsonl(path.to_owned())
    } else if path.is_dir() {
        DataSource::Folder {
            path: path.to_owned(),
            caption: None,
        }
    } else {
        DataSource::Shards(word.to_owned())
    }
}
