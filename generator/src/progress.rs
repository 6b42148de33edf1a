//! What is said on standard error: a line a second on a terminal, and one at the end.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use weirgen::Pacer;

/// How often the line on a terminal is renewed.
const INTERVAL: Duration = Duration::from_secs(1);

/// Counts events and shows how it goes.
#[derive(Debug)]
pub(crate) struct Progress {
    started: Instant,
    on_terminal: bool,
    shown_at: Instant,
    shown_events: u64,
}

impl Progress {
    /// Begins now.
    pub(crate) fn new(started: Instant) -> Self {
        Self {
            started,
            on_terminal: stderr().is_terminal(),
            shown_at: started,
            shown_events: 0,
        }
    }

    /// Renews the line if it is time.
    pub(crate) fn show(&mut self, events: u64, pacer: Option<&Pacer>, now: Instant) {
        let since = now.saturating_duration_since(self.shown_at);
        if !self.on_terminal || since < INTERVAL {
            return;
        }
        let rate = (events - self.shown_events) as f64 / since.as_secs_f64();
        let behind = match pacer {
            Some(pacer) => format!(", {} ms behind schedule", pacer.behind().as_millis()),
            None => String::new(),
        };
        // Progress that cannot be shown is no reason to stop.
        drop(write!(
            stderr(),
            "\r{events} events, {rate:.0} events/s{behind}\x1b[K"
        ));
        self.shown_at = now;
        self.shown_events = events;
    }

    /// The last line.
    pub(crate) fn finish(&self, events: u64, pacer: Option<&Pacer>) {
        let line = summary(events, self.started.elapsed(), pacer.map(Pacer::max_behind));
        let clear = if self.on_terminal { "\r\x1b[K" } else { "" };
        drop(writeln!(stderr(), "{clear}{line}"));
    }
}

/// What was done, in one line.
fn summary(events: u64, elapsed: Duration, max_behind: Option<Duration>) -> String {
    let seconds = elapsed.as_secs_f64();
    let rate = if seconds > 0.0 {
        events as f64 / seconds
    } else {
        0.0
    };
    let mut line = format!("wrote {events} events in {seconds:.3} s ({rate:.0} events/s)");
    if let Some(behind) = max_behind {
        line.push_str(&format!(
            ", behind schedule at most {} ms",
            behind.as_millis()
        ));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_up_in_one_line() {
        assert_eq!(
            summary(
                3_000,
                Duration::from_millis(1_500),
                Some(Duration::from_micros(12_900))
            ),
            "wrote 3000 events in 1.500 s (2000 events/s), behind schedule at most 12 ms"
        );
        assert_eq!(
            summary(0, Duration::ZERO, None),
            "wrote 0 events in 0.000 s (0 events/s)"
        );
    }
}
