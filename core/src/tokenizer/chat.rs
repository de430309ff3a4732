//! Chat templates: the text around a user's words that a chat model was trained with.
//!
//! Templates are Jinja, as Hugging Face folders hold them, rendered by `minijinja` with
//! transformers' settings. Not supported: tools, documents, and Python methods on values.

use std::io;

use minijinja::{Environment, ErrorKind, Value, context};
use serde::Serialize;

use super::growth::check_growth;
use super::words::Quoter;
use crate::error::{Error, Result};

/// One part of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Content {
    /// An image's place.
    Image,
    /// A video's place.
    Video,
    /// Words.
    Text {
        /// The words.
        text: String,
    },
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// Its parts, in order.
    pub content: Vec<Content>,
}

impl Message {
    /// A turn of the model.
    pub fn assistant(answer: &str) -> Self {
        Self {
            role: "assistant".into(),
            content: vec![Content::Text {
                text: answer.into(),
            }],
        }
    }

    /// Marks what the words have in common with control tokens.
    pub fn quote(&mut self, quoter: &mut Quoter<'_>) {
        for part in &mut self.content {
            if let Content::Text { text } = part {
                *text = quoter.quote(text);
            }
        }
    }

    /// A user's turn.
    pub fn user(content: Vec<Content>) -> Self {
        Self {
            role: "user".into(),
            content,
        }
    }
}

/// Whether the template numbers images (`Picture 1: `).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VisionIds {
    /// They are.
    Add,
    /// They are not.
    Omit,
}

