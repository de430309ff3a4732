//! Terminal output: progress, warnings and results for people and scripts; and Ctrl-C.

mod checking;
mod display;
mod interrupt;
#[cfg(feature = "hub")]
mod pulling;
mod reporter;
mod seconds;
mod summary;
pub mod table;
mod text;

pub use checking::Checking;
pub use display::Display;
pub use interrupt::{EXIT_CANCELLED, Interrupt};
#[cfg(feature = "hub")]
pub use pulling::PullProgress;
pub use reporter::Reporter;
pub use seconds::Seconds;
pub use summary::{summary, tell, tell_skipped};
pub use text::{printable, printable_json, printable_lines};
