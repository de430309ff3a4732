//! Any text as a tokenizer.json, or as vocab.json, merges.txt, tokenizer_config.json, added_tokens.json
//! and special_tokens_map.json with lines `--` between them. A tokenizer that is read encodes a prompt,
//! with its own tokens in it, and gives it back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use x2i_core::tokenizer::{AddedFiles, SpecialTokens, Tokenizer};

fuzz_target!(|bytes: &[u8]| {
    let tokenizer = match *x2i_fuzz::parts(bytes) {
        [json] => Tokenizer::from_json("fuzz", json),
        [vocab, merges, ref more @ ..] => {
            let file = |at: usize| more.get(at).copied().filter(|file| !file.is_empty());
            let added = AddedFiles {
                tokenizer_config: file(0),
                added_tokens: file(1),
                special_tokens: file(2),
            };
            Tokenizer::from_vocab_and_merges("fuzz", vocab, merges, added)
        }
        [] => return,
    };
    let Ok(tokenizer) = tokenizer else { return };
    let last = tokenizer.vocab_size().saturating_sub(1) as u32;
    let own = [0, 1, last / 2, last.saturating_sub(1), last].map(|id| tokenizer.id_to_token(id));
    let text = format!(
        "a red apple, 蓝色背景 {} 1234",
        own.map(Option::unwrap_or_default).concat()
    );
    if let Ok(ids) = tokenizer.encode(&text) {
        drop(tokenizer.decode(&ids, SpecialTokens::Keep));
        drop(tokenizer.decode(&ids, SpecialTokens::Skip));
    }
    let mut quoter = tokenizer.quoter(&["<image>"]);
    let marked = format!("{text}{}{text}", quoter.quote(&text));
    if let Ok(rendered) = quoter.restore(&marked) {
        drop(tokenizer.encode_rendered(&rendered));
    }
});
