//! Tests of the whole house: `parity` against the reference implementation, `tidy` for its order. This library has
//! what `parity` shares with `tests/gpu_check`.

pub mod golden_files;
