//! The command line.

#[macro_use]
mod output;

mod arguments;
mod dead_letters;
mod demo;
mod demo_source;
mod progress;
mod rejected;
mod run;
mod running_savepoints;
mod savepoint;
mod signals;
mod state;
mod table;
mod validate;

use std::process::ExitCode;

pub use arguments::Arguments;
use arguments::Command;

use crate::telemetry::{log, with_causes};

/// Exit code of a command that could not do its work.
const FAILED: u8 = 1;
/// Exit code of arguments or pipeline files that are wrong.
const USAGE: u8 = 2;

/// Does what the arguments ask.
pub fn run(arguments: Arguments) -> ExitCode {
    if let Err(error) = log::start(arguments.log_format.into(), &arguments.log_level) {
        tracing::error!(%error, "--log-level cannot be read");
        return ExitCode::from(USAGE);
    }
    let result = match arguments.command {
        Command::Run(run) => run::run(&run),
        Command::Validate(validate) => validate::validate(&validate),
        Command::Schema => print_schema(),
        Command::Demo(demo) => demo::demo(&demo),
        Command::Savepoint(command) => savepoint::savepoint(&command),
        Command::State(command) => state::state(&command),
        Command::DeadLetters(command) => dead_letters::dead_letters(&command),
        Command::Rejected(command) => rejected::rejected(&command),
    };
    match result {
        Ok(_) if output::has_failed() => ExitCode::from(FAILED),
        Ok(code) => code,
        Err(error) => {
            report(&error);
            let is_usage = error.downcast_ref::<crate::config::LoadError>().is_some();
            ExitCode::from(if is_usage { USAGE } else { FAILED })
        }
    }
}

/// Problems of a pipeline file are drawn over several lines, so they do not go through the log.
#[expect(clippy::print_stderr, reason = "the command's last words")]
fn report(error: &anyhow::Error) {
    match error.downcast_ref::<crate::config::LoadError>() {
        Some(problems) => eprintln!("{problems}"),
        None => eprintln!("weir: {}", with_causes(error.as_ref())),
    }
}

fn print_schema() -> anyhow::Result<ExitCode> {
    println!(
        "{}",
        serde_json::to_string_pretty(&crate::config::schema())?
    );
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;

    use anyhow::anyhow;

    use super::*;
    use crate::write::WriteError;

    #[test]
    fn a_cause_is_said_once() {
        let error = WriteError::Open {
            path: PathBuf::from("a"),
            error: io::Error::other("disk on fire"),
        };
        let error = anyhow::Error::from(error).context("pipeline cars");
        let words = "pipeline cars: cannot open a for writing: disk on fire";
        assert_eq!(with_causes(error.as_ref()), words);
        let error = anyhow!("disk on fire").context("cannot start");
        assert_eq!(with_causes(error.as_ref()), "cannot start: disk on fire");
    }
}
