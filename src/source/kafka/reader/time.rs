//! What time it is while records are read.

use std::time::Instant;

/// After how many records the clock is looked at: to look for each of them costs a tenth of reading it.
const RECORDS: u32 = 64;

/// The time at which the clock was last looked at.
pub(super) struct Time {
    now: Instant,
    records: u32,
}

impl Default for Time {
    fn default() -> Self {
        Self {
            now: Instant::now(),
            records: 0,
        }
    }
}

impl Time {
    /// What time it was.
    pub(super) fn now(&self) -> Instant {
        self.now
    }

    /// Looks at the clock.
    pub(super) fn look(&mut self) -> Instant {
        self.now = Instant::now();
        self.records = 0;
        self.now
    }

    /// What time it is for a record, which has not been waited for.
    pub(super) fn of_record(&mut self) -> Instant {
        self.records += 1;
        if self.records == RECORDS {
            self.look();
        }
        self.now
    }
}
