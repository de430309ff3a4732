//! A picture that was painted, with the record of its making.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors::{failed, raised};
use crate::image::Image;

/// A picture and its record.
#[pyclass(frozen, module = "x2i._x2i")]
pub(crate) struct Painted(pub(crate) x2i_engine::Painted);

#[pymethods]
impl Painted {
    /// The picture.
    #[getter]
    fn image(&self) -> Image {
        self.0.image.clone().into()
    }

    /// The seed of its noise.
    #[getter]
    fn seed(&self) -> u64 {
        self.0.metadata.seed
    }

    /// What the LLM answered, where its answer is the conditioning.
    #[getter]
    fn answer(&self) -> Option<String> {
        self.0.metadata.answer.clone()
    }

    /// How sure the LLM was of its answer, 0 to 1.
    #[getter]
    fn certainty(&self) -> Option<f32> {
        Some(self.0.answer.as_ref()?.certainty)
    }

    /// The name of what it does not know, where its answer says so.
    #[getter]
    fn unknown(&self) -> Option<String> {
        self.0.answer.as_ref()?.unknown.clone()
    }

    /// What else it could have answered, with probabilities; none where it knows and is sure.
    #[getter]
    fn alternatives(&self) -> Vec<(String, f32)> {
        let alternatives = self.0.answer.iter().flat_map(|answer| &answer.alternatives);
        let each = alternatives.flatten();
        each.map(|other| (other.text.clone(), other.probability))
            .collect()
    }

    /// The record as JSON.
    #[getter]
    fn metadata(&self, py: Python<'_>) -> PyResult<String> {
        serde_json::to_string(&self.0.metadata).map_err(|error| failed(py, error.to_string()))
    }

    /// Tokens of the prompt that the LLM read, and that were left out.
    #[getter]
    fn prompt_tokens(&self) -> (usize, usize) {
        (self.0.prompt_tokens.read, self.0.prompt_tokens.left)
    }

    /// The steps that ran their first block alone.
    #[getter]
    fn skipped_steps(&self) -> usize {
        self.0.skipped_steps
    }

    /// A file of the picture with its record; quality is JPEG's, from 1 to 100.
    fn file<'py>(
        &self,
        py: Python<'py>,
        format: &str,
        quality: u8,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let format = match format {
            "jpeg" => x2i_engine::Format::Jpeg,
            "webp" => x2i_engine::Format::Webp,
            _ => x2i_engine::Format::Png,
        };
        let file = py.detach(|| self.0.file(format, quality));
        let file = file.map_err(|error| raised(py, &error))?;
        Ok(PyBytes::new(py, &file))
    }

    /// Writes the file whole or not at all; the name's end says of which format.
    fn save(&self, py: Python<'_>, path: PathBuf, quality: u8) -> PyResult<()> {
        let save = || {
            let output = x2i_engine::Output::File(path);
            let file = self.0.file(output.format()?, quality)?;
            output.write(&file)
        };
        py.detach(save).map_err(|error| raised(py, &error))
    }
}
