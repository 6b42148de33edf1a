//! Panes: the pieces without overlap that event time is cut into, and of which windows consist.

use std::fmt;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::bounds::Bounds;
use crate::model::TimestampMs;

const DAY_MS: i64 = 86_400_000;

/// How event time is cut.
#[derive(Clone, PartialEq, Eq)]
pub enum Panes {
    /// `[n × size + offset, (n + 1) × size + offset)`, from the epoch.
    Fixed {
        /// The size in ms, above 0.
        size_ms: i64,
        /// How far the cuts are from multiples of the size, ms.
        offset_ms: i64,
    },
    /// So many days of a time zone, each from midnight plus the offset: a day in which clocks are
    /// changed has 23 or 25 hours.
    Days {
        /// How many days, above 0, counted from 1 January 1970.
        days: i64,
        /// How long after midnight a day begins, ms, below a day.
        offset_ms: i64,
        /// The zone.
        zone: TimeZone,
    },
}

impl fmt::Debug for Panes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed { size_ms, offset_ms } => write!(f, "Fixed({size_ms} + {offset_ms} ms)"),
            Self::Days {
                days,
                offset_ms,
                zone,
            } => {
                let zone = zone.iana_name().unwrap_or_default();
                write!(f, "Days({days} + {offset_ms} ms, {zone})")
            }
        }
    }
}

impl Panes {
    /// Their size and offset.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Fixed { size_ms, offset_ms } => format!("{size_ms} ms, offset {offset_ms} ms"),
            Self::Days {
                days,
                offset_ms,
                zone,
            } => {
                let zone = zone.iana_name().unwrap_or_default();
                format!("{days} days of {zone}, offset {offset_ms} ms")
            }
        }
    }

    /// The pane that a time belongs to.
    pub fn bounds(&self, time: TimestampMs) -> Bounds {
        match self {
            Self::Fixed { size_ms, offset_ms } => {
                let into = time.saturating_sub(*offset_ms).rem_euclid(*size_ms);
                let start = time.saturating_sub(into);
                Bounds {
                    start,
                    end: start.saturating_add(*size_ms),
                }
            }
            Self::Days {
                days,
                offset_ms,
                zone,
            } => days_around(time, *days, *offset_ms, zone),
        }
    }
}

/// The days of a zone around a time. The instant at which a pane begins decides, not the date of the
/// time: with an offset, and where clocks are put back, these are not the same.
fn days_around(time: TimestampMs, days: i64, offset_ms: i64, zone: &TimeZone) -> Bounds {
    let date = Timestamp::from_millisecond(time)
        .map(|instant| instant.to_zoned(zone.clone()).date())
        .unwrap_or_default();
    let number = date.duration_since(Date::constant(1970, 1, 1)).as_hours() / 24;
    let mut first = number - number.rem_euclid(days);
    let mut start = start_of_day(first, offset_ms, zone);
    while start > time {
        first -= days;
        start = start_of_day(first, offset_ms, zone);
    }
    loop {
        let end = start_of_day(first + days, offset_ms, zone);
        if end > time {
            return Bounds { start, end };
        }
        first += days;
        start = end;
    }
}

/// When a day begins, ms since the epoch: at its midnight plus the offset by the clocks of the zone. A
/// time that these pass over when they are put forward is taken by as much later as they are put
/// forward (RFC 5545, section 3.3.5).
fn start_of_day(number: i64, offset_ms: i64, zone: &TimeZone) -> TimestampMs {
    let clock = Date::constant(1970, 1, 1)
        .checked_add(SignedDuration::from_hours(number.saturating_mul(24)))
        .map(|date| date.at(0, 0, 0, 0))
        .and_then(|midnight| midnight.checked_add(SignedDuration::from_millis(offset_ms)))
        .and_then(|clock| clock.to_zoned(zone.clone()));
    match clock {
        Ok(zoned) => zoned.timestamp().as_millisecond(),
        // Beyond the years that the calendar covers; event times are within them.
        Err(_) => number.saturating_mul(DAY_MS).saturating_add(offset_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> TimestampMs {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn fixed_panes_are_aligned_to_the_epoch_also_before_it() {
        let panes = Panes::Fixed {
            size_ms: 5_000,
            offset_ms: 0,
        };
        let ends = [0, 4_999, 5_000, -1, -5_000, -5_001].map(|time| panes.bounds(time).end);
        assert_eq!(ends, [5_000, 5_000, 10_000, 0, 0, -5_000]);
        let shifted = Panes::Fixed {
            size_ms: 5_000,
            offset_ms: 2_000,
        };
        let starts = [1_999, 2_000, 6_999].map(|time| shifted.bounds(time).start);
        assert_eq!(starts, [-3_000, 2_000, 2_000]);
    }

    #[test]
    fn days_follow_the_clocks_of_their_zone() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let panes = |days, offset_ms| Panes::Days {
            days,
            offset_ms,
            zone: zone.clone(),
        };
        let hours = |bounds: Bounds| bounds.length_ms() / 3_600_000;
        let of = |time: &str| panes(1, 0).bounds(ms(time));
        assert_eq!(of("2026-06-01T12:00:00Z").start, ms("2026-05-31T22:00:00Z"));
        assert_eq!(hours(of("2026-03-29T12:00:00Z")), 23);
        assert_eq!(hours(of("2026-10-25T12:00:00Z")), 25);
        assert_eq!(hours(of("2026-11-21T12:00:00Z")), 24);
        let morning = panes(1, 6 * 3_600_000).bounds(ms("2026-11-21T04:59:59.999Z"));
        assert_eq!(morning.end, ms("2026-11-21T05:00:00Z"));
        let week = panes(7, 0).bounds(ms("2026-11-21T12:00:00Z"));
        assert_eq!(
            week.start,
            ms("2026-11-18T23:00:00Z"),
            "a Thursday, as 1 January 1970"
        );
    }

    #[test]
    fn panes_follow_each_other_without_gap_or_overlap() {
        for (zone, offset_ms) in [
            ("Europe/Berlin", 0),
            ("America/Sao_Paulo", 0),
            ("Australia/Lord_Howe", 2 * 3_600_000),
            ("Africa/Cairo", 0),
        ] {
            let panes = Panes::Days {
                days: 1,
                offset_ms,
                zone: TimeZone::get(zone).unwrap(),
            };
            let mut bounds = panes.bounds(ms("2015-01-01T00:00:00Z"));
            for _ in 0..4_500 {
                for time in [bounds.start, bounds.start + 1, bounds.end - 1] {
                    assert_eq!(panes.bounds(time), bounds, "{zone} {time}");
                }
                let next = panes.bounds(bounds.end);
                assert_eq!(next.start, bounds.end, "{zone}");
                bounds = next;
            }
        }
    }
}
