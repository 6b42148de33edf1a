//! Which windows an event belongs to, and when these close.

use jiff::tz::TimeZone;

use super::bounds::Bounds;
use super::panes::Panes;
use crate::model::TimestampMs;

/// How finely the gap of sessions is cut: finer panes end sessions sooner, and are more.
const PANES_OF_A_GAP: i64 = 4;

/// The windows of a metric.
///
/// Event time is cut into [`Panes`] without overlap, and windows are put together of them: a
/// tumbling window is one pane, a sliding one is several, of which each is shared by the windows
/// that overlap there; a session is a run of panes of one key with less than the gap between their
/// events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windows {
    panes: Panes,
    kind: WindowKind,
    lateness_ms: i64,
    stale_after_ms: Option<i64>,
}

/// How panes become windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowKind {
    /// A pane is a window.
    Tumbling,
    /// A window of `size_ms` ends at each multiple of `slide_ms`, plus the offset.
    Sliding {
        /// The size of a window, ms.
        size_ms: i64,
        /// From one window's end to the next one's, ms.
        slide_ms: i64,
        /// How far the ends are from multiples of the slide, ms.
        offset_ms: i64,
    },
    /// A window of a key goes on until it has had no event for `gap_ms`.
    Session {
        /// The silence that ends a session, ms.
        gap_ms: i64,
        /// Where sessions are gathered by their ends: how often, ms.
        every_ms: Option<i64>,
    },
}

/// Why an event is in no window any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// An earlier run has written all of its windows.
    Written,
    /// The watermark of its own split had passed them.
    Late,
    /// They closed while its split was idle.
    LateAfterIdle,
}

/// What is closed for an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The watermark of the event's own split before it, ms since the epoch.
    pub split: TimestampMs,
    /// The watermark up to which windows have been handed on.
    pub pipeline: TimestampMs,
    /// Windows that end at or before this were written by an earlier run.
    pub written: TimestampMs,
}

impl Windows {
    /// Windows that follow each other.
    pub fn tumbling(panes: Panes) -> Self {
        Self {
            panes,
            kind: WindowKind::Tumbling,
            lateness_ms: 0,
            stale_after_ms: None,
        }
    }

    /// Windows of `size_ms` that end every `slide_ms`; both are above 0.
    pub fn sliding(size_ms: i64, slide_ms: i64, offset_ms: i64) -> Self {
        Self {
            panes: Panes::Fixed {
                size_ms: greatest_common_divisor(size_ms, slide_ms),
                offset_ms,
            },
            kind: WindowKind::Sliding {
                size_ms,
                slide_ms,
                offset_ms,
            },
            lateness_ms: 0,
            stale_after_ms: None,
        }
    }

    /// Sessions that end after a silence of `gap_ms`, above 0.
    ///
    /// A pane is a part of the gap, so that all events of a key in a pane are of one session, and the
    /// end of a session is known a pane behind it.
    pub fn session(gap_ms: i64, every_ms: Option<i64>) -> Self {
        Self {
            panes: Panes::Fixed {
                size_ms: (gap_ms / PANES_OF_A_GAP).max(1),
                offset_ms: 0,
            },
            kind: WindowKind::Session { gap_ms, every_ms },
            lateness_ms: 0,
            stale_after_ms: None,
        }
    }

    /// Windows stay open until the watermark has passed their end by so much.
    #[must_use]
    pub fn with_allowed_lateness(mut self, lateness_ms: i64) -> Self {
        self.lateness_ms = lateness_ms;
        self
    }

    /// A series that has had no sample for so long has ended; none ends where that is not said.
    #[must_use]
    pub fn with_stale_after(mut self, stale_after_ms: Option<i64>) -> Self {
        self.stale_after_ms = stale_after_ms;
        self
    }

    /// What decides which windows there are: equal exactly where open panes of one can be taken for
    /// those of the other.
    pub fn describe_state(&self) -> String {
        let panes = self.panes.describe();
        let lateness_ms = self.lateness_ms;
        let windows = match self.kind {
            WindowKind::Tumbling => format!("tumbling {panes}"),
            WindowKind::Sliding {
                size_ms, slide_ms, ..
            } => format!("sliding {size_ms} ms every {slide_ms} ms, panes of {panes}"),
            WindowKind::Session {
                gap_ms,
                every_ms: None,
            } => format!("session gap {gap_ms} ms"),
            WindowKind::Session {
                gap_ms,
                every_ms: Some(every_ms),
            } => format!("session gap {gap_ms} ms every {every_ms} ms"),
        };
        format!("{windows}, lateness {lateness_ms} ms")
    }

    /// How panes become windows.
    pub fn kind(&self) -> WindowKind {
        self.kind
    }

    /// For how long behind its end a window stays open, ms.
    pub fn lateness_ms(&self) -> i64 {
        self.lateness_ms
    }

    /// How long after its last sample a series has ended, ms, where series end.
    pub fn stale_after_ms(&self) -> Option<i64> {
        self.stale_after_ms
    }

    /// The pane that a time belongs to.
    pub fn pane(&self, time: TimestampMs) -> Bounds {
        self.panes.bounds(time)
    }