/// Qwen2.5-VL's turns: a default system prompt, one block a message, pads where images stand.
const QWEN2_5_VL: &str = "\
{%- set pictures = namespace(seen=0) -%}
{%- set videos = namespace(seen=0) -%}
{%- for message in messages -%}
    {%- if loop.first and message.role != 'system' -%}
        {{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' -}}
    {%- endif -%}
    {{- '<|im_start|>' ~ message.role ~ '\\n' -}}
    {%- if message.content is string -%}
        {{- message.content -}}
    {%- else -%}
        {%- for part in message.content -%}
            {%- if part.type == 'image' or 'image' in part or 'image_url' in part -%}
                {%- set pictures.seen = pictures.seen + 1 -%}
                {%- if add_vision_id -%}{{- 'Picture ' ~ pictures.seen ~ ': ' -}}{%- endif -%}
                {{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
            {%- elif part.type == 'video' or 'video' in part -%}
                {%- set videos.seen = videos.seen + 1 -%}
                {%- if add_vision_id -%}{{- 'Video ' ~ videos.seen ~ ': ' -}}{%- endif -%}
                {{- '<|vision_start|><|video_pad|><|vision_end|>' -}}
            {%- elif 'text' in part -%}
                {{- part.text -}}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
    {{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}";

/// A parsed chat template.
pub struct ChatTemplate {
    source: String,
}

impl ChatTemplate {
    /// A folder's template, or Qwen2.5-VL's own where it has none.
    ///
    /// # Errors
    /// [`Error::Config`] when it is no valid Jinja.
    pub fn new(source: Option<String>) -> Result<Self> {
        let source = source.unwrap_or_else(|| QWEN2_5_VL.to_owned());
        check_growth(&source).map_err(|reason| Error::config(TEMPLATE, reason))?;
        environment().template_from_str(&source).map_err(broken)?;
        Ok(Self { source })
    }

    /// The text of a conversation, with the header of the assistant's turn at its end.
    ///
    /// # Errors
    /// [`Error::Config`] when the template fails on it, or calls `raise_exception`.
    pub fn render(&self, messages: &[impl Serialize], vision_ids: VisionIds) -> Result<String> {
        let variables = context! {
            messages => messages,
            add_generation_prompt => true,
            add_vision_id => vision_ids == VisionIds::Add,
        };
        let environment = environment();
        let template = environment
            .template_from_str(&self.source)
            .map_err(broken)?;
        let mut rendered = Bounded(Vec::new());
        template
            .render_captured_to(variables, &mut rendered)
            .map_err(|error| match error.kind() {
                ErrorKind::WriteFailure => too_long(),
                _ => broken(error),
            })?;
        String::from_utf8(rendered.0).map_err(|_| Error::config(TEMPLATE, "gives no UTF-8"))
    }
}

/// What messages call a template.
const TEMPLATE: &str = "chat template";
/// Instructions of one rendering; a turn of a conversation takes about a hundred.
const FUEL: u64 = 200_000;
/// Bytes of a rendered conversation, and of a text on the way to it.
const LONGEST: usize = 1 << 23;
/// Filters whose results can be far longer than what they are given.
const UNBOUNDED: [&str; 8] = [
    "batch", "chain", "format", "groupby", "indent", "slice", "sum", "zip",
];

/// A text that refuses to become too long.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > LONGEST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn too_long() -> Error {
    Error::config(TEMPLATE, format!("gives more than {LONGEST} bytes"))
}

/// Fails where a text would become too long.
fn bounded(bytes: Option<usize>) -> Result<(), minijinja::Error> {
    match bytes.is_some_and(|bytes| bytes <= LONGEST) {
        true => Ok(()),
        false => Err(minijinja::Error::new(
            ErrorKind::InvalidOperation,
            format!("a text would have more than {LONGEST} bytes"),
        )),
    }
}

/// `replace`, bounded.
fn replace(text: String, from: String, to: String) -> Result<String, minijinja::Error> {
    let found = text.matches(&from).count();
    bounded(
        found
            .checked_mul(to.len())
            .and_then(|more| more.checked_add(text.len())),
    )?;
    Ok(text.replace(&from, &to))
}

/// `join`, bounded.
fn join(values: Value, between: Option<String>) -> Result<String, minijinja::Error> {
    let between = between.unwrap_or_default();
    let mut text = String::new();
    for (index, value) in values.try_iter()?.enumerate() {
        let value = value.to_string();
        bounded(text.len().checked_add(value.len() + between.len()))?;
        if index > 0 {
            text += &between;
        }
        text += &value;
    }
    Ok(text)
}

/// Jinja as transformers sets it up.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_fuel(Some(FUEL));
    for name in UNBOUNDED {
        environment.remove_filter(name);
    }
    environment.add_filter("replace", replace);
    environment.add_filter("join", join);
    environment.add_function(
        "raise_exception",
        |message: String| -> Result<String, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        },
    );
    environment
}

fn broken(error: minijinja::Error) -> Error {
    Error::config(TEMPLATE, format!("{error:#}").replace('\n', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Content {
        Content::Text { text: text.into() }
    }

    fn render(template: &str, content: Vec<Content>) -> Result<String> {
        ChatTemplate::new(Some(template.into()))?.render(&[Message::user(content)], VisionIds::Omit)
    }

    #[test]
    fn the_default_template_wraps_words_and_pictures() {
        let template = ChatTemplate::new(None).unwrap();
        let message = Message::user(vec![Content::Image, text(" Hi\n"), Content::Image]);
        assert_eq!(
            template
                .render(std::slice::from_ref(&message), VisionIds::Omit)
                .unwrap(),
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n\
             <|vision_start|><|image_pad|><|vision_end|> Hi\n\
             <|vision_start|><|image_pad|><|vision_end|><|im_end|>\n<|im_start|>assistant\n"
        );
        let counted = template.render(&[message], VisionIds::Add).unwrap();
        assert!(
            counted.contains("user\nPicture 1: <|vision_start|>"),
            "{counted}"
        );
        assert!(
            counted.contains("\nPicture 2: <|vision_start|>"),
            "{counted}"
        );
    }

    #[test]
    fn a_given_system_prompt_replaces_the_default() {
        let system = Message {
            role: "system".into(),
            content: vec![text("Be brief.")],
        };
        let rendered = ChatTemplate::new(None)
            .unwrap()
            .render(&[system], VisionIds::Omit)
            .unwrap();
        assert_eq!(
            rendered,
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>assistant\n"
        );
    }

    #[test]
    fn a_users_braces_are_not_run() {
        let rendered = render(
            "{{ messages[0].content[0].text }}",
            vec![text("{{ 1 + 1 }} {% x")],
        );
        assert_eq!(rendered.unwrap(), "{{ 1 + 1 }} {% x");
    }

    #[test]
    fn a_template_that_does_not_end_or_grows_is_stopped() {
        let nested = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
        let grows = "{% for a in range(9999) %}{{ messages[0].content[0].text }}{% endfor %}";
        let joins = "{{ range(9999) | join(messages[0].content[0].text) }}";
        let replaces =
            "{{ messages[0].content[0].text | replace('a', messages[0].content[0].text) }}";
        for (template, message) in [
            (nested, "fuel"),
            (grows, "8388608 bytes"),
            (joins, "8388608 bytes"),
            (replaces, "8388608 bytes"),
            ("{{ 'a' | indent(1000000000) }}", "indent"),
        ] {
            let error = render(template, vec![text(&"a".repeat(10_000))]).unwrap_err();
            let error = error.to_string();
            assert!(
                error.starts_with("chat template: ") && error.contains(message),
                "{error}"
            );
        }
    }

    #[test]
    fn a_broken_or_unwilling_template_is_a_config_error() {
        for template in [
            "{% for",
            "{{ messages.nothing.at.all }}",
            "{{ raise_exception('no') }}",
        ] {
            let error = render(template, vec![text("a")]).unwrap_err().to_string();
            assert!(error.starts_with("chat template: "), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
