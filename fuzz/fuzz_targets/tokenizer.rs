//! Any text as a tokenizer.json; one that is read encodes a prompt and gives it back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use x2i_core::tokenizer::{SpecialTokens, Tokenizer};

fuzz_target!(|json: &[u8]| {
    let Ok(tokenizer) = Tokenizer::from_json("fuzz", json) else { return };
    if let Ok(ids) = tokenizer.encode("a red apple, 蓝色背景") {
        drop(tokenizer.decode(&ids, SpecialTokens::Keep));
    }
});
