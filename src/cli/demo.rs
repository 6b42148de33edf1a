//! `weir demo`: a simulated fleet through the connected-cars pipeline into a Prometheus.

use std::fs::{self, File};
use std::io::BufWriter;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indicatif::HumanCount;
use tokio::runtime::Runtime;
use weirgen::{Fleet, FleetConfig};

use super::FAILED;
use super::arguments::DemoArguments;
use super::demo_source::{FleetSource, Span};
use super::progress::Progress;
use super::run::{conclude, handles, listen_at, serve, watch};
use super::signals::stop_on_signal;
use crate::config::{self, Overrides, Pipeline};
use crate::model::Clock;
use crate::pipeline::{Options, PipelineError, Restore, Running, SourceOf, Supervisor};
use crate::source::{FileProgress, SourceMetrics};

/// The pipeline of the demo, the same that the repository shows.
const PIPELINE: &str = include_str!("../../pipelines/connected-cars.yaml");
/// The fleet begins at a multiple of this, so that the first window is whole, ms.
const WINDOW_MS: i64 = 5_000;
/// How long the last samples may take.
const DRAIN: Duration = Duration::from_secs(30);

/// Simulates a fleet.
pub(super) fn demo(arguments: &DemoArguments) -> Result<ExitCode> {
    expect_receiver(&arguments.remote_write)?;
    let folder = Scratch::new()?;
    let reference = folder.0.join("vehicles.csv");
    let file = File::create(&reference).context("cannot write the reference table")?;
    weirgen::write_reference(&mut BufWriter::new(file), arguments.vehicles)
        .context("cannot write the reference table")?;
    let mut pipeline = load(&arguments.remote_write, &reference)?;
    // A simulation that has ended is not gone on with.
    pipeline.state = None;

    let start_ms = Clock::System.now_ms() / WINDOW_MS * WINDOW_MS;
    let mut fleet = FleetConfig::new(arguments.vehicles);
    fleet.seed = arguments.seed;
    fleet.start_ms = u64::try_from(start_ms).context("the clock is before 1970")?;
    if let Some(rate) = arguments.rate {
        fleet.events_per_second = rate;
    }
    tracing::info!(
        vehicles = arguments.vehicles,
        events_per_s = fleet.events_per_second,
        seconds = arguments.seconds,
        into = arguments.remote_write,
        "simulating a fleet"
    );
    let workers = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let splits = u32::try_from(workers)?.min(arguments.vehicles);
    let span = Span::new(fleet.start_ms, arguments.seconds);
    let fleet = Fleet::new(fleet)?;
    let options = Options {
        workers: Some(workers),
        clock: Clock::System,
        progress: FileProgress::default(),
        restore: Restore::Latest,
        allow_dropped_state: false,
    };
    let runtime = Runtime::new().context("cannot start the runtime")?;
    let server = listen_at(&runtime, arguments.listen.address())?;
    let handle = runtime.handle().clone();
    let mut fleet = Some(fleet);
    let start = move || {
        // The simulation cannot be repeated, so it is not restarted either.
        let Some(fleet) = fleet.take() else {
            return Err(PipelineError::Invalid("the fleet is used up".to_owned()));
        };
        let source = SourceOf::Made(Box::new(move |registry| {
            Box::new(FleetSource::new(
                fleet,
                span,
                splits,
                SourceMetrics::new(registry),
            ))
        }));
        Running::start(&pipeline, source, &options, handle.clone())
    };
    let running = [Supervisor::start("connected-cars", None, DRAIN, start)?];
    let health = serve(&runtime, server, &running);
    stop_on_signal(runtime.handle(), handles(&running)).context("cannot handle signals")?;
    watch(&running, Some(Progress::live()));
    health.set_ready(false);
    let [running] = running;
    let (finished, went_well) = conclude(running);
    let (events, samples) = (finished.status.events, finished.written.written);
    // A receiver may refuse everything, and then nothing has arrived.
    let went_well = went_well && (samples > 0 || events == 0);
    runtime.shutdown_background();
    println!(
        "{} events in, {} samples out: {} events a sample",
        HumanCount(events),
        HumanCount(samples),
        HumanCount(events / samples.max(1)),
    );
    Ok(if went_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    })
}

fn load(url: &str, reference: &Path) -> Result<Pipeline> {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let overrides = Overrides {
        set: vec![
            ("write.remote_write.url".to_owned(), quoted(url)),
            (
                "enrich.0.from.csv".to_owned(),
                quoted(&reference.display().to_string()),
            ),
        ],
        ..Overrides::default()
    };
    let name = "pipelines/connected-cars.yaml";
    config::load_text(
        name,
        PIPELINE,
        PathBuf::new(),
        &overrides,
        &config::process_variable,
    )
    .map_err(|problems| config::LoadError::Problems(problems).into())
}

/// A demo into nothing would only retry: says so at once.
fn expect_receiver(url: &str) -> Result<()> {
    let parsed = reqwest::Url::parse(url).with_context(|| format!("'{url}' is not an address"))?;
    let host = parsed.host_str().unwrap_or_default();
    let port = parsed.port_or_known_default().unwrap_or(80);
    let addresses = (host, port).to_socket_addrs();
    let answers = addresses.is_ok_and(|mut addresses| {
        addresses.any(|at| TcpStream::connect_timeout(&at, Duration::from_secs(3)).is_ok())
    });
    if !answers {
        bail!(
            "nothing answers at {url}; start a Prometheus there with \
             --web.enable-remote-write-receiver, or give another address with --remote-write"
        );
    }
    Ok(())
}

/// A folder that goes with the demo.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("weir-demo-{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, folder = %self.0.display(), "cannot remove the scratch folder");
        }
    }
}
