//! Parts of times, and times as texts. A time is a number of ms since the epoch.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;

use crate::model::{Interner, TimestampMs, suggest};

use super::calendar::{Date, day_of_week, day_of_year, week};
use super::prepared::{Constants, Fault, Prepared};
use super::row::{append, numbers, texts};
use super::vector::{Kernel, Scalar, Vector, unary};
use super::zone::{DAY_MS, Offsets, beginning_of_day, named, time};

/// What a local time is made of: the day since 1 January 1970 and the ms since its midnight.
type PartOf = fn(i64, i64) -> i64;

type Made = Result<Arc<dyn Prepared>, Fault>;

/// `year(time[, zone])`
pub(super) fn year(constants: &Constants<'_>) -> Made {
    part(constants, |day, _| Date::of(day).year)
}

/// `month(time[, zone])`: 1 to 12.
pub(super) fn month(constants: &Constants<'_>) -> Made {
    part(constants, |day, _| Date::of(day).month)
}

/// `day(time[, zone])`: 1 to 31.
pub(super) fn day(constants: &Constants<'_>) -> Made {
    part(constants, |day, _| Date::of(day).day)
}

/// `hour(time[, zone])`: 0 to 23.
pub(super) fn hour(constants: &Constants<'_>) -> Made {
    part(constants, |_, ms| ms / 3_600_000)
}

/// `minute(time[, zone])`: 0 to 59.
pub(super) fn minute(constants: &Constants<'_>) -> Made {
    part(constants, |_, ms| ms / 60_000 % 60)
}

/// `second(time[, zone])`: 0 to 59.
pub(super) fn second(constants: &Constants<'_>) -> Made {
    part(constants, |_, ms| ms / 1_000 % 60)
}

/// `day_of_week(time[, zone])`: 1 is Monday, 7 is Sunday.
pub(super) fn weekday(constants: &Constants<'_>) -> Made {
    part(constants, |day, _| day_of_week(day))
}

/// `day_of_year(time[, zone])`: from 1.
pub(super) fn yearday(constants: &Constants<'_>) -> Made {
    part(constants, |day, _| day_of_year(day))
}

/// `week(time[, zone])`: of ISO 8601, 1 to 53.
pub(super) fn iso_week(constants: &Constants<'_>) -> Made {
    part(constants, |day, _| week(day))
}

fn part(constants: &Constants<'_>, part: PartOf) -> Made {
    let zone = named(constants, 1)?;
    Ok(Arc::new(Part { zone, part }))
}

#[derive(Debug)]
struct Part {
    zone: TimeZone,
    part: PartOf,
}

impl Prepared for Part {
    fn compute(&self, _: &mut Interner, a: &[Vector<'_>], _: usize) -> Vector<'static> {
        let mut offsets = Offsets::new(&self.zone);
        unary(a, |number: f64| {
            let local = time(number).and_then(|ms| offsets.local(ms));
            local.map_or(f64::NULL, |local| {
                (self.part)(local.div_euclid(DAY_MS), local.rem_euclid(DAY_MS)) as f64
            })
        })
    }
}

/// How far `date_trunc` goes back.
#[derive(Debug, Clone, Copy)]
enum Unit {
    /// To a multiple of so many ms of the local time, below an hour with the offset of the time.
    Within(i64),
    Day,
    Week,
    /// To the first of so many months.
    Months(i64),
}

const UNITS: [(&str, Unit); 8] = [
    ("second", Unit::Within(1_000)),
    ("minute", Unit::Within(60_000)),
    ("hour", Unit::Within(3_600_000)),
    ("day", Unit::Day),
    ("week", Unit::Week),
    ("month", Unit::Months(1)),
    ("quarter", Unit::Months(3)),
    ("year", Unit::Months(12)),
];

impl Unit {
    /// The first local day of the period that a day is in, and that of the next period.
    fn period(self, day: i64) -> (i64, i64) {
        match self {
            Self::Within(_) | Self::Day => (day, day + 1),
            Self::Week => {
                let monday = day - day_of_week(day) + 1;
                (monday, monday + 7)
            }
            Self::Months(count) => {
                let date = Date::of(day);
                let month = (date.month - 1) / count * count + 1;
                let first = |month| Date::first_of(date.year, month).days();
                (first(month), first(month + count))
            }
        }
    }
}

/// `date_trunc(unit, time[, zone])`
pub(super) fn truncate(constants: &Constants<'_>) -> Made {
    let name = constants.text(0).unwrap_or_default();
    let unit = UNITS
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name));
    let Some((_, unit)) = unit else {
        let names = UNITS.iter().map(|(name, _)| *name);
        let hint = match suggest(name, names.clone()) {
            Some(similar) => format!("did you mean '{similar}'?"),
            None => format!("known units are {}", names.collect::<Vec<_>>().join(", ")),
        };
        return Err(Fault::new(0, format!("unknown unit '{name}'; {hint}")));
    };
    Ok(Arc::new(Truncate {
        unit: *unit,
        zone: named(constants, 2)?,
    }))
}

