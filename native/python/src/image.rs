//! A picture: pixels that numpy shares, and the PNG file of them.

use std::sync::OnceLock;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};

use crate::array::Values;

/// A picture of 8-bit RGB. `numpy.asarray(image)` is `[height, width, 3]` in uint8.
#[pyclass(frozen, module = "x2i")]
pub(crate) struct Image {
    picture: x2i_core::Image,
    /// The copy that Python may write to.
    pixels: OnceLock<Values<u8>>,
}

impl From<x2i_core::Image> for Image {
    fn from(picture: x2i_core::Image) -> Self {
        Self {
            picture,
            pixels: OnceLock::new(),
        }
    }
}

#[pymethods]
impl Image {
    /// Width in pixels.
    #[getter]
    fn width(&self) -> usize {
        self.picture.width()
    }

    /// Height in pixels.
    #[getter]
    fn height(&self) -> usize {
        self.picture.height()
    }

    /// Width and height, as PIL has them.
    #[getter]
    fn size(&self) -> (usize, usize) {
        (self.picture.width(), self.picture.height())
    }

    /// The bytes of its pixels, red, green and blue, row by row.
    fn tobytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.picture.pixels())
    }

    /// The pixels as an array of numpy, `[height, width, 3]` in uint8.
    fn numpy<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("numpy")?.call_method1("asarray", (slf,))
    }

    /// The picture as one of PIL's.
    ///
    /// Raises ImportError without Pillow.
    fn pil<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let pil = py.import("PIL.Image")?;
        pil.call_method1("frombytes", ("RGB", self.size(), self.tobytes(py)))
    }

    #[getter]
    fn __array_interface__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let pixels = || self.picture.pixels().to_vec().into();
        let shape = [self.picture.height(), self.picture.width(), 3];
        self.pixels.get_or_init(pixels).interface(py, &shape, "|u1")
    }

    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, [self.picture.height(), self.picture.width(), 3])
    }

    fn __repr__(&self) -> String {
        format!("<x2i.Image {}x{}>", self.width(), self.height())
    }
}