    /// The end of the first window that a pane belongs to.
    pub fn first_end(&self, pane: Bounds) -> TimestampMs {
        match self.kind {
            WindowKind::Tumbling | WindowKind::Session { .. } => pane.end,
            WindowKind::Sliding { .. } => self.next_end(pane.end.saturating_sub(1)),
        }
    }

    /// The end of the last window that an event at `time` surely belongs to. A session may become
    /// longer by later events.
    pub fn last_end(&self, time: TimestampMs) -> TimestampMs {
        match self.kind {
            WindowKind::Tumbling => self.pane(time).end,
            WindowKind::Sliding { .. } => self.last_end_of_pane(self.pane(time)),
            WindowKind::Session { gap_ms, every_ms } => {
                let end = time.saturating_add(gap_ms);
                every_ms.map_or(end, |every_ms| multiple_from(end, every_ms, 0))
            }
        }
    }

    fn last_end_of_pane(&self, pane: Bounds) -> TimestampMs {
        match self.kind {
            WindowKind::Tumbling | WindowKind::Session { .. } => pane.end,
            WindowKind::Sliding {
                size_ms,
                slide_ms,
                offset_ms,
            } => {
                let latest = pane.start.saturating_add(size_ms);
                latest.saturating_sub(latest.saturating_sub(offset_ms).rem_euclid(slide_ms))
            }
        }
    }

    /// The first end of a window behind a time; of a session with `every`, the first end of a
    /// gathering.
    pub fn next_end(&self, after: TimestampMs) -> TimestampMs {
        match self.kind {
            WindowKind::Tumbling => self.pane(after).end,
            WindowKind::Sliding {
                slide_ms,
                offset_ms,
                ..
            } => multiple_from(after.saturating_add(1), slide_ms, offset_ms),
            WindowKind::Session { every_ms, .. } => {
                multiple_from(after.saturating_add(1), every_ms.unwrap_or(1), 0)
            }
        }
    }

    /// The window that ends at a time, which must be one's end. Not for sessions, whose beginnings
    /// are their own.
    pub fn window(&self, end: TimestampMs) -> Bounds {
        match self.kind {
            WindowKind::Tumbling => self.pane(end.saturating_sub(1)),
            WindowKind::Sliding { size_ms, .. } => Bounds {
                start: end.saturating_sub(size_ms),
                end,
            },
            WindowKind::Session { every_ms, .. } => Bounds {
                start: end.saturating_sub(every_ms.unwrap_or_default()),
                end,
            },
        }
    }

    /// The size of the windows, ms, where all have the same.
    pub fn fixed_size_ms(&self) -> Option<i64> {
        match (&self.kind, &self.panes) {
            (WindowKind::Tumbling, Panes::Fixed { size_ms, .. })
            | (WindowKind::Sliding { size_ms, .. }, _) => Some(*size_ms),
            _ => None,
        }
    }

    /// Up to which end windows have closed at a watermark.
    pub fn closed_until(&self, watermark: TimestampMs) -> TimestampMs {
        match watermark {
            TimestampMs::MAX => watermark,
            _ => watermark.saturating_sub(self.lateness_ms),
        }
    }

    /// Up to where all panes have come once all that is due at a watermark has.
    pub fn panes_until(&self, watermark: TimestampMs) -> TimestampMs {
        match watermark {
            TimestampMs::MAX => watermark,
            _ => self.pane(self.closed_until(watermark)).start,
        }
    }

    /// Whether no event of a pane can be late or written: so for all but a few batches.
    pub fn all_open(&self, pane: Bounds, progress: &Progress) -> bool {
        let behind = self.closed_until(progress.split.max(progress.pipeline));
        match self.kind {
            WindowKind::Session { gap_ms, .. } => {
                behind <= pane.start && progress.written < pane.start.saturating_add(gap_ms)
            }
            _ => behind.max(progress.written) < self.first_end(pane),
        }
    }

    /// The end of the first window that an event at `time`, of `pane`, still counts for; or why there
    /// is none. Only the event's own split, not the speed of others, makes it late.
    ///
    /// # Errors
    /// Why all of its windows are closed.
    pub fn open_end(
        &self,
        pane: Bounds,
        time: TimestampMs,
        progress: &Progress,
    ) -> Result<TimestampMs, Closed> {
        let split = self.closed_until(progress.split);
        let pipeline = self.closed_until(progress.pipeline);
        if let WindowKind::Session { gap_ms, .. } = self.kind {
            // A session that is open has had an event less than a gap ago, so an event that is not
            // behind the watermark itself can only join sessions that are open for everybody.
            return if time.saturating_add(gap_ms) <= progress.written {
                Err(Closed::Written)
            } else if split > time {
                Err(Closed::Late)
            } else if pipeline > time {
                Err(Closed::LateAfterIdle)
            } else {
                Ok(pane.end)
            };
        }
        let last = self.last_end_of_pane(pane);
        if last <= progress.written {
            Err(Closed::Written)
        } else if last <= split {
            Err(Closed::Late)
        } else if last <= pipeline {
            Err(Closed::LateAfterIdle)
        } else {
            let closed = progress.written.max(split).max(pipeline);
            let first = self.first_end(pane);
            if closed < first {
                return Ok(first);
            }
            Ok(self.next_end(closed))
        }
    }
}

