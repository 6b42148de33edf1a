//! What can be asked for.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::dead_letters::DeadLettersCommand;
use crate::model::Duration;
use crate::pipeline::{InvalidName, Restore, check_savepoint_name};
use crate::telemetry::log::LogFormat;

/// A fleet's events in, a few well-made Prometheus series out.
#[derive(Debug, Parser)]
#[command(version, about, after_help = EXAMPLES, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
    /// How logs are written to standard error.
    #[arg(long, global = true, value_enum, default_value = "human")]
    pub(super) log_format: LogFormatArgument,
    /// A level (error, warn, info, debug, trace), or levels by module: info,weir::write=debug.
    #[arg(long, global = true, env = "WEIR_LOG", default_value = "info")]
    pub(super) log_level: String,
}

const EXAMPLES: &str = "\
Examples:
  weir demo                                            simulate a fleet into the Prometheus at :9090
  weir validate pipelines/*.yaml                       check pipeline files
  weir run pipelines/connected-cars.yaml               run a pipeline until it is stopped
  weir run cars.yaml --input events.ndjson --output -  see what a pipeline makes of a file
  weir savepoint create cars.yaml before-upgrade       keep the state of a pipeline that runs
  weir run cars.yaml --restore before-upgrade          go on from there
  weir run cars.yaml --set write.remote_write.url=http://prometheus:9090/api/v1/write";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run pipelines until their input ends or they are stopped.
    Run(RunArguments),
    /// Check pipeline files and say everything that is wrong with them.
    Validate(ValidateArguments),
    /// Print the JSON Schema of pipeline files, for editors.
    Schema,
    /// Simulate a fleet of connected cars into a Prometheus.
    Demo(DemoArguments),
    /// Make savepoints of a pipeline's state while it runs, and manage them.
    #[command(subcommand)]
    Savepoint(SavepointCommand),
    /// Look into a pipeline's state.
    #[command(subcommand)]
    State(StateCommand),
    /// Look at the samples that a pipeline's receiver does not take, send them again or remove them.
    #[command(subcommand)]
    Rejected(RejectedCommand),
    /// Look at the records that reached no window, or send them to the pipeline again.
    #[command(subcommand)]
    DeadLetters(DeadLettersCommand),
}

/// What can be done with rejected samples.
#[derive(Debug, Subcommand)]
pub(super) enum RejectedCommand {
    /// List how many there are, by status and metric, with the receiver's last words.
    List(RejectedArguments),
    /// Show them one by one: series, time, value, status and the receiver's words.
    Show(ShowRejectedArguments),
    /// Send them again. What is rejected once more stays.
    Replay(ReplayArguments),
    /// Remove them all.
    Purge(RejectedArguments),
}

#[derive(Debug, Args)]
pub(super) struct RejectedArguments {
    /// The pipeline file.
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// Set a value of the pipeline file, as for run.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub(super) set: Vec<Setting>,
    /// The name of the receiver, where the pipeline has several.
    #[arg(long, value_name = "NAME")]
    pub(super) receiver: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ShowRejectedArguments {
    #[command(flatten)]
    pub(super) rejected: RejectedArguments,
    /// Only those of this metric.
    #[arg(long, value_name = "NAME")]
    pub(super) metric: Option<String>,
    /// How many, the last ones.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(super) limit: usize,
}

#[derive(Debug, Args)]
pub(super) struct ReplayArguments {
    #[command(flatten)]
    pub(super) rejected: RejectedArguments,
    /// How long it may take.
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    pub(super) drain: Duration,
}

/// What can be done with savepoints.
#[derive(Debug, Subcommand)]
pub(super) enum SavepointCommand {
    /// Make a savepoint of a pipeline that runs, without stopping it.
    Create(SavepointArguments),
    /// List the savepoints of a pipeline.
    List(StateArguments),
    /// Show what is in a savepoint.
    Show(SavepointArguments),
    /// Delete a savepoint.
    Delete(SavepointArguments),
    /// Write a savepoint to a file, for another store or machine.
    Export(SavepointFileArguments),
    /// Take in a savepoint that was exported.
    Import(SavepointFileArguments),
}

/// What can be seen of state.
#[derive(Debug, Subcommand)]
pub(super) enum StateCommand {
    /// Show positions, watermarks, windows and sizes of the latest checkpoint, or of a savepoint.
    Inspect(InspectArguments),
}

#[derive(Debug, Args)]
pub(super) struct StateArguments {
    /// The pipeline file.
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// Set a value of the pipeline file, as for run.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub(super) set: Vec<Setting>,
    /// Where the weir that runs the pipeline listens.
    #[arg(long, value_name = "ADDRESS", default_value = Listen::DEFAULT)]
    pub(super) address: String,
}

#[derive(Debug, Args)]
pub(super) struct SavepointArguments {
    #[command(flatten)]
    pub(super) state: StateArguments,
    /// The savepoint.
    #[arg(value_name = "NAME", value_parser = savepoint_name)]
    pub(super) name: String,
}

#[derive(Debug, Args)]
pub(super) struct SavepointFileArguments {
    #[command(flatten)]
    pub(super) savepoint: SavepointArguments,
    /// The savepoint's file.
    #[arg(value_name = "SAVEPOINT-FILE")]
    pub(super) path: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct InspectArguments {
    #[command(flatten)]
    pub(super) state: StateArguments,
    /// A savepoint in place of the latest checkpoint.
    #[arg(long, value_name = "NAME", value_parser = savepoint_name)]
    pub(super) savepoint: Option<String>,
}

fn savepoint_name(text: &str) -> Result<String, InvalidName> {
    check_savepoint_name(text).map(|()| text.to_owned())
}

#[derive(Debug, Args)]
pub(super) struct RunArguments {
    /// Pipeline files.
    #[arg(required = true, value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
    /// Set a value of the pipeline file: write.remote_write.url=http://prometheus:9090/api/v1/write
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub(super) set: Vec<Setting>,
    /// Read events from this file (- for standard input) in place of the source, and end with it.
    /// May be given several times; every file is a split of its own. Such a run keeps no state, and
    /// leaves that of state.dir alone.
    #[arg(long, value_name = "EVENTS.ndjson")]
    pub(super) input: Vec<String>,
    /// Write samples to this file (- for standard output) in place of the receiver, a JSON object a
    /// line.
    #[arg(long, value_name = "SAMPLES.ndjson")]
    pub(super) output: Option<String>,
    /// How many workers decode and aggregate [default: one for each processor core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(super) workers: Option<u32>,
    /// Where /metrics, /-/healthy and /-/ready are served, or none [default: 127.0.0.1:9464; none
    /// with --input].
    #[arg(long, value_name = "ADDRESS")]
    pub(super) listen: Option<Listen>,
    /// How long stopping may take; samples that are not written by then are given up.
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    pub(super) drain: Duration,
    /// Which state to start from: latest (the newest checkpoint, if there is one), fresh (none), or
    /// the name of a savepoint. With state.dir only.
    #[arg(
        long,
        value_name = "STATE",
        default_value = "latest",
        conflicts_with = "input"
    )]
    pub(super) restore: Restore,
    /// Start even where the pipeline has no use for some of the state any more, and drop that.
    #[arg(long, conflicts_with = "input")]
    pub(super) allow_dropped_state: bool,
}

#[derive(Debug, Args)]
pub(super) struct ValidateArguments {
    /// Pipeline files.
    #[arg(required = true, value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
    /// Set a value of the pipeline file, as for run.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub(super) set: Vec<Setting>,
}

#[derive(Debug, Args)]
pub(super) struct DemoArguments {
    /// How many vehicles to simulate.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(super) vehicles: u32,
    /// Events a second of the whole fleet [default: three for each vehicle].
    #[arg(long, value_name = "EVENTS/S", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(super) rate: Option<u64>,
    /// How long to simulate; 0 is until Ctrl-C.
    #[arg(long, value_name = "N", default_value_t = 60)]
    pub(super) seconds: u64,
    /// The receiver's Remote-Write address.
    #[arg(
        long,
        value_name = "URL",
        default_value = "http://127.0.0.1:9090/api/v1/write"
    )]
    pub(super) remote_write: String,
    /// Where /metrics, /-/healthy and /-/ready are served, or none.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9464")]
    pub(super) listen: Listen,
    /// The seed of everything random in the simulation.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
}

/// `path=value`.
#[derive(Debug, Clone)]
pub(super) struct Setting(pub(super) String, pub(super) String);

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (path, value) = text
            .split_once('=')
            .ok_or_else(|| format!("'{text}' has no '='; write PATH=VALUE, such as workers=2"))?;
        Ok(Self(path.to_owned(), value.to_owned()))
    }
}

/// An address or `none`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Listen {
    None,
    At(SocketAddr),
}

impl Listen {
    /// The address of `weir run` where none is given.
    pub(super) const DEFAULT: &str = "127.0.0.1:9464";

    pub(super) fn address(self) -> Option<SocketAddr> {
        match self {
            Self::None => None,
            Self::At(address) => Some(address),
        }
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::None),
            _ => text.parse().map(Self::At).map_err(|_| {
                format!("'{text}' is no address; write IP:PORT, such as 0.0.0.0:9464, or none")
            }),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormatArgument {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

impl From<LogFormatArgument> for LogFormat {
    fn from(argument: LogFormatArgument) -> Self {
        match argument {
            LogFormatArgument::Human => Self::Human,
            LogFormatArgument::Json => Self::Json,
        }
    }
}
