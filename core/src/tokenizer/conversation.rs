//! Token ids of a conversation: the template's control tokens are read, a user's are text.
//!
//! The `tokenizers` crate searches added tokens in a whole text. This file searches them in the template's
//! part of it, and leaves all other steps to the crate.

use std::ops::Range;

use tokenizers::{
    Model, NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString,
    PreTokenizer, Token, normalizer,
};

use super::words::{Quoter, Rendered};
use super::{SpecialTokens, Tokenizer};
use crate::error::{Error, Result};

/// Bytes of a text, and the tokens that they are already.
type Piece = (Range<usize>, Option<Vec<Token>>);

impl Tokenizer {
    /// Token ids of a conversation. Control tokens in the user's words are text like any other.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_rendered(&self, rendered: &Rendered) -> Result<Vec<u32>> {
        if rendered.is_plain() {
            return self.encode(rendered.text());
        }
        let pieces = self.pieces(rendered);
        self.encode_pieces(rendered.text(), &pieces)
            .map_err(|error| Error::config(&self.file, error.to_string()))
    }

    /// Checks the ids of a rendered conversation of `words`: they are in it, and every control token that
    /// the chat template writes is one token.
    ///
    /// # Errors
    /// [`Error::Config`] naming the token that this tokenizer lacks, or saying that the words are lost.
    pub fn check_conversation(&self, ids: &[u32], words: &str) -> Result<()> {
        let text = self.decode(ids, SpecialTokens::Keep)?;
        let control = |name: &str| {
            let is_name = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
            !name.is_empty() && name.chars().all(is_name)
        };
        let ends = text.match_indices("|>");
        for (end, _) in ends {
            let Some(start) = text[..end].rfind("<|") else {
                continue;
            };
            let token = &text[start..end + 2];
            let id = self.token_to_id(token).filter(|id| ids.contains(id));
            if control(&text[start + 2..end]) && id.is_none() {
                let reason = format!(
                    "has no token `{token}`, which the chat template writes: its added_tokens are \
                     missing, take the file of the model"
                );
                return Err(Error::config(&self.file, reason));
            }
        }
        let plain = self.decode(&self.encode(words)?, SpecialTokens::Keep)?;
        match text.contains(plain.trim()) {
            true => Ok(()),
            false => Err(Error::config(
                "chat template",
                "leaves out or changes the prompt, so that every prompt would paint the same",
            )),
        }
    }

    /// The whole text in order: each added token of the template, and what stands between them.
    fn pieces(&self, rendered: &Rendered) -> Vec<Piece> {
        let mut pieces = vec![];
        let mut end = 0;
        let masked = rendered.masked();
        for (range, tokens) in self.added_tokens(&masked) {
            pieces.push((end..range.start, None));
            end = range.end;
            pieces.push((range, Some(tokens)));
        }
        pieces.push((end..rendered.text().len(), None));
        pieces
    }

    /// The crate's own steps, but for the search of added tokens.
    fn encode_pieces(&self, text: &str, pieces: &[Piece]) -> tokenizers::Result<Vec<u32>> {
        let mut split = PreTokenizedString::from(text);
        split.split(|_, whole| {
            let piece = |(range, tokens): &Piece| {
                let range = normalizer::Range::Original(range.clone());
                Some((whole.slice(range)?, tokens.clone()))
            };
            Ok(pieces
                .iter()
                .filter_map(piece)
                .collect::<Vec<(NormalizedString, _)>>())
        })?;
        if let Some(normalizer) = self.inner.get_normalizer() {
            split.normalize(|piece| normalizer.normalize(piece))?;
        }
        if let Some(pre_tokenizer) = self.inner.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut split)?;
        }
        split.tokenize(|piece| self.inner.get_model().tokenize(piece.get()))?;
        let encoding = split.into_encoding(None, 0, OffsetType::None)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Marks the added tokens among a user's words, special or not, and `places`, which a family reads
    /// out of a rendered text.
    pub fn quoter(&self, places: &'static [&'static str]) -> Quoter<'_> {
        let ranges = |text: &str| {
            let found = self.added_tokens(text).into_iter();
            found.map(|(range, _)| range).collect()
        };
        Quoter::new(ranges, places)
    }

    /// The added tokens of a text and their bytes, as [`encode`](Self::encode) finds them.
    fn added_tokens(&self, text: &str) -> Vec<(Range<usize>, Vec<Token>)> {
        let added = self.inner.get_added_vocabulary();
        let split = added.extract_and_normalize(self.inner.get_normalizer(), text);
        let splits = split.get_splits(OffsetReferential::Original, OffsetType::Byte);
        let tokens = splits.into_iter().filter_map(|(_, (start, end), tokens)| {
            let is_cut = text.get(start..end).is_none();
            tokens
                .clone()
                .filter(|_| !is_cut)
                .map(|tokens| (start..end, tokens))
        });
        tokens.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::tests::letters;

    const END: u32 = 28;

    /// Ids of `before` and `after` as a template's text, with `words` between them.
    fn ids(before: &str, words: &str, after: &str) -> Vec<u32> {
        let tokenizer = letters();
        let mut quoter = tokenizer.quoter(&[]);
        let marked = format!("{before}{}{after}", quoter.quote(words));
        let rendered = quoter.restore(&marked).unwrap();
        assert_eq!(rendered.text(), format!("{before}{words}{after}"));
        tokenizer.encode_rendered(&rendered).unwrap()
    }

    #[test]
    fn control_tokens_of_the_template_are_read_and_those_of_the_words_are_text() {
        let (t, h, th, end) = (19, 7, 27, [4, 13, 3]);
        assert_eq!(
            ids("th<|end|>", "<|end|>", "<|end|>"),
            [&[th, END][..], &end, &[END]].concat()
        );
        // Byte pairs merge across the seams of the template and of what was quoted.
        assert_eq!(ids("t", "h", "<|end|>"), [th, END]);
        assert_eq!(ids("", "<|end|>t", "h"), [&end[..], &[th]].concat());
        assert_eq!(ids("", "t<|end|>", "h"), [&[t][..], &end, &[h]].concat());
        assert_eq!(ids("", "<|<|end|>end|>", ""), [end, end].concat());
    }

    #[test]
    fn a_conversation_keeps_its_words_and_its_control_tokens() {
        let tokenizer = letters();
        let check = |text: &str| {
            let ids = tokenizer.encode(text).unwrap();
            let checked = tokenizer.check_conversation(&ids, "the th");
            checked.map_err(|error| error.to_string())
        };
        assert_eq!(check("h the th<|end|>"), Ok(()));
        let lost = check("h<|end|>").unwrap_err();
        assert!(lost.starts_with("chat template: leaves out"), "{lost}");
        // The letters of a token that the tokenizer lacks; marks that are no letters here are lost.
        let mut vocab = serde_json::json!({"<": 0, "|": 1, ">": 2});
        for (index, letter) in ('a'..='z').chain(['Ġ']).enumerate() {
            vocab[letter.to_string()] = (index + 3).into();
        }
        let vocab = vocab.to_string();
        let none = crate::tokenizer::AddedFiles::default();
        let bare = Tokenizer::from_vocab_and_merges("m", vocab.as_bytes(), b"", none).unwrap();
        let ids = bare.encode("<|start|>the th<|end|>").unwrap();
        let error = bare.check_conversation(&ids, "the th").unwrap_err();
        assert_eq!(
            error.to_string().split(',').next(),
            Some("m/vocab.json: has no token `<|start|>`")
        );
    }

    #[test]
    fn words_without_control_tokens_have_the_ids_of_the_plain_text() {
        let tokenizer = letters();
        for words in [
            "",
            "the  th",
            "\u{fdd0}",
            "猫<|en",
            " th\n",
            "a\u{fdd0}\u{fde1}b",
        ] {
            let text = format!("th{words}h<|end|>");
            let expected = tokenizer.encode(&text).unwrap();
            assert_eq!(ids("th", words, "h<|end|>"), expected, "{words:?}");
            let all = std::iter::once(2..2 + words.len()).collect();
            let rendered = Rendered::new(text, all);
            assert_eq!(tokenizer.encode_rendered(&rendered).unwrap(), expected);
        }
    }

    #[test]
    fn places_of_a_family_are_quoted_and_a_cut_mark_is_refused() {
        let tokenizer = letters();
        let mut quoter = tokenizer.quoter(&["(here)"]);
        let marked = quoter.quote("a(here)<|end|>b");
        assert!(!marked.contains("(here)") && !marked.contains("<|end|>"));
        assert_eq!(quoter.restore(&marked).unwrap().text(), "a(here)<|end|>b");
        let cut = &marked[..4];
        let cut = quoter.restore(cut).unwrap_err().to_string();
        assert!(
            cut.starts_with("chat template: changes the user's words"),
            "{cut}"
        );
        let foreign = quoter.restore("\u{fdd0}\u{fde0}").unwrap_err().to_string();
        assert!(foreign.starts_with("chat template: "), "{foreign}");
    }
}
