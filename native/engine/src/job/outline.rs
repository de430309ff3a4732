//! A job before its files are decoded, so that a batch is checked whole and then takes the memory of one
//! line.

use x2i_core::{Audio, Control, Error, Field, Image, Init, Part, Prompt, Request, Result, Video};

use super::seed::random_seed;
use super::spec::{ControlSpec, InitSpec, Job, JobSpec, PartSpec, STRENGTH, sampling};
use crate::files::NamedFile;
use crate::media::{self, Kind, never};
use crate::models::Model;

/// A job whose numbers are checked, and whose files exist and begin like files of their kind.
#[derive(Debug, Clone)]
pub struct Outline {
    pub(super) spec: JobSpec,
    /// The request, with one pixel or one sample instead of each file's content.
    pub(super) request: Request,
}

impl JobSpec {
    /// Checks everything but what only decoding the files shows.
    ///
    /// # Errors
    /// As [`JobSpec::job`], but for broken files.
    pub fn outline(&self, model: &Model) -> Result<Outline> {
        let parts = self.parts.iter().map(|part| self.stand_in(part, model));
        let mut request = Request::new(Prompt::new(parts.collect::<Result<_>>()?), model.config());
        self.settings.apply(&mut request);
        request.seed = self.settings.seed.unwrap_or_else(random_seed);
        if let Some(InitSpec { image, strength }) = &self.init {
            check_file(image, Kind::Image, Field::Init)?;
            let strength = strength.unwrap_or(STRENGTH);
            let image = pixel()?;
            request.init = Some(Init { image, strength });
        }
        if let Some(ControlSpec { image, scale, hint }) = &self.control {
            self.control_weights(model)?;
            check_file(image, Kind::Image, Field::Control)?;
            request.control = Some(Control {
                image: pixel()?,
                hint: *hint,
                scale: *scale,
            });
        }
        request.validate()?;
        request.prompt.check(model.config())?;
        Ok(Outline {
            spec: self.clone(),
            request,
        })
    }

    /// A part of the same kind without the content of its file, which is checked.
    fn stand_in(&self, part: &PartSpec, model: &Model) -> Result<Part> {
        let (kind, file, fps) = match part {
            PartSpec::Text(text) => return Ok(Part::Text(text.clone())),
            PartSpec::Ready { part, .. } => return Ok(part.clone()),
            PartSpec::File { kind, file, fps } => (*kind, file, *fps),
        };
        sampling(model, self.settings.video_fps.or(fps))?;
        check_file(file, kind, kind.field())?;
        Ok(match kind {
            Kind::Image => Part::Image(pixel()?),
            Kind::Video => Part::Video(Video::new(vec![pixel()?], 1.0)?),
            Kind::Audio => Part::Audio(Audio::new(vec![0.0])?),
        })
    }
}

impl Outline {
    /// The request, with one pixel or one sample instead of each file's content.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Reads the files. The seed is that of the request.
    ///
    /// # Errors
    /// As [`JobSpec::job`].
    pub fn job(&self, model: &Model) -> Result<Job> {
        self.job_unless(model, &never)
    }

    /// The same, until `cancelled`, which is asked while files are read, says so.
    ///
    /// # Errors
    /// As [`JobSpec::job_unless`].
    pub fn job_unless(&self, model: &Model, cancelled: &dyn Fn() -> bool) -> Result<Job> {
        let job = self.spec.job_unless(model, cancelled)?;
        Ok(job.with_seed(self.request.seed))
    }
}

fn check_file(file: &NamedFile, kind: Kind, field: Field) -> Result<()> {
    file.check_first(field, |path| media::hash(kind, path))?;
    let checked = media::check(kind, file.path());
    checked.map_err(|error: Error| file.error(error, field))
}

fn pixel() -> Result<Image> {
    Image::new(1, 1, vec![0; 3])
}
