//! Local times. The rules of the time zones come with the binary (the IANA database), so that every
//! machine agrees.

use jiff::Timestamp;
use jiff::civil;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::model::{TimestampMs, suggest};

use super::calendar::Date;
use super::prepared::{Constants, Fault};

/// A day, ms.
pub(super) const DAY_MS: i64 = 86_400_000;

/// The time zone that a constant argument names; UTC where it is not given.
pub(super) fn named(constants: &Constants<'_>, argument: usize) -> Result<TimeZone, Fault> {
    let Some(name) = constants.text(argument) else {
        return Ok(TimeZone::UTC);
    };
    let database = TimeZoneDatabase::bundled();
    database.get(name).map_err(|_| {
        let known: Vec<String> = database.available().map(|name| name.to_string()).collect();
        let hint = match suggest(name, known.iter().map(String::as_str)) {
            Some(similar) => format!("did you mean '{similar}'?"),
            None => "one of the IANA database such as 'Europe/Berlin' is needed".to_owned(),
        };
        Fault::new(argument, format!("unknown time zone '{name}'; {hint}"))
    })
}

/// A number as a time: the ms since the epoch that it is in. None where it is NULL or no time
/// between the years -9999 and 9999.
pub(super) fn time(number: f64) -> Option<TimestampMs> {
    if number.is_nan() {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "saturates")]
    let ms = number.floor() as TimestampMs;
    Timestamp::from_millisecond(ms).ok()?;
    Some(ms)
}

/// A zone's offset from UTC between two of its changes: times of one batch are near each other, so
/// that the rules are asked once for nearly all of them.
#[derive(Debug)]
pub(super) struct Offsets<'z> {
    zone: &'z TimeZone,
    from_ms: TimestampMs,
    /// The first time behind it.
    to_ms: TimestampMs,
    offset_ms: i64,
}

impl<'z> Offsets<'z> {
    /// Knows nothing yet.
    pub(super) fn new(zone: &'z TimeZone) -> Self {
        Self {
            zone,
            from_ms: 0,
            to_ms: 0,
            offset_ms: 0,
        }
    }

    /// The local time, as ms since the local 1 January 1970.
    pub(super) fn local(&mut self, ms: TimestampMs) -> Option<i64> {
        if !(self.from_ms..self.to_ms).contains(&ms) {
            self.learn(ms)?;
        }
        ms.checked_add(self.offset_ms)
    }

    fn learn(&mut self, ms: TimestampMs) -> Option<()> {
        let second = ms.div_euclid(1_000);
        let at = Timestamp::from_second(second).ok()?;
        // Changes are at whole seconds; the one at this very second is among those before the next.
        let next_second = Timestamp::from_second(second.checked_add(1)?).ok()?;
        let before = self.zone.preceding(next_second).next();
        let after = self.zone.following(at).next();
        self.from_ms = before.map_or(i64::MIN, |change| change.timestamp().as_millisecond());
        self.to_ms = after.map_or(i64::MAX, |change| change.timestamp().as_millisecond());
        self.offset_ms = i64::from(self.zone.to_offset(at).seconds()) * 1_000;
        Some(())
    }
}

/// When a local day begins: at its midnight, at the first of two, or where the clocks skip it,
/// behind the gap.
pub(super) fn beginning_of_day(zone: &TimeZone, days: i64) -> Option<TimestampMs> {
    let date = Date::of(days);
    let date = civil::Date::new(
        i16::try_from(date.year).ok()?,
        i8::try_from(date.month).ok()?,
        i8::try_from(date.day).ok()?,
    );
    let midnight = date.ok()?.to_datetime(civil::Time::midnight());
    let begin = zone.to_ambiguous_timestamp(midnight).compatible().ok()?;
    Some(begin.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_those_of_jiff_in_any_order() {
        let names = [
            "UTC",
            "Europe/Berlin",
            "America/Havana",
            "Australia/Lord_Howe",
            "Asia/Kathmandu",
            "Pacific/Apia",
        ];
        for name in names {
            let zone = TimeZoneDatabase::bundled().get(name).unwrap();
            let mut offsets = Offsets::new(&zone);
            let mut times: Vec<i64> = (0..4_000)
                .map(|n| -3_000_000_000_000 + n * 1_700_000_321)
                .collect();
            for change in zone.following(Timestamp::from_second(0).unwrap()).take(90) {
                let ms = change.timestamp().as_millisecond();
                times.extend([ms, ms - 1, ms + 1, ms + 999]);
            }
            for ms in times {
                let at = Timestamp::from_millisecond(ms).unwrap();
                let offset = i64::from(zone.to_offset(at).seconds());
                assert_eq!(offsets.local(ms), Some(ms + offset * 1_000), "{name} {ms}");
            }
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for number in [f64::NAN, 1e18, -1e18, f64::MAX] {
            assert_eq!(time(number), None, "{number}");
        }
        assert_eq!(time(-0.5), Some(-1));
        let (first, last) = (
            Timestamp::MIN.as_millisecond(),
            Timestamp::MAX.as_millisecond(),
        );
        let zone = TimeZoneDatabase::bundled().get("Europe/Berlin").unwrap();
        for ms in [first, last] {
            // No panic; at the very ends there may be no next second.
            Offsets::new(&zone).local(ms);
        }
    }
}
