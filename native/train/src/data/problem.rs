//! What can be wrong with a sample or a shard, and the line that says so.

use std::fmt;

/// Why a sample can't be used, or what was noticed of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// Neither JSON nor a text belongs to it.
    MissingJson,
    /// Its JSON is no object in UTF-8; why.
    BadJson(String),
    /// Its caption file is not UTF-8.
    BadText,
    /// Its JSON or caption file has so many bytes.
    TooLarge(u64),
    /// It has no caption, or a blank one.
    NoCaption,
    /// It has no picture.
    MissingImage,
    /// Nothing is written in a field that the run reads.
    NoField(String),
    /// A picture can't be decoded; why.
    BadImage(String),
    /// Source and target have other sizes.
    SizeMismatch([usize; 2], [usize; 2]),
    /// Its name leads out of the data set.
    BadName,
    /// A second member with this ending; the first stays.
    DuplicateMember(String),
    /// Its caption has so many words; encoders read the first 512 tokens.
    LongCaption(usize),
    /// A shard ends within a member or a header.
    Truncated,
    /// A header within a shard is damaged.
    BadHeader,
    /// A file is no tar.
    NotATar,
    /// A file has no bytes.
    Empty,
}

impl Problem {
    /// The word for it, as logs have it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::MissingJson => "missing_json",
            Self::BadJson(_) => "bad_json",
            Self::BadText => "bad_text",
            Self::TooLarge(_) => "too_large",
            Self::NoCaption => "no_caption",
            Self::MissingImage => "missing_image",
            Self::NoField(_) => "no_field",
            Self::BadImage(_) => "bad_image",
            Self::SizeMismatch(..) => "size_mismatch",
            Self::BadName => "bad_name",
            Self::DuplicateMember(_) => "duplicate_member",
            Self::LongCaption(_) => "long_caption",
            Self::Truncated => "truncated",
            Self::BadHeader => "bad_header",
            Self::NotATar => "not_a_tar",
            Self::Empty => "empty",
        }
    }

    /// True for what ends a shard.
    pub fn ends_shard(&self) -> bool {
        matches!(
            self,
            Self::Truncated | Self::BadHeader | Self::NotATar | Self::Empty
        )
    }

    /// True for what is noticed of a sample that is used.
    pub fn is_warning(&self) -> bool {
        matches!(self, Self::DuplicateMember(_) | Self::LongCaption(_))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingJson => f.write_str("has neither JSON nor a caption file; it is left out"),
            Self::BadJson(reason) => write!(f, "its JSON can't be read ({reason}); it is left out"),
            Self::BadText => f.write_str("its caption file is not UTF-8; it is left out"),
            Self::TooLarge(bytes) => {
                write!(
                    f,
                    "its text has {bytes} bytes, which is too large; it is left out"
                )
            }
            Self::NoCaption => f.write_str("has no caption, or a blank one; it is left out"),
            Self::MissingImage => f.write_str("has no picture; it is left out"),
            Self::NoField(key) => write!(f, "has no text in its field `{key}`; it is left out"),
            Self::BadImage(reason) => write!(f, "its picture {reason}; it is left out"),
            Self::SizeMismatch(source, target) => write!(
                f,
                "its source has {}x{} pixels, its target {}x{}; it is left out",
                source[0], source[1], target[0], target[1]
            ),
            Self::BadName => {
                f.write_str("has a name that leads out of the data set; it is left out")
            }
            Self::DuplicateMember(ext) => {
                write!(f, "has a second `.{ext}`; the first is taken")
            }
            Self::LongCaption(words) => write!(
                f,
                "has a caption of {words} words; encoders read its first 512 tokens"
            ),
            Self::Truncated => {
                f.write_str("the shard is cut short; what comes before is used, get the whole file")
            }
            Self::BadHeader => {
                f.write_str("the shard is damaged; what comes before is used, get it again")
            }
            Self::NotATar => f.write_str("is no tar file; it is left out"),
            Self::Empty => f.write_str("is an empty file; it is left out"),
        }
    }
}

/// One line of what was found in a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The shard or file.
    pub file: String,
    /// The sample, where one is meant.
    pub key: Option<String>,
    /// The byte of the file, where a shard ends too early.
    pub byte: Option<u64>,
    /// What is wrong.
    pub problem: Problem,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some(byte) = self.byte {
            write!(f, ", byte {byte}")?;
        }
        if let Some(key) = &self.key {
            // A name may hold anything, a terminal's commands too.
            let shown: String = key.escape_debug().take(120).collect();
            write!(f, ", sample `{shown}`")?;
        }
        write!(f, ": {} ({})", self.problem, self.problem.word())
    }
}
