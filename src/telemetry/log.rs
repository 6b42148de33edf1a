//! Structured logs, for people or as JSON, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt;

/// Below this the SDK of AWS logs whole answers, with the credentials in them, whatever is asked for.
const WITHOUT_SECRETS: &str = "aws_smithy_runtime=debug";

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// Starts logging to standard error. `filter` is a level (`info`) or a list of levels by module
/// (`info,weir::write=debug`).
///
/// # Errors
/// The filter cannot be read.
pub fn start(
    format: LogFormat,
    filter: &str,
) -> Result<(), tracing_subscriber::filter::ParseError> {
    let mut filter = EnvFilter::builder().parse(filter)?;
    // Only then: otherwise it would say more than was asked for, some lines for each request to Kinesis.
    if filter
        .max_level_hint()
        .is_none_or(|level| level == LevelFilter::TRACE)
    {
        filter = filter.add_directive(WITHOUT_SECRETS.parse()?);
    }
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Human => builder
            .with_ansi(std::io::stderr().is_terminal())
            .try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    // A second start in one process (tests) keeps the first subscriber.
    drop(started);
    Ok(())
}
