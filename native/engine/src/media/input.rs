//! The content of an input file, with its hash.

/// The content of a file, and the hash of its bytes.
#[derive(Debug)]
pub struct Input<T> {
    /// The content.
    pub value: T,
    /// The SHA-256 of the file, as lower-case hex.
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
