//! Keys of requests that may be sent twice, for a day: bounded, the oldest forgotten first.

use std::collections::{HashMap, VecDeque};

use crate::job::{InputId, JobId, now};

/// How long a key is known, in milliseconds.
const DAY: u64 = 24 * 60 * 60 * 1000;
/// The most keys.
const MOST: usize = 100_000;

/// What is known of a key: the digest of its request, the job that it made, and when.
type Known = (InputId, JobId, u64);

#[derive(Default)]
pub(super) struct Keys {
    known: HashMap<String, Known>,
    /// In the order in which they came; those that were forgotten may still be here.
    came: VecDeque<(String, u64)>,
}

impl Keys {
    /// Remembers a key, or returns what is known of it.
    pub(super) fn remember(
        &mut self,
        key: &str,
        digest: InputId,
        id: JobId,
    ) -> Option<(InputId, JobId)> {
        let now = now();
        self.drop_old(now);
        if let Some((digest, id, _)) = self.known.get(key) {
            return Some((digest.clone(), *id));
        }
        self.known.insert(key.to_owned(), (digest, id, now));
        self.came.push_back((key.to_owned(), now));
        None
    }

    /// Forgets a key.
    pub(super) fn forget(&mut self, key: &str) {
        self.known.remove(key);
    }

    fn drop_old(&mut self, now: u64) {
        while let Some((key, came)) = self.came.front()
            && (self.came.len() >= MOST || now.saturating_sub(*came) > DAY)
        {
            // It may have been forgotten and have come again since.
            if self.known.get(key).is_some_and(|(.., since)| since == came) {
                self.known.remove(key);
            }
            self.came.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_keys_make_room() {
        let mut keys = Keys::default();
        let (digest, first) = (InputId::of(b"a"), JobId::new());
        assert_eq!(keys.remember("first", digest.clone(), first), None);
        assert_eq!(
            keys.remember("first", InputId::of(b"b"), JobId::new()),
            Some((digest.clone(), first))
        );
        keys.forget("first");
        assert_eq!(keys.remember("first", digest.clone(), first), None);
        for number in 0..MOST {
            keys.remember(&number.to_string(), digest.clone(), JobId::new());
        }
        assert!(keys.known.len() <= MOST && keys.came.len() <= MOST);
        assert_eq!(keys.remember("first", digest, first), None);
    }
}
