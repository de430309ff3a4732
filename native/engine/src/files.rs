//! Files on disk: opens and hashes them, and explains what the system refuses.

mod hash;
mod named;
mod open;
mod url;

pub use hash::{hash_file, hex};
pub use named::NamedFile;
pub(crate) use open::open_regular;
pub use open::{folder_of, io_error};
pub use url::MAX_DATA_URL;
