//! Names of jobs and of inputs. Neither is ever a path that a client chooses.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The name of a job: a UUID in lower case, in the order of time (version 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(Uuid);

impl JobId {
    /// A new name.
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }
}

impl Default for JobId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for JobId {
    type Err = ();

    /// Reads what `Display` writes; other spellings of a UUID are no names.
    fn from_str(text: &str) -> Result<Self, ()> {
        let id = Uuid::try_parse(text).map_err(drop)?;
        match id.to_string() == text {
            true => Ok(Self(id)),
            false => Err(()),
        }
    }
}

impl TryFrom<String> for JobId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|()| format!("{text} is no job's id"))
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.to_string()
    }
}

/// The name of an input: the SHA-256 of its bytes, 64 digits of lower-case hex.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InputId(String);

impl InputId {
    /// The name of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_digest(Sha256::digest(bytes).as_slice())
    }

    /// The name of bytes with this digest.
    pub fn from_digest(digest: &[u8]) -> Self {
        Self(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InputId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for InputId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        match text.len() == 64 && text.bytes().all(digits) {
            true => Ok(Self(text)),
            false => Err("an upload's id has 64 digits of lower-case hex".into()),
        }
    }
}

impl From<InputId> for String {
    fn from(id: InputId) -> Self {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_spelling_that_is_written_is_read() {
        let id = JobId::new();
        assert_eq!(id.to_string().parse(), Ok(id));
        for other in [
            id.to_string().to_uppercase(),
            id.0.simple().to_string(),
            "../x".into(),
        ] {
            assert!(other.parse::<JobId>().is_err(), "{other}");
        }
    }

    #[test]
    fn an_input_is_named_by_its_bytes() {
        let id = InputId::of(b"abc");
        assert!(id.as_str().starts_with("ba7816bf"));
        assert_eq!(InputId::try_from(id.to_string()), Ok(id));
        assert!(InputId::try_from("../../etc/passwd".to_owned()).is_err());
    }
}
