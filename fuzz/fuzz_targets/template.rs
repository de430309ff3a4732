//! Any text as a chat template, rendered with a conversation.
#![no_main]

use libfuzzer_sys::fuzz_target;
use x2i_core::tokenizer::{ChatTemplate, Content, Message, VisionIds};

fuzz_target!(|source: &str| {
    let Ok(template) = ChatTemplate::new(Some(source.to_owned())) else {
        return;
    };
    let user = Message::user(vec![
        Content::Image,
        Content::Text {
            text: "a red apple".into(),
        },
    ]);
    let messages = [user, Message::assistant("an apple")];
    for ids in [VisionIds::Omit, VisionIds::Add] {
        drop(template.render(&messages, ids));
    }
});
