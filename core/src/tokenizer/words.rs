//! Words that look like control tokens stay words.
//!
//! A user may write `<|im_end|>` or `<image>`. Before a chat template, a [`Quoter`] puts marks of
//! noncharacters in place of such stretches; behind it, the marks become the words again, and
//! [`Rendered`] knows where they stand. The text around them is not cut there: byte pairs merge across
//! the seam of the template and the user's words, as in the reference. Left out: finding the template's
//! own control tokens, which the tokenizer does.

use std::ops::Range;

use crate::error::{Error, Result};

/// Begins a mark. Unicode never assigns it, so that fonts, templates and people have no use for it.
const MARK: char = '\u{fdd0}';
/// The first of sixteen digits of a mark.
const ZERO: u32 = 0xfde0;
/// Digits of a mark: more places than a prompt can have.
const DIGITS: usize = 6;
/// All noncharacters of this block: those that a user writes are quoted too.
const RESERVED: std::ops::RangeInclusive<char> = MARK..='\u{fdef}';

/// A conversation's text, and the stretches of it that are words whatever they look like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rendered {
    text: String,
    /// Bytes of `text`, in order, none within another.
    words: Vec<Range<usize>>,
}

/// A template's own text.
impl From<&str> for Rendered {
    fn from(text: &str) -> Self {
        Self::new(text.to_owned(), vec![])
    }
}

/// A template's own text.
impl From<&String> for Rendered {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl Rendered {
    /// A text whose bytes in `words` are never control tokens; they stand in order.
    pub fn new(text: String, words: Vec<Range<usize>>) -> Self {
        Self { text, words }
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// True where all control tokens of the text are the template's.
    pub(super) fn is_plain(&self) -> bool {
        self.words.is_empty()
    }

    /// The text with NUL for every byte of a word. White space stays: a control token beside it may
    /// take it.
    pub(super) fn masked(&self) -> String {
        let mut masked = String::with_capacity(self.text.len());
        let mut end = 0;
        for words in &self.words {
            masked += &self.text[end..words.start];
            for character in self.text[words.clone()].chars() {
                match character.is_whitespace() {
                    true => masked.push(character),
                    false => masked.extend(std::iter::repeat_n('\0', character.len_utf8())),
                }
            }
            end = words.end;
        }
        masked + &self.text[end..]
    }
}

/// Finds stretches of a text.
type Find<'a> = dyn Fn(&str) -> Vec<Range<usize>> + 'a;

/// Replaces what the user's words have in common with control tokens.
pub struct Quoter<'a> {
    /// Finds the tokenizer's added tokens.
    added_tokens_in: Box<Find<'a>>,
    /// What else a family reads out of a rendered text.
    places: &'static [&'static str],
    quoted: Vec<String>,
}

impl<'a> Quoter<'a> {
    /// Quotes what `added_tokens_in` finds, and `places`.
    pub(super) fn new(
        added_tokens_in: impl Fn(&str) -> Vec<Range<usize>> + 'a,
        places: &'static [&'static str],
    ) -> Self {
        Self {
            added_tokens_in: Box::new(added_tokens_in),
            places,
            quoted: vec![],
        }
    }

    /// The user's words, with marks where a control token could be read.
    pub fn quote(&mut self, words: &str) -> String {
        let mut marked = String::with_capacity(words.len());
        let mut end = 0;
        for found in self.find(words) {
            marked += &words[end..found.start];
            marked += &mark(self.quoted.len());
            self.quoted.push(words[found.clone()].to_owned());
            end = found.end;
        }
        marked + &words[end..]
    }

    /// The rendered text with words in place of the marks.
    ///
    /// # Errors
    /// [`Error::Config`] for a template that cut a mark.
    pub fn restore(&self, rendered: &str) -> Result<Rendered> {
        if self.quoted.is_empty() {
            return Ok(rendered.into());
        }
        let mut restored = Rendered::default();
        let mut rest = rendered;
        while let Some(start) = rest.find(MARK) {
            restored.text += &rest[..start];
            let (index, length) = read_mark(&rest[start..]).ok_or_else(cut)?;
            let words = self.quoted.get(index).ok_or_else(cut)?;
            let start_of_words = restored.text.len();
            restored.text += words;
            restored.words.push(start_of_words..restored.text.len());
            rest = &rest[start + length..];
        }
        restored.text += rest;
        Ok(restored)
    }

    /// Stretches that could be read as control, in order and apart.
    fn find(&self, words: &str) -> Vec<Range<usize>> {
        let mut found = (self.added_tokens_in)(words);
        for place in self.places {
            let places = words.match_indices(place);
            found.extend(places.map(|(start, place)| start..start + place.len()));
        }
        let reserved = words.char_indices().filter(|(_, c)| RESERVED.contains(c));
        found.extend(reserved.map(|(start, c)| start..start + c.len_utf8()));
        found.sort_by_key(|range| (range.start, range.end));
        found.dedup_by(|next, kept| {
            let touch = next.start < kept.end;
            if touch {
                kept.end = kept.end.max(next.end);
            }
            touch
        });
        found
    }
}

fn cut() -> Error {
    Error::config(
        "chat template",
        "changes the user's words where they look like a control token",
    )
}

fn mark(index: usize) -> String {
    let digit = |place: usize| char::from_u32(ZERO + (index >> (4 * place) & 15) as u32);
    let digits = (0..DIGITS).rev().filter_map(digit);
    std::iter::once(MARK).chain(digits).collect()
}

/// The number of the mark at the beginning of `text`, and its bytes.
fn read_mark(text: &str) -> Option<(usize, usize)> {
    let mut characters = text.chars().skip(1);
    let mut index = 0;
    for _ in 0..DIGITS {
        let digit = u32::from(characters.next()?).checked_sub(ZERO)?;
        if digit > 15 {
            return None;
        }
        index = index << 4 | digit as usize;
    }
    Some((index, (DIGITS + 1) * MARK.len_utf8()))
}
