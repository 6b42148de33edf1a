//! The program: parse the arguments, start logging, do what is asked.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let arguments = weir::cli::Arguments::parse();
    weir::cli::run(arguments)
}
