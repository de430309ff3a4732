//! Numbers of the engine as numpy sees them: `numpy.asarray(array)` shares their memory.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

/// Numbers in f32, which numpy and torch take without a copy.
#[pyclass(frozen, module = "x2i._x2i")]
pub(crate) struct Array {
    shape: Vec<usize>,
    values: Values<f32>,
}

/// Memory that Python may read and write while it holds the object; nothing here touches it.
pub(crate) struct Values<T> {
    start: *mut T,
    length: usize,
    capacity: usize,
}

// SAFETY: the memory is owned, and only Python, under its own rules for arrays, reads and writes it.
unsafe impl<T: Send> Send for Values<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Values<T> {}

impl<T> From<Vec<T>> for Values<T> {
    fn from(values: Vec<T>) -> Self {
        let mut values = std::mem::ManuallyDrop::new(values);
        Self {
            start: values.as_mut_ptr(),
            length: values.len(),
            capacity: values.capacity(),
        }
    }
}

impl<T> Drop for Values<T> {
    fn drop(&mut self) {
        // SAFETY: `start`, `length` and `capacity` are those of the vector that this was made of.
        drop(unsafe { Vec::from_raw_parts(self.start, self.length, self.capacity) });
    }
}

impl<T> Values<T> {
    /// numpy's description of this memory, row by row: <https://numpy.org/doc/stable/reference/arrays.interface.html>.
    pub(crate) fn interface<'py>(
        &self,
        py: Python<'py>,
        shape: &[usize],
        kind: &str,
    ) -> PyResult<Bound<'py, PyDict>> {
        let interface = PyDict::new(py);
        interface.set_item("version", 3)?;
        interface.set_item("typestr", kind)?;
        interface.set_item("shape", PyTuple::new(py, shape)?)?;
        let is_read_only = false;
        interface.set_item("data", (self.start as usize, is_read_only))?;
        Ok(interface)
    }
}

impl From<x2i_engine::Array> for Array {
    fn from(array: x2i_engine::Array) -> Self {
        Self {
            shape: array.shape,
            values: array.values.into(),
        }
    }
}

#[pymethods]
impl Array {
    /// The length of each axis.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.shape)
    }

    #[getter]
    fn __array_interface__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let kind = if cfg!(target_endian = "little") {
            "<f4"
        } else {
            ">f4"
        };
        self.values.interface(py, &self.shape, kind)
    }
}
