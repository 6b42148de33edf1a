//! `weir validate`.

use std::process::ExitCode;

use super::arguments::{Setting, ValidateArguments};
use super::{USAGE, report};
use crate::config::{self, Overrides};

/// Checks files and says what is wrong with each.
pub(super) fn validate(arguments: &ValidateArguments) -> anyhow::Result<ExitCode> {
    let overrides = Overrides {
        set: settings(&arguments.set),
        ..Overrides::default()
    };
    let mut code = ExitCode::SUCCESS;
    for file in &arguments.files {
        match config::load(file, &overrides) {
            Ok(pipeline) => {
                let metrics = pipeline.metrics.len();
                let plural = if metrics == 1 { "" } else { "s" };
                println!("{}: ok, {metrics} metric{plural}", file.display());
                for note in pipeline.notes() {
                    println!("{}: note: {note}", file.display());
                }
            }
            Err(error) => {
                report(&error.into());
                code = ExitCode::from(USAGE);
            }
        }
    }
    Ok(code)
}

pub(super) fn settings(settings: &[Setting]) -> Vec<(String, String)> {
    settings
        .iter()
        .map(|Setting(path, value)| (path.clone(), value.clone()))
        .collect()
}
