//! The x2i program.

use std::process::ExitCode;

fn main() -> ExitCode {
    x2i::program::main()
}
