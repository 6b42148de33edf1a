//! Event times: their units, and what cannot be one.

use jiff::Timestamp;

use super::config::TimeUnit;
use super::metrics::Reason;
use super::plan::Scalar;
use crate::model::TimestampMs;

/// 1 January 2000: an earlier time is a clock that was never set, or seconds taken for
/// milliseconds.
pub const EARLIEST_MS: TimestampMs = 946_684_800_000;
/// 1 January 2200: a later time is a broken clock, or microseconds taken for milliseconds. It is
/// judged even where `max_ahead` is not.
pub const LATEST_MS: TimestampMs = 7_258_118_400_000;

/// The event time in ms since the epoch, or why it cannot be used.
#[inline]
pub(super) fn event_time(
    scalar: &Scalar<'_>,
    unit: TimeUnit,
    now_ms: TimestampMs,
    max_ahead_ms: i64,
) -> Result<TimestampMs, Reason> {
    let time = convert(scalar, unit)?;
    if !(EARLIEST_MS..LATEST_MS).contains(&time) {
        return Err(Reason::TimeOutOfRange);
    }
    if time > now_ms.saturating_add(max_ahead_ms) {
        return Err(Reason::TooFarAhead);
    }
    Ok(time)
}

fn convert(scalar: &Scalar<'_>, unit: TimeUnit) -> Result<TimestampMs, Reason> {
    match (scalar, unit) {
        (Scalar::Null, _) => Err(Reason::MissingTime),
        (Scalar::Time { ms, .. }, _) => Ok(*ms),
        (Scalar::Text(text), TimeUnit::Rfc3339) => text
            .parse::<Timestamp>()
            .map(Timestamp::as_millisecond)
            .map_err(|_| Reason::TimeUnreadable),
        (_, TimeUnit::Rfc3339) => Err(Reason::TimeUnreadable),
        (Scalar::Integer(value), unit) => Ok(match unit {
            TimeUnit::S => value.saturating_mul(1_000),
            TimeUnit::Us => value.div_euclid(1_000),
            TimeUnit::Ns => value.div_euclid(1_000_000),
            TimeUnit::Ms | TimeUnit::Rfc3339 => *value,
        }),
        (Scalar::Number(value), unit) => {
            let millis = match unit {
                // A float of seconds is right to a microsecond, and one of nanoseconds to 128 of them;
                // without rounding to a microsecond, many times would be floored to the millisecond
                // before.
                TimeUnit::S => (value * 1e6).round() / 1e3,
                TimeUnit::Us => value / 1e3,
                TimeUnit::Ns => (value / 1e3).round() / 1e3,
                TimeUnit::Ms | TimeUnit::Rfc3339 => *value,
            };
            // The conversion saturates, and what saturates is out of range.
            #[expect(clippy::cast_possible_truncation, reason = "saturates")]
            Ok(millis.floor() as TimestampMs)
        }
        _ => Err(Reason::TimeUnreadable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: TimestampMs = 1_730_621_749_000;

    fn read(scalar: Scalar<'_>, unit: TimeUnit) -> Result<TimestampMs, Reason> {
        event_time(&scalar, unit, NOW, 60_000)
    }

    /// Each millisecond of a second in every unit, as a whole number and as a float: a float of nanoseconds is a
    /// multiple of 256 of them, one of seconds is right to a quarter of a microsecond.
    #[test]
    fn reads_every_unit_from_whole_numbers_and_floats() {
        for millis in 0..1_000 {
            let time = NOW - 1_000 + millis;
            for (unit, of_a_ms) in [
                (TimeUnit::Ms, 1),
                (TimeUnit::Us, 1_000),
                (TimeUnit::Ns, 1_000_000),
            ] {
                let whole = time * of_a_ms;
                assert_eq!(read(Scalar::Integer(whole), unit), Ok(time), "{whole}");
                let float = whole as f64;
                assert_eq!(
                    read(Scalar::Number(float), unit),
                    Ok(time),
                    "{float:?} {unit:?}"
                );
                // Not the next millisecond before it is there.
                let last = whole + of_a_ms - 1;
                assert_eq!(read(Scalar::Integer(last), unit), Ok(time), "{last}");
                let almost = (whole as f64) + (of_a_ms as f64) * 0.999;
                assert_eq!(
                    read(Scalar::Number(almost), unit),
                    Ok(time),
                    "{almost:?} {unit:?}"
                );
            }
            let text = format!("1730621748.{millis:03}");
            let seconds = Scalar::Number(text.parse().unwrap());
            assert_eq!(read(seconds, TimeUnit::S), Ok(time), "{text}");
            let text = format!("{text}999");
            let almost = Scalar::Number(text.parse().unwrap());
            assert_eq!(read(almost, TimeUnit::S), Ok(time), "{text}");
        }
        let seconds = NOW / 1_000;
        assert_eq!(read(Scalar::Integer(seconds), TimeUnit::S), Ok(NOW));
        assert_eq!(read(Scalar::Number(seconds as f64), TimeUnit::S), Ok(NOW));
        let text = Scalar::Text("2024-11-03T09:15:49+01:00".into());
        assert_eq!(read(text, TimeUnit::Rfc3339), Ok(NOW));
        for scalar in [Scalar::Integer(NOW), Scalar::Number(NOW as f64)] {
            assert_eq!(read(scalar, TimeUnit::Rfc3339), Err(Reason::TimeUnreadable));
        }
    }

    #[test]
    fn refuses_what_no_clock_should_say() {
        let cases = [
            (Scalar::Integer(0), Reason::TimeOutOfRange),
            (Scalar::Integer(-NOW), Reason::TimeOutOfRange),
            (Scalar::Integer(1_730_621_749), Reason::TimeOutOfRange),
            (Scalar::Integer(253_402_300_799_000), Reason::TimeOutOfRange),
            (Scalar::Integer(i64::MAX), Reason::TimeOutOfRange),
            (Scalar::Number(1e300), Reason::TimeOutOfRange),
            (Scalar::Integer(NOW + 60_001), Reason::TooFarAhead),
            (Scalar::Null, Reason::MissingTime),
            (Scalar::Text("1730621749000".into()), Reason::TimeUnreadable),
            (Scalar::Boolean(true), Reason::TimeUnreadable),
        ];
        for (scalar, reason) in cases {
            assert_eq!(read(scalar, TimeUnit::Ms), Err(reason));
        }
        assert_eq!(
            read(Scalar::Integer(NOW + 60_000), TimeUnit::Ms),
            Ok(NOW + 60_000)
        );
        let seconds = Scalar::Integer(i64::MAX / 10);
        assert_eq!(read(seconds, TimeUnit::S), Err(Reason::TimeOutOfRange));
        let text = Scalar::Text("yesterday".into());
        assert_eq!(read(text, TimeUnit::Rfc3339), Err(Reason::TimeUnreadable));
    }
}
