//! The x2i command line: what it does, as a library so that tests can reach devices and sources.

mod adapters;
pub mod bench;
pub mod chat;
pub mod flags;
pub mod convert;
pub mod doctor;
mod engine;
pub mod gallery;
pub mod generate;
pub mod inspect;
mod job;
mod parts;
mod progress;
mod table;
mod weights_report;
mod words;

/// The exit code after Ctrl-C: 128 and SIGINT's number, as shells have it.
pub const EXIT_CANCELLED: u8 = 130;

/// The chain of causes on one line, in this program's words; a cause that the message above it
/// already quotes is left out.
pub fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let cause = match cause.downcast_ref() {
            Some(error) => words::sentence(error),
            None => cause.to_string(),
        };
        if line.contains(&cause) {
            continue;
        }
        if !line.is_empty() {
            line.push_str(": ");
        }
        line.push_str(&cause);
    }
    // Line ends of a parser's or a driver's message, and whatever a file name may hold.
    line.split(|c: char| c.is_control())
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}
