//! The x2i program: parses the command line, runs the command and prints its error.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use x2i::flags::{Cli, Command};
use x2i::terminal::EXIT_CANCELLED;
use x2i::words::one_line;
use x2i_core::Error;
use x2i_engine::{allocator, output};

fn main() -> ExitCode {
    allocator::keep_freed_memory();
    output::refuse_size_signal();
    silence_device_select();
    let outcome = match &Cli::parse().command {
        Command::Generate(args) => x2i::generate::run(args),
        Command::Chat(args) => x2i::chat::run(args),
        Command::Gallery(args) => x2i::gallery::run(args),
        Command::Inspect(args) => x2i::inspect::run(args),
        Command::Doctor(args) => x2i::doctor::run(args),
        Command::Convert(args) => x2i::convert::run(args),
        Command::Bench(args) => x2i::bench::run(args),
    };
    let Err(error) = outcome else {
        return ExitCode::SUCCESS;
    };
    if is_closed_pipe(&error) {
        return ExitCode::FAILURE; // `x2i inspect model | head` needs no message
    }
    if let Some(Error::Cancelled) = error.downcast_ref().map(Error::root) {
        let _ = writeln!(std::io::stderr(), "cancelled");
        return EXIT_CANCELLED.into();
    }
    let _ = writeln!(std::io::stderr(), "error: {}", one_line(&error));
    ExitCode::FAILURE
}

/// Disables Mesa's device-select layer, unless the user has configured it: without a desktop it
/// prints errors to stderr. The layer only sorts devices, which x2i does itself.
fn silence_device_select() {
    let asked_for = ["NODEVICE_SELECT", "MESA_VK_DEVICE_SELECT", "DRI_PRIME"];
    if cfg!(target_os = "linux")
        && asked_for
            .iter()
            .all(|name| std::env::var_os(name).is_none())
    {
        // SAFETY: no other thread has been started yet.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let mut causes = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    causes.any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}
