//! GGUF's metadata values.

/// The type of a metadata value; the numbers are the file format's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
#[allow(missing_docs, reason = "the names say it")]
pub enum MetaType {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    String = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

impl MetaType {
    pub(super) fn from_number(number: u32) -> Option<Self> {
        const ALL: [MetaType; 13] = [
            MetaType::U8,
            MetaType::I8,
            MetaType::U16,
            MetaType::I16,
            MetaType::U32,
            MetaType::I32,
            MetaType::F32,
            MetaType::Bool,
            MetaType::String,
            MetaType::Array,
            MetaType::U64,
            MetaType::I64,
            MetaType::F64,
        ];
        ALL.get(usize::try_from(number).ok()?).copied()
    }
}

/// One metadata value.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum MetaValue {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(String),
    /// Values of one type; the type is kept for empty arrays.
    Array(MetaType, Vec<MetaValue>),
    U64(u64),
    I64(i64),
    F64(f64),
}

impl MetaValue {
    /// The value's type.
    pub fn meta_type(&self) -> MetaType {
        match self {
            Self::U8(_) => MetaType::U8,
            Self::I8(_) => MetaType::I8,
            Self::U16(_) => MetaType::U16,
            Self::I16(_) => MetaType::I16,
            Self::U32(_) => MetaType::U32,
            Self::I32(_) => MetaType::I32,
            Self::F32(_) => MetaType::F32,
            Self::Bool(_) => MetaType::Bool,
            Self::String(_) => MetaType::String,
            Self::Array(..) => MetaType::Array,
            Self::U64(_) => MetaType::U64,
            Self::I64(_) => MetaType::I64,
            Self::F64(_) => MetaType::F64,
        }
    }

    /// The text of a string value.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number of any integer value that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::U8(n) => Some(n.into()),
            Self::U16(n) => Some(n.into()),
            Self::U32(n) => Some(n.into()),
            Self::U64(n) => Some(n),
            Self::I8(n) => n.try_into().ok(),
            Self::I16(n) => n.try_into().ok(),
            Self::I32(n) => n.try_into().ok(),
            Self::I64(n) => n.try_into().ok(),
            _ => None,
        }
    }

    /// The number of any numeric value. That of an f32 is the one that its shortest decimal names,
    /// so that 1e-6 stays 1e-6.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Self::F32(n) => n.to_string().parse().ok(),
            Self::F64(n) => Some(n),
            Self::I8(n) => Some(n.into()),
            Self::I16(n) => Some(n.into()),
            Self::I32(n) => Some(n.into()),
            Self::I64(n) => Some(n as f64),
            _ => self.as_u64().map(|n| n as f64),
        }
    }

    /// The values of an array.
    pub fn as_array(&self) -> Option<&[MetaValue]> {
        match self {
            Self::Array(_, values) => Some(values),
            _ => None,
        }
    }

    /// Appends the value without its type.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::U8(n) => out.push(*n),
            Self::I8(n) => out.extend(n.to_le_bytes()),
            Self::U16(n) => out.extend(n.to_le_bytes()),
            Self::I16(n) => out.extend(n.to_le_bytes()),
            Self::U32(n) => out.extend(n.to_le_bytes()),
            Self::I32(n) => out.extend(n.to_le_bytes()),
            Self::F32(n) => out.extend(n.to_le_bytes()),
            Self::Bool(b) => out.push(u8::from(*b)),
            Self::String(text) => write_string(text, out),
            Self::Array(element, values) => {
                out.extend((*element as u32).to_le_bytes());
                out.extend((values.len() as u64).to_le_bytes());
                for value in values {
                    value.write(out);
                }
            }
            Self::U64(n) => out.extend(n.to_le_bytes()),
            Self::I64(n) => out.extend(n.to_le_bytes()),
            Self::F64(n) => out.extend(n.to_le_bytes()),
        }
    }

    /// True when every array holds values of the one type that it names.
    pub(super) fn is_uniform(&self) -> bool {
        match self {
            Self::Array(element, values) => values
                .iter()
                .all(|value| value.meta_type() == *element && value.is_uniform()),
            _ => true,
        }
    }
}

impl From<&str> for MetaValue {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<Vec<String>> for MetaValue {
    fn from(texts: Vec<String>) -> Self {
        let values = texts.into_iter().map(Self::String).collect();
        Self::Array(MetaType::String, values)
    }
}

/// A length as u64, then the text.
pub(super) fn write_string(text: &str, out: &mut Vec<u8>) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}
