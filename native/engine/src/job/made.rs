//! Pictures from memory beside the prompt: the one to begin with, and the one that steers.

use x2i_core::image::Hint;
use x2i_core::{Control, Image, Init, Result};

use super::spec::{Job, JobSpec, STRENGTH};
use crate::models::Model;

impl Job {
    /// The same job that begins with a picture (img2img); no strength is 0.6. The metadata has nothing about it.
    ///
    /// # Errors
    /// [`x2i_core::Error::Request`] for [`x2i_core::Field::Strength`] when it is out of range.
    pub fn with_init(mut self, image: Image, strength: Option<f64>) -> Result<Self> {
        let strength = strength.unwrap_or(STRENGTH);
        self.request.init = Some(Init { image, strength });
        self.records.init = None;
        self.request.validate()?;
        Ok(self)
    }

    /// The same job that a picture steers. The metadata has nothing about it.
    ///
    /// # Errors
    /// [`x2i_core::Error::Request`] when `model` has no LightControl's weights, or the scale is no number.
    pub fn with_control(
        mut self,
        model: &Model,
        image: Image,
        hint: Hint,
        scale: f32,
    ) -> Result<Self> {
        JobSpec::default().control_weights(model)?;
        self.request.control = Some(Control { image, hint, scale });
        self.records.control = None;
        self.request.validate()?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use x2i_core::{Error, Field};

    use super::*;

    #[test]
    fn a_picture_from_memory_is_checked_as_a_files_is() {
        let Ok(model) = Model::open("emoji") else {
            panic!("the embedded model is there");
        };
        let job = JobSpec::text("x").job(&model).unwrap();
        let image = Image::new(1, 1, vec![0; 3]).unwrap();
        let begun = job.clone().with_init(image.clone(), None).unwrap();
        assert_eq!(
            begun.request().init.as_ref().map(|init| init.strength),
            Some(0.6)
        );
        let field = |outcome: Result<Job>| match outcome.unwrap_err() {
            Error::Request { field, .. } => field,
            Error::Remedy { field, .. } => field,
            other => panic!("{other}"),
        };
        assert_eq!(
            field(job.clone().with_init(image.clone(), Some(1.5))),
            Field::Strength
        );
        let steered = job.with_control(&model, image, Hint::default(), 1.0);
        assert_eq!(field(steered), Field::ControlWeights);
    }
}
