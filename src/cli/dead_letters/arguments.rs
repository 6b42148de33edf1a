//! What can be asked of dead letters.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::super::arguments::Setting;
use crate::model::{Clock, Duration, TimestampMs};

/// What can be done with dead letters.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum DeadLettersCommand {
    /// List them, the newest last, with the beginning of each record and the totals by reason.
    List(ListArguments),
    /// Show one of them whole: where it came from, why it is here, and its record.
    Show(ShowArguments),
    /// Hand the records back to the pipeline's source, once the pipeline file is mended.
    #[command(long_about = REPLAY)]
    Replay(ReplayArguments),
}

const REPLAY: &str = "\
Hand the records back to the pipeline's source, once the pipeline file is mended.

Each record is decoded with the pipeline file as it is now. Those that still give no event stay where they
are, and the reasons are told; the others go back to where the pipeline reads: with their keys to their Kafka
topic, to their MQTT topic, or with POST to the pipeline's own HTTP address. A pipeline that reads files gets
them as a file, for weir run --input. Births and data of Sparkplug B mean something in their order alone, and
are not sent again.

What was sent again is noted and not sent another time. Events are counted by their own time, so those of
windows that are written already come too late: run the pipeline over a file of them where they are to count.
In such a file, records of formats that are no text stand in Base64; it is then said what to set with weir run.

  weir dead-letters replay cars.yaml --dry-run            is everything mended?
  weir dead-letters replay cars.yaml                      send them again
  weir dead-letters replay cars.yaml --to mended.ndjson   write them to a file instead";

#[derive(Debug, Args)]
pub(in crate::cli) struct LettersArguments {
    /// The pipeline file.
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// Set a value of the pipeline file, as for run.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub(super) set: Vec<Setting>,
}

#[derive(Debug, Args)]
pub(super) struct Selection {
    /// Only those of this reason, such as malformed_json. May be given several times.
    #[arg(long, value_name = "REASON")]
    pub(super) reason: Vec<String>,
    /// Only those dropped since then: a time such as 2026-11-03T08:15:00Z, or how long ago, such as 2h.
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub(super) since: Option<TimestampMs>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ListArguments {
    #[command(flatten)]
    pub(super) letters: LettersArguments,
    #[command(flatten)]
    pub(super) selection: Selection,
    /// How many, the last ones.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(super) limit: usize,
    /// A table for people, or a JSON object a line.
    #[arg(long, value_enum, default_value = "table")]
    pub(super) format: ListFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ListFormat {
    Table,
    Json,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ShowArguments {
    #[command(flatten)]
    pub(super) letters: LettersArguments,
    /// Its number in the list.
    #[arg(value_name = "NUMBER")]
    pub(super) number: u64,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ReplayArguments {
    #[command(flatten)]
    pub(super) letters: LettersArguments,
    #[command(flatten)]
    pub(super) selection: Selection,
    /// Only the one with this number in the list. May be given several times.
    #[arg(long, value_name = "NUMBER")]
    pub(super) number: Vec<u64>,
    /// Send nothing; say what would be sent, and what is still wrong. The exit code is 1 where
    /// something is.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Write the records to this file, a line each, in place of the source.
    #[arg(long, value_name = "RECORDS.ndjson")]
    pub(super) to: Option<PathBuf>,
    /// Also those that were sent again before. They count once more, though the pipeline's HTTP address
    /// knows them already.
    #[arg(long)]
    pub(super) again: bool,
    /// Also records of which some events were counted; these will count twice.
    #[arg(long)]
    pub(super) partial: bool,
    /// Also records whose events have the time of their transport, over MQTT and HTTP: they count at the time of
    /// the replay. They stay otherwise.
    #[arg(long, conflicts_with = "to")]
    pub(super) time_of_replay: bool,
    /// Where the pipeline's HTTP address can be reached, where that is not its own.
    #[arg(long, value_name = "URL")]
    pub(super) url: Option<String>,
    /// The certificate authorities of that address, as PEM.
    #[arg(long, value_name = "FILE")]
    pub(super) ca_file: Option<String>,
    /// A certificate with its chain, as PEM, where that address asks for one.
    #[arg(long, value_name = "FILE", requires = "key_file")]
    pub(super) cert_file: Option<String>,
    /// The key of that certificate, as PEM.
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    pub(super) key_file: Option<String>,
    /// Where it is noted what was sent again [default: FILE.replayed beside a file of letters;
    /// dead-letters.replayed in state.dir for a topic].
    #[arg(long, value_name = "FILE")]
    pub(super) marks: Option<PathBuf>,
}

fn since(text: &str) -> Result<TimestampMs, String> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(time.as_millisecond());
    }
    let ago: Duration = text.parse().map_err(|_| {
        format!(
            "'{text}' is neither a time, such as 2026-11-03T08:15:00Z, nor a duration, such as 2h"
        )
    })?;
    Ok(Clock::System
        .now_ms()
        .saturating_sub(ago.as_signed_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_durations_are_times() {
        assert_eq!(since("2026-11-03T08:15:00Z"), Ok(1_793_693_700_000));
        let before = Clock::System.now_ms();
        let hour = since("1h").unwrap();
        assert!((before - 3_600_000..=Clock::System.now_ms() - 3_600_000).contains(&hour));
        assert!(
            since("yesterday")
                .unwrap_err()
                .starts_with("'yesterday' is neither")
        );
    }
}
