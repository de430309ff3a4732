//! The real Qwen2.5 tokenizer, from `tokenizer.json` and from `vocab.json` and `merges.txt`.

use std::path::PathBuf;

use x2i_core::tokenizer::{SpecialTokens, Tokenizer};

use crate::case::{Case, Outcome};
use crate::report::Report;

/// Where golden sets keep the tokenizer that they share.
const FOLDERS: [&str; 4] = [
    "../_tokenizer_qwen2_5",
    "../shared_tokenizer_qwen",
    "../../_tokenizer_qwen2_5",
    "../../shared_tokenizer_qwen",
];

pub fn run(case: &Case, report: &mut Report) -> Outcome {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("goldens/_tokenizer_qwen2_5");
    let folders = FOLDERS
        .iter()
        .map(|folder| case.sibling(folder))
        .chain([own]);
    let folder = folders
        .into_iter()
        .find(|folder| {
            folder.join("tokenizer.json").is_file() || folder.join("merges.txt").is_file()
        })
        .ok_or(
            "no folder _tokenizer_qwen2_5 beside this case holds tokenizer.json or merges.txt",
        )?;
    let golden = case.json("golden.json")?;
    let rows = golden["rows"].as_array().ok_or("golden.json has no rows")?;
    let added = rows.iter().any(|row| {
        row["text"]
            .as_str()
            .is_some_and(|text| text.contains("<|im_"))
    });

    let mut tokenizers = vec![];
    if let Ok(json) = std::fs::read(folder.join("tokenizer.json")) {
        tokenizers.push((
            "tokenizer.json",
            Tokenizer::from_json("tokenizer.json", &json)?,
        ));
    } else {
        report.note("tokenizer.json is not here; only vocab.json and merges.txt are compared");
    }
    if let (Ok(vocab), Ok(merges)) = (
        std::fs::read(folder.join("vocab.json")),
        std::fs::read(folder.join("merges.txt")),
    ) {
        let config = std::fs::read(folder.join("tokenizer_config.json")).ok();
        if config.is_none() && added {
            report.note("vocab.json: no tokenizer_config.json with special tokens, rows that hold them are left out");
        }
        tokenizers.push((
            "vocab.json",
            Tokenizer::from_vocab_and_merges("", &vocab, &merges, config.as_deref())?,
        ));
    } else {
        report.note("vocab.json or merges.txt is not here; only tokenizer.json is compared");
    }

    for (name, tokenizer) in &tokenizers {
        let special = tokenizer.token_to_id("<|im_start|>").is_some();
        for row in rows {
            let text = row["text"].as_str().ok_or("a row has no text")?;
            if !special && text.contains("<|") {
                continue;
            }
            let label = format!("{name} {:?}", text.chars().take(40).collect::<String>());
            let ids = tokenizer.encode(text)?;
            report.equal(&label, &serde_json::json!(ids), &row["ids"]);
            if let Some(decoded) = row["decoded"].as_str() {
                report.equal(
                    &format!("{label} decoded"),
                    tokenizer.decode(&ids, SpecialTokens::Keep)?.as_str(),
                    decoded,
                );
            }
        }
        if let (true, Some(size)) = (special, golden["vocab_size"].as_u64()) {
            report.equal(
                &format!("{name} vocab_size"),
                &(tokenizer.vocab_size() as u64),
                &size,
            );
        }
    }
    Ok(())
}
