//! Tests of the whole house: `parity` against the reference implementation, `tidy` for its order.
