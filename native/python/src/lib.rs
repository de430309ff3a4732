//! The native half of the Python package `x2i`: pipelines, pictures and training behind plain Python types.
//!
//! `python/x2i` is the package that users import. It turns PIL's pictures, arrays and diffusers' names of arguments into
//! [`Part`](part::Part)s and numbers; this library hands them to the engine, without the interpreter's lock, and asks
//! for Python's signals between blocks. Arrays cross through `__array_interface__`, without a copy and without linking numpy.

mod array;
mod deep;
mod errors;
mod fork;
mod image;
mod job;
mod painted;
mod part;
mod pipeline;
mod program;
mod progress;
mod train;
mod weights;

use pyo3::prelude::*;

/// What `x2i._x2i` holds.
#[pymodule]
mod _x2i {
    #[pymodule_export]
    use crate::array::Array;
    #[pymodule_export]
    use crate::image::Image;
    #[pymodule_export]
    use crate::job::Job;
    #[pymodule_export]
    use crate::painted::Painted;
    #[pymodule_export]
    use crate::part::Part;
    #[pymodule_export]
    use crate::pipeline::{Pipeline, devices};
    #[pymodule_export]
    use crate::program::main;
    #[pymodule_export]
    use crate::progress::Progress;
    #[pymodule_export]
    use crate::train::train;
    #[pymodule_export]
    use crate::weights::weights;

    /// The release.
    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");
}
