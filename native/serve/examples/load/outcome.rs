//! What may fail here: anything, with a sentence.

/// A result of anything.
pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
