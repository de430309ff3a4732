//! Pictures in HEIF containers: HEIC, as phones write it, and AVIF. Grids of tiles are put together,
//! transparency is kept, and the picture is turned as its properties say.
//!
//! Source: ISO/IEC 23008-12 and ISO/IEC 23000-22. ffmpeg decodes the coded pictures, which are handed to
//! it as one plain stream, since older releases know no such container, and none knows all of this. Exif's
//! orientation is not applied: in these files it repeats what the properties say. Not here: overlays,
//! sequences, clean apertures, gain maps.

mod boxes;
mod decode;
mod meta;
mod plane;
mod still;
mod stream;

pub use self::decode::decode;
pub use self::still::read;
