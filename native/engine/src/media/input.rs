//! What was read of a file.

/// What a file holds, and the hash of its bytes.
#[derive(Debug)]
pub struct Input<T> {
    /// What it holds.
    pub value: T,
    /// Its SHA-256, in hex.
    pub sha256: String,
}

impl<T> Input<T> {
    pub(super) fn map<U>(self, convert: impl FnOnce(T) -> U) -> Input<U> {
        Input {
            value: convert(self.value),
            sha256: self.sha256,
        }
    }
}