#[derive(Debug)]
struct Truncate {
    unit: Unit,
    zone: TimeZone,
}

impl Prepared for Truncate {
    fn compute(&self, _: &mut Interner, a: &[Vector<'_>], _: usize) -> Vector<'static> {
        let mut offsets = Offsets::new(&self.zone);
        // The latest period: from, to.
        let mut period = (0, 0);
        unary(a, |number: f64| {
            let Some(ms) = time(number) else {
                return f64::NULL;
            };
            if let Unit::Within(unit) = self.unit {
                let local = offsets.local(ms);
                return local.map_or(f64::NULL, |local| (ms - local.rem_euclid(unit)) as f64);
            }
            if !(period.0..period.1).contains(&ms) {
                let Some(found) = self.period(&mut offsets, ms) else {
                    return f64::NULL;
                };
                period = found;
            }
            period.0 as f64
        })
    }
}

impl Truncate {
    /// From when to when the period of a time lasts.
    fn period(&self, offsets: &mut Offsets<'_>, ms: TimestampMs) -> Option<(i64, i64)> {
        let day = offsets.local(ms)?.div_euclid(DAY_MS);
        let (first, next) = self.unit.period(day);
        let from = beginning_of_day(&self.zone, first)?;
        let to = beginning_of_day(&self.zone, next)?;
        Some((from, to))
    }
}

/// `parse_time(text)`: RFC 3339, as in events.
pub(super) const PARSE: Kernel = |interner, a, rows| {
    numbers(interner, a, rows, |row| {
        let time: Timestamp = row.text(0)?.parse().ok()?;
        Some(time.as_millisecond() as f64)
    })
};

/// `format_time(time[, format[, zone]])`: RFC 3339 in UTC without a format.
pub(super) fn format(constants: &Constants<'_>) -> Made {
    let zone = named(constants, 2)?;
    let format = constants.text(1).map(str::to_owned);
    if let Some(format) = &format {
        let sample = Timestamp::UNIX_EPOCH.to_zoned(zone.clone());
        if let Err(error) = strtime::format(format, &sample) {
            return Err(Fault::new(1, format!("'{format}' is no format: {error}")));
        }
    }
    Ok(Arc::new(Format { format, zone }))
}

#[derive(Debug)]
struct Format {
    format: Option<String>,
    zone: TimeZone,
}

impl Prepared for Format {
    fn compute(&self, interner: &mut Interner, a: &[Vector<'_>], rows: usize) -> Vector<'static> {
        texts(interner, a, rows, |row, result| {
            let ms = time(row.number(0)?)?;
            let time = Timestamp::from_millisecond(ms).ok()?;
            let text = match &self.format {
                None => time.to_string(),
                Some(format) => strtime::format(format, &time.to_zoned(self.zone.clone())).ok()?,
            };
            append(result, &text)
        })
    }
}
