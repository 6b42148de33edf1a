//! `weirgen`: the events of a fleet of connected cars, into a file, Kafka or MQTT.

mod args;
mod duration;
mod progress;
mod run;
mod stop;

use std::io::{Write, stderr};
use std::process::ExitCode;

use clap::Parser;

use args::Args;

fn main() -> ExitCode {
    match run::run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without standard error there is nobody left to tell.
            drop(writeln!(stderr(), "weirgen: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
