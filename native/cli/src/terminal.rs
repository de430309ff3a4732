//! The terminal: progress, Ctrl-C, warnings, and lines for people and scripts.

mod display;
mod interrupt;
mod reporter;
mod seconds;
mod summary;
pub mod table;
mod text;

pub use display::Display;
pub use interrupt::{EXIT_CANCELLED, Interrupt};
pub use reporter::Reporter;
pub use seconds::Seconds;
pub use summary::{summary, tell};
pub use text::printable;
