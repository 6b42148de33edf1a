//! From when to when a window lasts.

use crate::model::{Corrupt, Decoder, Encoder, TimestampMs};

/// The times `[start, end)` of a window, ms since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bounds {
    /// The first time that belongs to it.
    pub start: TimestampMs,
    /// The first time that does not, and the timestamp of its sample.
    pub end: TimestampMs,
}

impl Bounds {
    /// Writes both times.
    pub fn encode(self, out: &mut Encoder) {
        out.i64(self.start);
        out.i64(self.end);
    }

    /// Reads what [`encode`](Self::encode) has written.
    ///
    /// # Errors
    /// The bytes end before, or the end is before the start.
    pub fn decode(from: &mut Decoder<'_>) -> Result<Self, Corrupt> {
        let (start, end) = (from.i64()?, from.i64()?);
        if start > end {
            return Err(from.corrupt(format!("a window begins at {start} and ends at {end}")));
        }
        Ok(Self { start, end })
    }

    /// How long it is, ms.
    pub fn length_ms(self) -> i64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether a time belongs to it.
    pub fn contains(self, time: TimestampMs) -> bool {
        self.start <= time && time < self.end
    }
}

/// The bounds of the windows whose results are taken, by slot.
#[derive(Debug, Clone, Copy)]
pub enum Extent<'a> {
    /// One window of all slots.
    All(Bounds),
    /// A window a slot: sessions.
    Each(&'a [Bounds]),
}

impl Extent<'_> {
    /// The window of a slot.
    pub fn of(self, slot: usize) -> Bounds {
        match self {
            Self::All(bounds) => bounds,
            Self::Each(each) => each
                .get(slot)
                .copied()
                .unwrap_or(Bounds { start: 0, end: 0 }),
        }
    }
}
