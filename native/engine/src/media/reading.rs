//! How input files are read.

pub use x2i_core::Background;
use x2i_core::video::sampling::Sampling;

/// How input files are read. A [`Sampling`] alone is converted with the defaults.
#[derive(Clone, Copy)]
pub struct Reading<'a> {
    /// The frames that are taken of a video.
    pub sampling: Sampling,
    /// What lies under transparent pixels.
    pub background: Background,
    /// Asked often, also while a program reads the file; `true` ends the reading with
    /// [`x2i_core::Error::Cancelled`].
    pub cancelled: &'a dyn Fn() -> bool,
}

/// Never cancels.
pub fn never() -> bool {
    false
}

impl From<Sampling> for Reading<'_> {
    fn from(sampling: Sampling) -> Self {
        Self {
            sampling,
            background: Background::default(),
            cancelled: &never,
        }
    }
}

impl Default for Reading<'_> {
    fn default() -> Self {
        Sampling::Even { fps: 2.0 }.into()
    }
}
