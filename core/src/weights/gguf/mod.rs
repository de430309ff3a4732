//! GGUF: the one weight format that x2i writes and runs from.
//!
//! Source: `docs/gguf.md` of ggml. Versions 2 and 3 are read, 3 is written, little-endian only. Not
//! supported: version 1 (2023, 32-bit counts) and big-endian files. A tensor of a type that is not
//! read (`NVFP4`, and those that ggml has given up) is refused by its type's name when it is asked for.

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
    (9, StoredType::Q8_1),
    (14, StoredType::Q6K),
    (15, StoredType::Q8K),
    (16, StoredType::IQ2XXS),
    (17, StoredType::IQ2XS),
    (18, StoredType::IQ3XXS),
    (19, StoredType::IQ1S),
    (20, StoredType::IQ4NL),
    (21, StoredType::IQ3S),
    (22, StoredType::IQ2S),
    (23, StoredType::IQ4XS),
    (24, StoredType::I8),
    (25, StoredType::I16),
    (26, StoredType::I32),
    (27, StoredType::I64),
    (28, StoredType::F64),
    (29, StoredType::IQ1M),
    (30, StoredType::BF16),
    (34, StoredType::TQ1_0),
    (35, StoredType::TQ2_0),
    (39, StoredType::MXFP4),
];

/// Types that ggml has and we do not.
const OTHER_TYPES: &[(u32, &str)] = &[
    (4, "Q4_2"),
    (5, "Q4_3"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (33, "Q4_0_8_8"),
    (36, "IQ4_NL_4_4"),
    (37, "IQ4_NL_4_8"),
    (38, "IQ4_NL_8_8"),
    (40, "NVFP4"),
];

/// A power of two of at least 8, as ggml asks for; the upper bound keeps offsets sane.
fn is_alignment(value: u64) -> bool {
    value.is_power_of_two() && (8..=1 << 20).contains(&value)
}
