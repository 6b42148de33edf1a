//! What a command line asks for, done.

use std::fs::File;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use weirgen::sink::{Sink, SinkError};
use weirgen::{Fleet, Pacer, Target, write_reference};

use crate::args::Args;
use crate::progress::Progress;
use crate::stop::StopSignal;

/// The longest sleep, so that a signal is noticed and progress is shown.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);
/// Without pauses, progress is looked at once in so many events.
const PROGRESS_EVERY: u64 = 4_096;

/// Writes the reference file and the events.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    if let Some(path) = &args.reference {
        write_reference_file(path, args.vehicles)?;
    }
    let Some(target) = &args.target else {
        return Ok(());
    };
    match send_events(args, target) {
        Err(error) if error.downcast_ref().is_some_and(SinkError::is_broken_pipe) => Ok(()),
        result => result,
    }
}

fn write_reference_file(path: &Path, vehicles: u32) -> anyhow::Result<()> {
    let mut file =
        File::create(path).with_context(|| format!("cannot create '{}'", path.display()))?;
    write_reference(&mut file, vehicles)
        .with_context(|| format!("cannot write '{}'", path.display()))
}

fn send_events(args: &Args, target: &Target) -> anyhow::Result<()> {
    if args.is_endless_file(target) {
        bail!("a file without an end would fill the disk; give --seconds, --events or --rate");
    }
    // The values are checked before a broker is bothered, the clock starts once it is there.
    args.fleet(0).check()?;
    let stop = StopSignal::listen().context("cannot listen for signals")?;
    let sink = Sink::open(target)?;
    let config = args.fleet(now_ms()?);
    let started = Instant::now();
    let limits = Limits {
        events: args.events.unwrap_or(u64::MAX),
        end_ms: args.seconds.map_or(u64::MAX, |seconds| {
            config
                .start_ms
                .saturating_add(seconds.saturating_mul(1_000))
        }),
    };
    let run = Run {
        sink,
        pacer: args
            .is_paced(target)
            .then(|| Pacer::new(config.start_ms, started)),
        progress: Progress::new(started),
        stop,
        sent: 0,
    };
    run.send(Fleet::new(config)?, &limits)?;
    Ok(())
}

/// Where the stream is cut off.
struct Limits {
    /// After so many events.
    events: u64,
    /// Before the first event that is emitted at this time, milliseconds since the epoch.
    end_ms: u64,
}

/// A run on its way.
struct Run {
    sink: Sink,
    pacer: Option<Pacer>,
    progress: Progress,
    stop: StopSignal,
    sent: u64,
}

impl Run {
    /// Sends events up to the limits or a signal.
    fn send(mut self, mut fleet: Fleet, limits: &Limits) -> Result<(), SinkError> {
        while self.sent < limits.events && !self.stop.is_set() {
            let event = fleet.next_event();
            if event.emission_ms >= limits.end_ms || !self.wait_until_due(event.emission_ms)? {
                break;
            }
            self.sink.send(&event)?;
            self.sent += 1;
            if self.sent.is_multiple_of(PROGRESS_EVERY) {
                self.progress
                    .show(self.sent, self.pacer.as_ref(), Instant::now());
            }
        }
        self.sink.finish()?;
        self.progress.finish(self.sent, self.pacer.as_ref());
        Ok(())
    }

    /// Sleeps until an event is due; false when a signal came first.
    fn wait_until_due(&mut self, emission_ms: u64) -> Result<bool, SinkError> {
        loop {
            let Some(pacer) = &mut self.pacer else {
                return Ok(true);
            };
            if pacer.is_current(emission_ms) {
                return Ok(true);
            }
            let now = Instant::now();
            let pause = pacer.pause(emission_ms, now);
            self.progress.show(self.sent, Some(pacer), now);
            if pause.is_zero() {
                return Ok(true);
            }
            if self.stop.is_set() {
                return Ok(false);
            }
            self.sink.flush()?;
            thread::sleep(pause.min(LONGEST_SLEEP));
        }
    }
}

fn now_ms() -> anyhow::Result<u64> {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the system's clock is before 1970; set it, or give --start-ms")?;
    Ok(since_epoch.as_millis() as u64)
}
