//! Days since 1 January 1970 to dates of the Gregorian calendar and back.
//!
//! The formulas are those of Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms" (2013):
//! years begin in March, so that the leap day is the last one, and 400 years are always as long.

/// Days of 400 years.
const ERA: i64 = 146_097;
/// From 1 March of year 0 to 1 January 1970, days.
const EPOCH: i64 = 719_468;

/// A date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Date {
    /// Year 0 is the one before year 1.
    pub(super) year: i64,
    /// 1 to 12.
    pub(super) month: i64,
    /// 1 to 31.
    pub(super) day: i64,
}

impl Date {
    /// The date of a day.
    pub(super) fn of(days: i64) -> Self {
        let days = days + EPOCH;
        let era = days.div_euclid(ERA);
        let in_era = days.rem_euclid(ERA);
        let year = (in_era - in_era / 1_460 + in_era / 36_524 - in_era / 146_096) / 365;
        let in_year = in_era - (365 * year + year / 4 - year / 100);
        let from_march = (5 * in_year + 2) / 153;
        let month = if from_march < 10 {
            from_march + 3
        } else {
            from_march - 9
        };
        Self {
            year: year + era * 400 + i64::from(month <= 2),
            month,
            day: in_year - (153 * from_march + 2) / 5 + 1,
        }
    }

    /// Days since 1 January 1970.
    pub(super) fn days(self) -> i64 {
        let year = self.year - i64::from(self.month <= 2);
        let from_march = (self.month + 9) % 12;
        let in_year = (153 * from_march + 2) / 5 + self.day - 1;
        let year_of_era = year.rem_euclid(400);
        let in_era = 365 * year_of_era + year_of_era / 4 - year_of_era / 100 + in_year;
        year.div_euclid(400) * ERA + in_era - EPOCH
    }

    /// The first day of a month; months may run beyond the year.
    pub(super) fn first_of(year: i64, month: i64) -> Self {
        Self {
            year: year + (month - 1).div_euclid(12),
            month: (month - 1).rem_euclid(12) + 1,
            day: 1,
        }
    }
}

/// The day of the week as ISO 8601 counts it: 1 is Monday, 7 is Sunday.
pub(super) fn day_of_week(days: i64) -> i64 {
    // 1 January 1970 was a Thursday.
    (days + 3).rem_euclid(7) + 1
}

/// The day of the year, from 1.
pub(super) fn day_of_year(days: i64) -> i64 {
    days - Date::first_of(Date::of(days).year, 1).days() + 1
}

/// The week as ISO 8601 counts it: that of the week's Thursday, whose year it belongs to.
pub(super) fn week(days: i64) -> i64 {
    let thursday = days - day_of_week(days) + 4;
    (day_of_year(thursday) - 1) / 7 + 1
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;
    use jiff::civil::date;

    use super::*;

    #[test]
    fn dates_are_those_of_jiff() {
        for days in (-800_000..2_900_000_i64).step_by(13) {
            let expected = date(1970, 1, 1) + days.days();
            let found = Date::of(days);
            assert_eq!(found.days(), days);
            assert_eq!(found.year, i64::from(expected.year()));
            assert_eq!(found.month, i64::from(expected.month()));
            assert_eq!(found.day, i64::from(expected.day()));
            let weekday = expected.weekday().to_monday_one_offset();
            assert_eq!(day_of_week(days), i64::from(weekday));
            assert_eq!(day_of_year(days), i64::from(expected.day_of_year()));
            assert_eq!(week(days), i64::from(expected.iso_week_date().week()));
        }
    }

    #[test]
    fn months_run_beyond_the_year() {
        let date = |year, month| Date {
            year,
            month,
            day: 1,
        };
        assert_eq!(Date::first_of(2024, 13), date(2025, 1));
        assert_eq!(Date::first_of(2024, 12), date(2024, 12));
    }
}
