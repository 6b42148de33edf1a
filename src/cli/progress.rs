//! What a person at a terminal sees while pipelines run: a bar for files, a few lines for the demo;
//! plain log lines where there is no terminal.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

use crate::model::{Clock, TimestampMs};
use crate::pipeline::Status;
use crate::source::FileProgress;

/// How often the terminal is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(250);
/// How often a line is logged where there is no terminal.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Shows the progress of a pipeline.
#[derive(Debug)]
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    files: Option<FileProgress>,
    shown: Shown,
    next: Instant,
}

/// What was shown last, for rates.
#[derive(Debug)]
struct Shown {
    at: Instant,
    events: u64,
    samples: u64,
}

impl Progress {
    /// A bar over the bytes of files.
    pub(super) fn of_files(files: FileProgress) -> Self {
        let style = "{bar:30} {percent:>3} %  {msg}  {eta} left";
        Self::new(Some(files), ProgressBar::new(1), style)
    }

    /// A line that is drawn again and again.
    pub(super) fn live() -> Self {
        Self::new(None, ProgressBar::new_spinner(), "{spinner} {msg}")
    }

    fn new(files: Option<FileProgress>, bar: ProgressBar, style: &str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            // A template is a constant; a wrong one shows as the default style.
            bar.with_style(
                ProgressStyle::with_template(style)
                    .unwrap_or_else(|_| ProgressStyle::default_bar()),
            )
        });
        let now = Instant::now();
        Self { bar, files, shown: Shown { at: now, events: 0, samples: 0 }, next: now }
    }

    /// To be called often; shows something when it is time.
    pub(super) fn update(&mut self, status: &Status) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        self.next = now + if self.bar.is_some() { DRAW_EVERY } else { LOG_EVERY };
        let seconds = now.duration_since(self.shown.at).as_secs_f64();
        if seconds <= 0.0 {
            return;
        }
        let rate = |now: u64, before: u64| (now.saturating_sub(before)) as f64 / seconds;
        let events = rate(status.events, self.shown.events);
        let samples = rate(status.samples, self.shown.samples);
        self.shown = Shown { at: now, events: status.events, samples: status.samples };
        match &self.bar {
            None => log(status, events, samples),
            Some(bar) => {
                if let Some(files) = &self.files {
                    bar.set_length(files.total_bytes().max(1));
                    bar.set_position(files.read_bytes());
                    bar.set_message(format!("{} events/s", count(events)));
                } else {
                    bar.set_message(line(status, events, samples));
                    bar.tick();
                }
            }
        }
    }

    /// Takes the bar away.
    pub(super) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

/// How far the watermark is behind the clock, seconds.
fn lag(status: &Status) -> Option<f64> {
    let behind: TimestampMs = Clock::System.now_ms() - status.watermark_ms?;
    Some(behind as f64 / 1e3)
}

fn line(status: &Status, events: f64, samples: f64) -> String {
    let lag = lag(status).map_or_else(|| "-".to_owned(), |lag| format!("{lag:.1} s"));
    format!(
        "{:>11} events/s  {:>7} samples/s  watermark lag {lag:>6}  late {}  dropped {}",
        count(events),
        count(samples),
        HumanCount(status.late),
        HumanCount(status.dropped),
    )
}

fn log(status: &Status, events: f64, samples: f64) {
    tracing::info!(
        events_per_s = events.round(),
        samples_per_s = samples.round(),
        watermark_lag_s = lag(status),
        late = status.late,
        dropped = status.dropped,
        "running"
    );
}

fn count(rate: f64) -> HumanCount {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate is positive, and saturates"
    )]
    HumanCount(rate.round() as u64)
}
