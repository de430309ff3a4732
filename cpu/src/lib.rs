//! Products on the vector units of a processor, of weights as files have them.
//!
//! [`formats`] are the blocks of files: how their bytes become whole numbers with scales, or floats. [`integer`] multiplies
//! whole numbers, [`lanes`] floats; [`tile`] multiplies floats in WebAssembly. [`processor`] is the table of what processors have; a kernel of several forms asks it
//! which one to run. [`vectorize()`](vectorize::vectorize) compiles plain Rust for the widest vectors.
//!
//! Every unit is compared with plain Rust by the tests. The crate knows no tensors: `x2i-shaders` brings them here. It is
//! small enough to be built and tested for other processors in a minute (`scripts/test-arm`).

pub mod formats;
pub mod integer;
pub mod lanes;
pub mod lines;
pub mod processor;
pub mod reference;
pub mod tile;
pub mod vectorize;
pub mod widen;
