//! From when to when the rows of a table are valid.

use std::ops::Range;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::cell::Cell;
use super::from::ValidUnit;
use crate::model::TimestampMs;

/// The beginning of what is valid since ever.
pub(super) const SINCE_EVER: TimestampMs = TimestampMs::MIN;
/// The end of what is valid for ever; no event is as late as this.
pub(super) const FOR_EVER: TimestampMs = TimestampMs::MAX;

/// From when to when rows are valid. The rows of a key stand side by side, the earliest first, and
/// none begins before the one before it ends.
#[derive(Debug, Default)]
pub(super) struct Validity {
    /// The first row of each key, and behind the last key the number of rows.
    starts: Vec<u32>,
    /// By row: the first moment, ms.
    from: Vec<TimestampMs>,
    /// By row: the first moment that is no longer within.
    to: Vec<TimestampMs>,
}

/// Two rows of a key that are valid at once, by their number of arrival, the later one first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Overlap {
    pub(super) row: usize,
    pub(super) other: usize,
}

/// A row as it came in: its key's number, and from when to when it is valid.
pub(super) type DatedRow = (u32, TimestampMs, TimestampMs);

impl Validity {
    /// The validity of rows, and the order into which their values are to be put.
    pub(super) fn build(rows: &[DatedRow], keys: usize) -> Result<(Self, Vec<u32>), Overlap> {
        let mut sorted: Vec<(DatedRow, u32)> = rows.iter().copied().zip(0_u32..).collect();
        sorted.sort_unstable();
        for pair in sorted.windows(2) {
            let [((key, _, to), first), ((next_key, from, _), second)] = pair else {
                continue;
            };
            if key == next_key && from < to {
                return Err(Overlap {
                    row: (*first).max(*second) as usize,
                    other: (*first).min(*second) as usize,
                });
            }
        }
        let mut validity = Self {
            starts: Vec::with_capacity(keys + 1),
            from: Vec::with_capacity(rows.len()),
            to: Vec::with_capacity(rows.len()),
        };
        for (((key, from, to), _), row) in sorted.iter().zip(0_u32..) {
            while validity.starts.len() <= *key as usize {
                validity.starts.push(row);
            }
            validity.from.push(*from);
            validity.to.push(*to);
        }
        validity
            .starts
            .push(u32::try_from(rows.len()).unwrap_or(u32::MAX));
        Ok((validity, sorted.into_iter().map(|(_, row)| row).collect()))
    }

    /// The rows of the `n`th key.
    pub(super) fn rows_of(&self, key: usize) -> Range<usize> {
        match (self.starts.get(key), self.starts.get(key + 1)) {
            (Some(start), Some(end)) => *start as usize..*end as usize,
            _ => 0..0,
        }
    }

    /// Which of some rows of one key is valid at a time.
    pub(super) fn row_at(&self, rows: Range<usize>, at: TimestampMs) -> Option<usize> {
        let begun = self
            .from
            .get(rows.clone())?
            .partition_point(|from| *from <= at);
        let row = rows.start + begun.checked_sub(1)?;
        (at < *self.to.get(row)?).then_some(row)
    }

    pub(super) fn rows(&self) -> usize {
        self.from.len()
    }

    pub(super) fn byte_len(&self) -> usize {
        self.starts.capacity() * size_of::<u32>()
            + (self.from.capacity() + self.to.capacity()) * size_of::<TimestampMs>()
    }
}

/// The time in a cell, ms since the epoch; `open` where it is empty. Gives what was expected where
/// it is none.
pub(super) fn time_of(
    cell: Cell<'_>,
    unit: ValidUnit,
    open: TimestampMs,
) -> Result<TimestampMs, &'static str> {
    if cell.is_null() {
        return Ok(open);
    }
    match unit {
        ValidUnit::Ms => cell.integer(1).ok_or("time in milliseconds"),
        ValidUnit::S => cell.integer(1_000).ok_or("time in seconds"),
        ValidUnit::Rfc3339 => cell
            .text()
            .and_then(|text| text.parse::<Timestamp>().ok())
            .map(Timestamp::as_millisecond)
            .ok_or("time such as 2024-11-03T08:15:49Z"),
        ValidUnit::Date => cell
            .text()
            .filter(|text| text.len() == "2024-11-03".len())
            .and_then(|text| text.parse::<Date>().ok())
            .and_then(|date| date.to_zoned(TimeZone::UTC).ok())
            .map(|day| day.timestamp().as_millisecond())
            .ok_or("date such as 2024-11-03"),
    }
}

