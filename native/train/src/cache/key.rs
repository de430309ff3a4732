//! The name of an entry: a hash of everything that it follows from.

use sha2::{Digest, Sha256};
use x2i_engine::files::hex;

/// An entry's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key(String);

/// Collects what an entry follows from.
#[derive(Debug, Clone)]
pub struct KeyMaker(Sha256);

impl Key {
    /// A key for a `kind` of entries, such as `latents`.
    pub fn of(kind: &str) -> KeyMaker {
        KeyMaker(Sha256::new()).with("kind", kind)
    }

    /// 64 hexadecimal digits.
    pub fn as_hex(&self) -> &str {
        &self.0
    }
}

impl KeyMaker {
    /// Adds what the entry follows from: a model's hash, the resolution, the crop, the prompt's form.
    pub fn with(self, name: &str, value: &str) -> Self {
        self.part(name.as_bytes()).part(value.as_bytes())
    }

    /// Adds the content, and ends the key.
    pub fn content(self, bytes: &[u8]) -> Key {
        Key(hex(&self.part(bytes).0.finalize()))
    }

    /// Lengths keep parts apart: `ab` and `c` are not `a` and `bc`.
    fn part(mut self, bytes: &[u8]) -> Self {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_counts_and_parts_are_kept_apart() {
        let key = |form: &str, crop: &str, text: &str| {
            let maker = Key::of("t5").with("form", form).with("crop", crop);
            maker.content(text.as_bytes())
        };
        let keys = [
            key("plain", "0,0", "a"),
            key("chat", "0,0", "a"),
            key("plain", "0,1", "a"),
            key("plain", "0,0", "b"),
            key("plai", "n0,0", "a"),
            Key::of("clip").content(b"a"),
        ];
        for (index, key) in keys.iter().enumerate() {
            assert!(!keys[..index].contains(key));
            assert_eq!(key.as_hex().len(), 64);
        }
        assert_eq!(keys[0], key("plain", "0,0", "a"));
    }

    #[test]
    fn a_name_is_digits_whatever_it_is_made_of() {
        let key = Key::of("../..")
            .with("/", "\0")
            .content(b"../../etc/passwd");
        assert!(key.as_hex().bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}
