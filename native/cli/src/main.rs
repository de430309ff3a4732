//! The x2i program: reads the command line, runs it, and matches the error once.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use x2i::flags::{Cli, Command};
use x2i::terminal::EXIT_CANCELLED;
use x2i::words::one_line;
use x2i_core::Error;
use x2i_engine::allocator;

fn main() -> ExitCode {
    allocator::keep_freed_memory();
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

/// Keeps Mesa's device-select layer out of Vulkan's way: without a desktop it writes errors of its
/// own to stderr, and it only reorders devices, which we do ourselves. Whoever asks for it has it.
fn silence_device_select() {
    let asked_for = ["NODEVICE_SELECT", "MESA_VK_DEVICE_SELECT", "DRI_PRIME"];
    if cfg!(target_os = "linux")
        && asked_for
            .iter()
            .all(|name| std::env::var_os(name).is_none())
    {
        // SAFETY: the program begins; there is no other thread yet.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let mut causes = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    causes.any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}
