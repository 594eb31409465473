//! The `stratus` program: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    stratus::cli::main()
}