/// An interval in words.
pub(super) fn describe(from: TimestampMs, to: TimestampMs) -> String {
    let time = |at: TimestampMs| match Timestamp::from_millisecond(at) {
        Ok(time) => time.to_string(),
        Err(_) => at.to_string(),
    };
    match (from, to) {
        (SINCE_EVER, FOR_EVER) => "always".to_owned(),
        (SINCE_EVER, to) => format!("until {}", time(to)),
        (from, FOR_EVER) => format!("from {}", time(from)),
        (from, to) => format!("from {} until {}", time(from), time(to)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_unit() {
        let read = |text: &str, unit| time_of(Cell::Csv(text), unit, 7);
        assert_eq!(read("1730621749000", ValidUnit::Ms), Ok(1_730_621_749_000));
        assert_eq!(read(" 1730621749 ", ValidUnit::S), Ok(1_730_621_749_000));
        assert_eq!(read("-1", ValidUnit::S), Ok(-1_000));
        assert_eq!(
            read("2024-11-03T09:15:49+01:00", ValidUnit::Rfc3339),
            Ok(1_730_621_749_000)
        );
        assert_eq!(read("2024-11-03", ValidUnit::Date), Ok(1_730_592_000_000));
        assert_eq!(read("", ValidUnit::Date), Ok(7));
        assert_eq!(read("1.5", ValidUnit::Ms), Err("time in milliseconds"));
        assert_eq!(
            read("9223372036854775807", ValidUnit::S),
            Err("time in seconds")
        );
        for text in [
            "2024-11-3",
            "2024-02-30",
            "2024-11-03T08:15:49Z",
            "20241103",
        ] {
            assert_eq!(read(text, ValidUnit::Date), Err("date such as 2024-11-03"));
        }
        let number = serde_json::json!(1_730_621_749);
        assert_eq!(
            time_of(Cell::Json(&number), ValidUnit::S, 0),
            Ok(1_730_621_749_000)
        );
        assert!(time_of(Cell::Json(&number), ValidUnit::Date, 0).is_err());
    }

    #[test]
    fn sorts_the_rows_of_a_key_and_finds_the_one_at_a_time() {
        let rows = [
            (1, 50, 60),
            (0, 20, FOR_EVER),
            (1, SINCE_EVER, 10),
            (0, 5, 20),
        ];
        let (validity, order) = Validity::build(&rows, 2).unwrap();
        assert_eq!(order, [3, 1, 2, 0]);
        assert_eq!((validity.rows_of(0), validity.rows_of(1)), (0..2, 2..4));
        assert_eq!(validity.rows_of(2), 0..0);
        let at = |key, time| validity.row_at(validity.rows_of(key), time);
        assert_eq!(
            [4, 5, 19, 20].map(|time| at(0, time)),
            [None, Some(0), Some(0), Some(1)]
        );
        assert_eq!(
            [9, 10, 50, 60].map(|time| at(1, time)),
            [Some(2), None, Some(3), None]
        );
    }

    #[test]
    fn finds_rows_that_are_valid_at_once() {
        let overlap = |rows: &[DatedRow]| Validity::build(rows, 2).map(drop).unwrap_err();
        let expected = Overlap { row: 2, other: 0 };
        assert_eq!(overlap(&[(0, 5, 10), (1, 5, 10), (0, 9, 12)]), expected);
        assert_eq!(overlap(&[(0, 9, 12), (1, 5, 10), (0, 5, 10)]), expected);
        assert_eq!(overlap(&[(0, 5, 10), (1, 5, 10), (0, 5, 10)]), expected);
        assert!(Validity::build(&[(0, 5, 10), (0, 10, 12)], 1).is_ok());
    }
}
