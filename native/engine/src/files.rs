//! Files on disk: opens and hashes them, replaces them whole, and explains what the system refuses.

mod hash;
mod lock;
mod named;
mod open;
mod recorded;
mod remembered;
#[cfg(feature = "hub")]
mod space;
mod stage;
mod sync;
mod temporary;
mod url;
mod writing;

pub use hash::{hash_file, hex};
pub use lock::LockFile;
pub use named::NamedFile;
pub(crate) use named::outside;
#[cfg(unix)]
pub(crate) use open::is_pipe;
pub use open::{folder_of, io_error, open_regular, open_stream};
pub use recorded::Trust;
pub(crate) use recorded::{Place, find};
pub(crate) use remembered::{Remembered, Stamp};
#[cfg(feature = "hub")]
pub(crate) use space::free_space;
pub use stage::{Stage, is_converted, recover, stranger};
pub(crate) use sync::sync_folder;
pub use temporary::sweep;
pub(crate) use temporary::temporary;
pub use url::MAX_DATA_URL;
pub(crate) use writing::write_error;
