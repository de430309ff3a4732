//! Block formats: how a row of bytes becomes numbers.

mod block_type;
pub mod floats;
mod group;
mod push;
mod scaled;
mod tables;

pub use block_type::{BlockType, MOST_GROUPS, q6_k_group, q6_k_scale};
pub use group::{GROUP, Group, Quant, half, nibbles, part};
pub use scaled::{int8_halves_group, scale};
pub use tables::Table;
