//! The real Qwen2.5 tokenizer, from `tokenizer.json` and from `vocab.json` and `merges.txt`.

use x2i_core::tokenizer::{AddedFiles, SpecialTokens, Tokenizer};

use crate::case::{Case, Fallible, Outcome};
use crate::report::Report;

/// Where golden sets keep the tokenizer that they share.
const FOLDERS: [&str; 4] = [
    "../shared_tokenizer_qwen",
    "../../shared_tokenizer_qwen",
    "../../_tokenizer_qwen2_5",
    "../_tokenizer_qwen2_5",
];

pub async fn run(case: &Case<'_>, report: &mut Report) -> Outcome {
    let folder = find_folder(case).await?;
    let golden = case.json("golden.json").await?;
    let rows = golden["rows"].as_array().ok_or("golden.json has no rows")?;
    let added = rows.iter().any(|row| {
        row["text"]
            .as_str()
            .is_some_and(|text| text.contains("<|im_"))
    });

    let read = async |name: &str| case.read(&format!("{folder}/{name}")).await;
    let mut tokenizers = vec![];
    if let Ok(json) = read("tokenizer.json").await {
        tokenizers.push((
            "tokenizer.json",
            Tokenizer::from_json("tokenizer.json", &json)?,
        ));
    } else {
        report.note("tokenizer.json is not here; only vocab.json and merges.txt are compared");
    }
    if let (Ok(vocab), Ok(merges)) = (read("vocab.json").await, read("merges.txt").await) {
        let config = read("tokenizer_config.json").await.ok();
        if config.is_none() && added {
            report.note("vocab.json: no tokenizer_config.json with special tokens, rows that hold them are left out");
        }
        let files = AddedFiles {
            tokenizer_config: config.as_deref(),
            ..AddedFiles::default()
        };
        tokenizers.push((
            "vocab.json",
            Tokenizer::from_vocab_and_merges("", &vocab, &merges, files)?,
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

async fn find_folder(case: &Case<'_>) -> Fallible<&'static str> {
    for folder in FOLDERS {
        for file in ["tokenizer.json", "merges.txt"] {
            if case.exists(&format!("{folder}/{file}")).await? {
                return Ok(folder);
            }
        }
    }
    Err("no folder _tokenizer_qwen2_5 beside this case holds tokenizer.json or merges.txt".into())
}
