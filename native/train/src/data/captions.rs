//! What becomes of a caption before it is encoded: the trigger word, and dropout.

use x2i_core::{Error, Result};

use super::random::SplitMix64;

/// Where a caption says that the trigger word goes.
const PLACE: &str = "[trigger]";
/// Sets the draws of dropout apart from those of the order.
const DROPOUT: u64 = 0xA076_1D64_78BD_642F;

/// The rules for captions.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CaptionRules {
    trigger: Option<String>,
    dropout: f64,
}

impl CaptionRules {
    /// A `trigger` word goes to the captions' `[trigger]`, or before a caption that does not have it.
    /// `dropout` is the share of captions that are left empty, which guidance needs.
    ///
    /// # Errors
    /// [`Error::Config`] for a share outside of 0 to 1, and for a blank trigger word.
    pub fn new(trigger: Option<&str>, dropout: f64) -> Result<Self> {
        if !(0.0..=1.0).contains(&dropout) {
            let reason = format!("caption dropout {dropout} must be between 0 and 1");
            return Err(Error::config("captions", reason));
        }
        let trigger = trigger.map(str::trim);
        if trigger == Some("") {
            return Err(Error::config("captions", "the trigger word is blank"));
        }
        Ok(Self {
            trigger: trigger.map(str::to_owned),
            dropout,
        })
    }

    /// The caption of sample `k` of a rank. Whether it is dropped follows from the seed, the rank and `k`,
    /// so that a run that goes on drops the same.
    pub fn apply(&self, caption: &str, seed: u64, rank: usize, k: u64) -> String {
        match self.drops(seed, rank, k) {
            true => String::new(),
            false => self.with_trigger(caption),
        }
    }

    /// Whether the caption of sample `k` of a rank is left empty.
    pub fn drops(&self, seed: u64, rank: usize, k: u64) -> bool {
        let mut random = SplitMix64::new(seed ^ DROPOUT);
        for part in [rank as u64, k] {
            random = SplitMix64::new(random.draw() ^ part);
        }
        random.unit() < self.dropout
    }

    /// The caption with the trigger word.
    pub fn with_trigger(&self, caption: &str) -> String {
        let Some(trigger) = &self.trigger else {
            return caption.to_owned();
        };
        if caption.contains(PLACE) {
            return caption.replace(PLACE, trigger);
        }
        match caption.trim() {
            "" => trigger.clone(),
            _ if has_word(caption, trigger) => caption.to_owned(),
            caption => format!("{trigger}, {caption}"),
        }
    }
}

/// Whether a text has a word, and not only as a part of another.
fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        ![before, after]
            .into_iter()
            .flatten()
            .any(char::is_alphanumeric)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trigger_word_is_there_once() {
        let rules = CaptionRules::new(Some(" sks "), 0.0).unwrap();
        for (caption, expected) in [
            ("a dog", "sks, a dog"),
            ("a sks dog", "a sks dog"),
            ("tasks of a dog", "sks, tasks of a dog"),
            ("photo of [trigger], sitting", "photo of sks, sitting"),
            ("", "sks"),
        ] {
            assert_eq!(rules.with_trigger(caption), expected);
        }
        assert_eq!(CaptionRules::default().with_trigger(" a dog"), " a dog");
    }

    #[test]
    fn dropout_has_its_share_and_is_the_same_again() {
        let rules = CaptionRules::new(None, 0.05).unwrap();
        let dropped = |rank| {
            (0..20_000)
                .filter(|&k| rules.drops(3, rank, k))
                .collect::<Vec<_>>()
        };
        let share = dropped(0).len() as f64 / 20_000.0;
        assert!((share - 0.05).abs() < 0.006, "{share}");
        assert_eq!(dropped(0), dropped(0));
        assert_ne!(dropped(0), dropped(1));
        assert_eq!(rules.apply("x", 3, 0, dropped(0)[0]), "");
        assert!(!CaptionRules::default().drops(1, 0, 1));
        assert!(CaptionRules::new(None, 1.0).unwrap().drops(1, 0, 1));
    }

    #[test]
    fn a_share_that_is_none_is_refused() {
        for share in [-0.1, 1.1, f64::NAN] {
            assert!(CaptionRules::new(None, share).is_err(), "{share}");
        }
        assert!(CaptionRules::new(Some(" "), 0.0).is_err());
    }
}
