//! What a person at a terminal sees while pipelines run: a bar for files, a few lines for the demo;
//! plain log lines where there is no terminal.

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

use crate::model::{Clock, TimestampMs};
use crate::pipeline::Status;
use crate::source::FileProgress;

/// How often the terminal is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(250);
/// Rates are over this time: samples come at the pace of windows, many at once.
const RATE_OVER: Duration = Duration::from_secs(10);
/// How often a line is logged where there is no terminal.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Shows the progress of a pipeline.
#[derive(Debug)]
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    files: Option<FileProgress>,
    /// What was seen before, oldest first, for rates.
    seen: VecDeque<Seen>,
    next: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
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
        let next = now + if bar.is_some() { DRAW_EVERY } else { LOG_EVERY };
        let seen = VecDeque::from([Seen {
            at: now,
            events: 0,
            samples: 0,
        }]);
        Self {
            bar,
            files,
            seen,
            next,
        }
    }

    /// To be called often; shows something when it is time.
    pub(super) fn update(&mut self, status: &Status) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        self.next = now
            + if self.bar.is_some() {
                DRAW_EVERY
            } else {
                LOG_EVERY
            };
        let Some((events, samples)) = self.rates(now, status) else {
            return;
        };
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

    /// Events/s and samples/s over the last [`RATE_OVER`].
    fn rates(&mut self, now: Instant, status: &Status) -> Option<(f64, f64)> {
        let oldest = *self.seen.front()?;
        self.seen.push_back(Seen {
            at: now,
            events: status.events,
            samples: status.samples,
        });
        while self
            .seen
            .get(1)
            .is_some_and(|next| now.duration_since(next.at) >= RATE_OVER)
        {
            self.seen.pop_front();
        }
        let seconds = now.duration_since(oldest.at).as_secs_f64();
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        let rates = (
            rate(status.events, oldest.events),
            rate(status.samples, oldest.samples),
        );
        (seconds > 0.0).then_some(rates)
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
