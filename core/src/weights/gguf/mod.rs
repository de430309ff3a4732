//! GGUF: the one weight format that x2i writes and runs from.
//!
//! Source: `docs/gguf.md` of ggml. Versions 2 and 3 are read, 3 is written, little-endian only. Not
//! supported: version 1 (2023, 32-bit counts), big-endian files, split files (their parts open one
//! by one), and ggml's `IQ`, `TQ` and `MXFP4` types, which are refused by name.

mod meta;
mod read;
mod write;

pub use meta::{MetaType, MetaValue};
pub(super) use read::read_header;
pub use write::{GgufBody, GgufWriter};

use super::stored::StoredType;

/// The key of the alignment of tensor data, and its value where the key is missing.
const ALIGNMENT_KEY: &str = "general.alignment";
const DEFAULT_ALIGNMENT: u64 = 32;

/// ggml's own limit on a tensor's axes.
const MAX_DIMS: usize = 4;

/// ggml's number of each type that we know.
const GGML_TYPES: &[(u32, StoredType)] = &[
    (0, StoredType::F32),
    (1, StoredType::F16),
    (2, StoredType::Q4_0),
    (3, StoredType::Q4_1),
    (6, StoredType::Q5_0),
    (7, StoredType::Q5_1),
    (8, StoredType::Q8_0),
    (10, StoredType::Q2K),
    (11, StoredType::Q3K),
    (12, StoredType::Q4K),
    (13, StoredType::Q5K),
    (14, StoredType::Q6K),
    (24, StoredType::I8),
    (25, StoredType::I16),
    (26, StoredType::I32),
    (27, StoredType::I64),
    (28, StoredType::F64),
    (30, StoredType::BF16),
];

/// Types that ggml has and we do not.
const OTHER_TYPES: &[(u32, &str)] = &[
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
];

/// A power of two of at least 8, as ggml asks for; the upper bound keeps offsets sane.
fn is_alignment(value: u64) -> bool {
    value.is_power_of_two() && (8..=1 << 20).contains(&value)
}