/// The windows of a time zone that is known by its IANA name, such as `Europe/Berlin`.
pub fn zone_of(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok()
}

/// The first multiple of `step`, plus the offset, at or after a time.
fn multiple_from(time: TimestampMs, step: i64, offset: i64) -> TimestampMs {
    let into = time.saturating_sub(offset).rem_euclid(step);
    if into == 0 {
        time
    } else {
        time.saturating_add(step - into)
    }
}

fn greatest_common_divisor(one: i64, other: i64) -> i64 {
    let (mut one, mut other) = (one, other);
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Progress = Progress {
        split: TimestampMs::MIN,
        pipeline: TimestampMs::MIN,
        written: TimestampMs::MIN,
    };

    /// All windows of sliding windows that a time belongs to, by trying every end.
    fn naive_ends(size: i64, slide: i64, offset: i64, time: i64) -> Vec<i64> {
        (time - 2 * size - 2 * slide..time + 2 * size + 2 * slide)
            .filter(|end| (end - offset).rem_euclid(slide) == 0)
            .filter(|end| end - size <= time && time < *end)
            .collect()
    }

    #[test]
    fn sliding_windows_share_panes() {
        for (size, slide, offset) in [(60, 10, 0), (60, 10, 3), (90, 60, 0), (7, 7, 2), (10, 4, 1)]
        {
            let windows = Windows::sliding(size, slide, offset);
            for time in -200..200 {
                let pane = windows.pane(time);
                let ends = naive_ends(size, slide, offset, time);
                assert_eq!(
                    Some(&windows.first_end(pane)),
                    ends.first(),
                    "{size} {slide} {time}"
                );
                assert_eq!(
                    Some(&windows.last_end(time)),
                    ends.last(),
                    "{size} {slide} {time}"
                );
                for end in ends {
                    let window = windows.window(end);
                    assert!(window.start <= pane.start && pane.end <= window.end);
                }
            }
        }
    }

    #[test]
    fn an_event_counts_for_the_windows_that_are_open() {
        let windows = Windows::sliding(60, 20, 0);
        let pane = windows.pane(5);
        let open = |split, pipeline, written| {
            let progress = Progress {
                split,
                pipeline,
                written,
            };
            (
                windows.open_end(pane, 5, &progress),
                windows.all_open(pane, &progress),
            )
        };
        assert_eq!(open(19, 19, 19), (Ok(20), true));
        assert_eq!(open(20, 0, 0), (Ok(40), false));
        assert_eq!(open(20, 45, 0), (Ok(60), false));
        assert_eq!(open(60, 45, 0), (Err(Closed::Late), false));
        assert_eq!(open(0, 60, 0), (Err(Closed::LateAfterIdle), false));
        assert_eq!(open(0, 0, 60), (Err(Closed::Written), false));
        let patient = windows.clone().with_allowed_lateness(30);
        let progress = Progress {
            split: 49,
            ..NOTHING
        };
        assert_eq!(patient.open_end(pane, 5, &progress), Ok(20));
        let progress = Progress {
            split: 89,
            ..NOTHING
        };
        assert_eq!(patient.open_end(pane, 5, &progress), Ok(60));
    }

    #[test]
    fn descriptions_tell_windows_apart() {
        let fixed = |size_ms, offset_ms| Windows::tumbling(Panes::Fixed { size_ms, offset_ms });
        let zone = zone_of("Europe/Berlin").unwrap();
        let days = Windows::tumbling(Panes::Days {
            days: 7,
            offset_ms: 3_600_000,
            zone,
        });
        let cases = [
            (
                fixed(5_000, 0),
                "tumbling 5000 ms, offset 0 ms, lateness 0 ms",
            ),
            (
                fixed(5_000, 100).with_allowed_lateness(9),
                "tumbling 5000 ms, offset 100 ms, lateness 9 ms",
            ),
            (
                days,
                "tumbling 7 days of Europe/Berlin, offset 3600000 ms, lateness 0 ms",
            ),
            (
                Windows::sliding(60, 40, 3),
                "sliding 60 ms every 40 ms, panes of 20 ms, offset 3 ms, lateness 0 ms",
            ),
            (
                Windows::session(100, None),
                "session gap 100 ms, lateness 0 ms",
            ),
            (
                Windows::session(100, Some(60)),
                "session gap 100 ms every 60 ms, lateness 0 ms",
            ),
        ];
        for (windows, expected) in cases {
            assert_eq!(windows.describe_state(), expected);
        }
    }

    #[test]
    fn a_session_takes_events_that_are_not_behind_the_watermark() {
        let windows = Windows::session(100, Some(60)).with_allowed_lateness(10);
        let pane = windows.pane(50);
        let open = |split| windows.open_end(pane, 50, &Progress { split, ..NOTHING });
        assert_eq!(open(60), Ok(75));
        assert_eq!(open(61), Err(Closed::Late));
        assert_eq!(windows.last_end(50), 180, "gathered by multiples of 60");
    }
}
