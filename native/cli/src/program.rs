//! The whole program: parses the command line, runs the command and prints its error.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use x2i_core::Error;
use x2i_engine::{allocator, output, stack};

use crate::flags::{Cli, Command, arguments};
#[cfg(feature = "hub")]
use crate::pull;
use crate::terminal::{EXIT_CANCELLED, printable};
use crate::words::{cut, one_line};
use crate::{bench, chat, convert, doctor, gallery, generate, inspect, models, train};

/// What a process ends with after an error.
const EXIT_FAILURE: u8 = 1;

/// Runs the command of this process's arguments; the first thing that a program does, before it starts threads.
pub fn main() -> ExitCode {
    run(std::env::args_os()).into()
}

/// As [`main`], with arguments, the first of which is the program's name; gives the exit code.
pub fn run(given: impl IntoIterator<Item = OsString>) -> u8 {
    allocator::keep_freed_memory();
    output::refuse_size_signal();
    silence_device_select();
    let given: Vec<OsString> = given.into_iter().collect();
    stack::with_stack(|| program(given))
}

/// The whole program after the settings of its process.
fn program(given: Vec<OsString>) -> u8 {
    let cli = match Cli::try_parse_from(arguments(given)) {
        Ok(cli) => cli,
        Err(error) => refuse(&error),
    };
    let outcome = match &cli.command {
        Command::Generate(args) => generate::run(args),
        Command::Chat(args) => chat::run(args),
        Command::Gallery(args) => gallery::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Convert(args) => convert::run(args),
        #[cfg(feature = "serve")]
        Command::Serve(args) => crate::serve::run(args),
        #[cfg(feature = "hub")]
        Command::Pull(args) => pull::run(args),
        Command::Models(args) => models::run(args),
        #[cfg(feature = "serve")]
        Command::Worker(args) => crate::worker::run(args),
        Command::Train(command) => train::run(command),
        Command::Bench(args) => bench::run(args),
    };
    let Err(error) = outcome else {
        return 0;
    };
    if is_closed_pipe(&error) {
        return EXIT_FAILURE; // `x2i inspect model | head` needs no message
    }
    if let Some(Error::Cancelled) = error.downcast_ref().map(Error::root) {
        let _ = writeln!(std::io::stderr(), "cancelled");
        return EXIT_CANCELLED;
    }
    let _ = writeln!(std::io::stderr(), "error: {}", one_line(&error));
    EXIT_FAILURE
}

/// Prints clap's error or help and ends; values that it quotes may be long or hostile.
fn refuse(error: &clap::Error) -> ! {
    let message = error.render().to_string();
    let lines = message.lines().map(|line| cut(&printable(line)));
    let safe = lines.collect::<Vec<_>>().join("\n") + "\n";
    if !error.use_stderr() || safe.trim_end() == message.trim_end() {
        error.exit() // with colours, on a terminal
    }
    let _ = write!(std::io::stderr(), "{safe}");
    std::process::exit(error.exit_code())
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
