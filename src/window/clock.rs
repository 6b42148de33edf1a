//! How far the devices' clocks are wrong, and which events may therefore move no watermark.
//!
//! A reading of a device is the time at which its event was received minus the event's own time:
//! the delay on the way minus how far the clock is ahead. The way only ever adds, so the least of
//! some readings is the best estimate that they allow (F. Cristian, “Probabilistic clock
//! synchronization”, 1989; the clock filter of NTP, RFC 5905, section 10). `skew.rs` keeps it for
//! each device of a split, safe against a single odd reading.
//!
//! A device is *ahead* where its estimate is below −`max_skew`, and *behind* where it is above
//! `max_skew`. An event that is itself more than `max_skew` ahead of its receive time, or is of a
//! device that is ahead, moves no watermark.
//!
//! Where there is no receive time, as in a file that is read later, no clock can be judged. Events
//! are then held against what other devices of the split say (`consensus.rs`), which decides about
//! the watermark only and never about the events themselves.
//!
//! All of this depends on the sequence of a split's events alone: not on how they were cut into
//! batches, not on other splits, not on the number of workers.

mod consensus;
mod skew;

use self::consensus::Consensus;
use self::skew::Skew;
use crate::model::{
    Corrupt, Decoder, Encoder, HoldsSymbols, LiveSymbols, Renumbering, Symbol, SymbolReader,
    SymbolWriter, TimestampMs,
};

pub use self::skew::BLOCK_READINGS;

/// The version of the format of clocks.
const VERSION: u8 = 1;

/// The time at which an event was received, where that is not known, ms since the epoch.
pub const NOT_RECEIVED: TimestampMs = TimestampMs::MIN;

/// The upper bounds of the counts of devices by estimate, ms; above the last there is one more.
pub const SKEW_BOUNDS_MS: [i32; 13] = [
    -86_400_000,
    -3_600_000,
    -300_000,
    -60_000,
    -10_000,
    -1_000,
    0,
    1_000,
    10_000,
    60_000,
    300_000,
    3_600_000,
    86_400_000,
];

/// How many devices have an estimate within each of the bounds, not cumulative.
pub type SkewCounts = [u64; SKEW_BOUNDS_MS.len() + 1];

/// What is known of a device's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClockState {
    /// Nothing bad.
    Right,
    /// It is ahead by more than is allowed.
    Ahead,
    /// It is behind by more than is allowed, or all of its events are delayed by so much.
    Behind,
}

/// The clocks of the devices of one split.
#[derive(Debug, Clone)]
pub struct Clocks {
    max_skew_ms: i64,
    /// The place of each device by symbol, plus one; 0 where it has none yet.
    places: Vec<u32>,
    devices: Vec<Device>,
    counts: SkewCounts,
    consensus: Consensus,
}

#[derive(Debug, Clone)]
struct Device {
    skew: Skew,
    /// The state that was told of last.
    state: ClockState,
    /// The number of its count in [`SkewCounts`], once it has an estimate.
    count: Option<u8>,
}

/// What became of a batch's rows.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Up to which time each row moves its split's watermark; [`TimestampMs::MIN`] where it does
    /// not.
    pub marks: Vec<TimestampMs>,
    /// The rows of wrong clocks, in order.
    pub skewed: Vec<(u32, ClockState)>,
    /// The rows at which a device's state has changed, in order: the device's number within its
    /// split, and its new state.
    pub changed: Vec<(u32, u32, ClockState)>,
    /// How many events were too far ahead of the other devices', where nothing was known of when
    /// they were received.
    pub ahead_of_others: u64,
}

impl Clocks {
    /// No devices yet; clocks may be wrong by `max_skew_ms`.
    pub fn new(max_skew_ms: i64) -> Self {
        Self {
            max_skew_ms,
            places: Vec::new(),
            devices: Vec::new(),
            counts: SkewCounts::default(),
            consensus: Consensus::default(),
        }
    }

    /// Judges rows in their order: each one's device, its event time, and when it was received or
    /// [`NOT_RECEIVED`]. A row without a device is judged by itself only.
    pub fn judge(
        &mut self,
        devices: &[Symbol],
        times: &[TimestampMs],
        received: &[TimestampMs],
    ) -> Judgement {
        let mut judgement = Judgement::default();
        judgement.marks.reserve(times.len());
        let rows = devices.iter().zip(times).zip(received).zip(0_u32..);
        for (((device, time), received), row) in rows {
            if *received == NOT_RECEIVED {
                let (mark, ahead) = self.consensus.mark(*device, *time, self.max_skew_ms);
                judgement.ahead_of_others += u64::from(ahead);
                judgement.marks.push(mark);
                continue;
            }
            let reading = received.saturating_sub(*time);
            let mut state = match self.device(*device) {
                None => ClockState::Right,
                Some(place) => self.read(place, reading, row, &mut judgement),
            };
            if reading < -self.max_skew_ms {
                state = ClockState::Ahead;
            }
            if state != ClockState::Right {
                judgement.skewed.push((row, state));
            }
            let is_ahead = state == ClockState::Ahead;
            judgement
                .marks
                .push(if is_ahead { TimestampMs::MIN } else { *time });
        }
        judgement
    }

    /// Writes what is known of the devices: their texts and estimates, and what they agree on.
    pub fn encode(&self, out: &mut Encoder, symbols: &mut SymbolWriter<'_>) {
        let mut devices = vec![Symbol::NULL; self.devices.len()];
        for (symbol, place) in self.known() {
            let index = usize::try_from(place - 1).ok();
            if let Some(device) = index.and_then(|index| devices.get_mut(index)) {
                *device = symbol;
            }
        }
        out.u8(VERSION);
        out.u32s(devices.into_iter().map(|device| symbols.number(device)));
        Skew::encode_all(out, self.devices.iter().map(|device| &device.skew));
        self.consensus.encode(out, symbols);
    }

    /// Reads what [`encode`](Self::encode) has written; clocks may be wrong by `max_skew_ms` from now
    /// on. The next row of a device whose clock is wrong tells of that as of a change.
    ///
    /// # Errors
    /// The bytes are no clocks.
    pub fn decode(
        from: &mut Decoder<'_>,
        symbols: &SymbolReader,
        max_skew_ms: i64,
    ) -> Result<Self, Corrupt> {
        let version = from.u8()?;
        if version != VERSION {
            return Err(from.corrupt(format!(
                "clocks are of version {version}, this weir reads version {VERSION}"
            )));
        }
        let devices = from.u32s()?;
        let skews = Skew::decode_all(from, devices.len())?;
        let mut clocks = Self::new(max_skew_ms);
        for (number, skew) in devices.into_iter().zip(skews) {
            let before = clocks.devices.len();
            if clocks.device(symbols.symbol(number)?) != Some(before) {
                return Err(from.corrupt("a device has no text, or that of another one"));
            }
            let count = skew.estimate().map(count_of);
            let counted = count.and_then(|count| clocks.counts.get_mut(usize::from(count)));
            if let Some(counted) = counted {
                *counted += 1;
            }
            if let Some(device) = clocks.devices.get_mut(before) {
                (device.skew, device.count) = (skew, count);
            }
        }
        clocks.consensus = Consensus::decode(from, symbols)?;
        Ok(clocks)
    }

    /// How many devices have an estimate within each of the bounds.
    pub fn counts(&self) -> &SkewCounts {
        &self.counts
    }

    /// The devices that have a place, with that plus one.
    fn known(&self) -> impl Iterator<Item = (Symbol, u32)> {
        let places = self.places.iter().zip(0_u32..);
        let known = places.filter(|(place, _)| **place > 0);
        known.map(|(place, symbol)| (Symbol(symbol), *place))
    }

    /// The place of a device, made where it has none; none for NULL.
    fn device(&mut self, device: Symbol) -> Option<usize> {
        if device.is_null() {
            return None;
        }
        let index = device.index();
        if index >= self.places.len() {
            self.places.resize(index + 1, 0);
        }
        let place = self.places.get_mut(index)?;
        if *place == 0 {
            self.devices.push(Device {
                skew: Skew::default(),
                state: ClockState::Right,
                count: None,
            });
            *place = u32::try_from(self.devices.len()).ok()?;
        }
        usize::try_from(*place - 1).ok()
    }

    /// Takes a reading of a device; gives what is known of it then.
    fn read(
        &mut self,
        place: usize,
        reading: i64,
        row: u32,
        judgement: &mut Judgement,
    ) -> ClockState {
        let Some(device) = self.devices.get_mut(place) else {
            return ClockState::Right;
        };
        if device.skew.add(reading) {
            let count = device.skew.estimate().map(count_of);
            if count != device.count {
                for (number, change) in [(device.count, u64::MAX), (count, 1)] {
                    let number = number.and_then(|number| self.counts.get_mut(usize::from(number)));
                    if let Some(number) = number {
                        *number = number.wrapping_add(change);
                    }
                }
                device.count = count;
            }
        }
        let state = device.skew.state(self.max_skew_ms);
        if state != device.state {
            device.state = state;
            let number = u32::try_from(place).unwrap_or(u32::MAX);
            judgement.changed.push((row, number, state));
        }
        state
    }
}

impl HoldsSymbols for Clocks {
    fn mark_live(&self, live: &mut LiveSymbols) {
        self.known().for_each(|(device, _)| live.mark(device));
        self.consensus.mark_live(live);
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        let mut places = Vec::with_capacity(self.devices.len());
        for (device, place) in self.known() {
            let index = numbers.get(device).index();
            if index >= places.len() {
                places.resize(index + 1, 0);
            }
            if let Some(entry) = places.get_mut(index) {
                *entry = place;
            }
        }
        self.places = places;
        self.consensus.renumber(numbers);
    }
}

fn count_of(estimate: i32) -> u8 {
    let number = SKEW_BOUNDS_MS.partition_point(|bound| *bound < estimate);
    u8::try_from(number).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Interner;

    const START: i64 = 1_730_621_750_000;
    const DAY: i64 = 86_400_000;

    fn judge(clocks: &mut Clocks, rows: &[(u32, i64, i64)]) -> Judgement {
        let devices: Vec<_> = rows.iter().map(|row| Symbol(row.0)).collect();
        let times: Vec<_> = rows.iter().map(|row| START + row.1).collect();
        let received: Vec<_> = rows
            .iter()
            .map(|row| match row.2 {
                NOT_RECEIVED => NOT_RECEIVED,
                millis => START + millis,
            })
            .collect();
        clocks.judge(&devices, &times, &received)
    }

    #[test]
    fn an_event_too_far_ahead_moves_nothing_from_the_first_on() {
        let mut clocks = Clocks::new(300_000);
        let judged = judge(&mut clocks, &[(1, 0, 50), (2, DAY, 50), (1, 300_050, 50)]);
        assert_eq!(judged.marks, [START, i64::MIN, START + 300_050]);
        assert_eq!(judged.skewed, [(1, ClockState::Ahead)]);
        assert_eq!(judged.changed, []);
    }

    #[test]
    fn a_device_is_judged_by_its_second_least_reading_and_forgiven_after_two_blocks() {
        let mut clocks = Clocks::new(1_000);
        let judged = judge(&mut clocks, &[(7, 5_000, 0), (7, 5_000, 0), (7, 0, 10)]);
        assert_eq!(judged.changed, [(1, 0, ClockState::Ahead)]);
        let states: Vec<_> = judged.skewed.iter().map(|(_, state)| *state).collect();
        assert_eq!(states, [ClockState::Ahead; 3]);
        assert_eq!(
            judged.marks[2],
            i64::MIN,
            "the device is not to be believed"
        );
        assert_eq!(clocks.counts().iter().sum::<u64>(), 1);
        let rows = vec![(7, 0, 10); 2 * usize::from(BLOCK_READINGS)];
        let judged = judge(&mut clocks, &rows);
        // The first block ends with the thirteenth of these readings, the second with the next 16.
        assert_eq!(judged.changed, [(28, 0, ClockState::Right)]);
        assert_eq!(
            judged.marks.iter().filter(|mark| **mark == START).count(),
            4
        );
    }

    #[test]
    fn a_device_is_behind_only_where_a_whole_block_is_late() {
        let mut clocks = Clocks::new(1_000);
        let late = vec![(3, -5_000, 0); 16];
        let judged = judge(&mut clocks, &late);
        assert_eq!(judged.changed, [(15, 0, ClockState::Behind)]);
        assert_eq!(judged.skewed, [(15, ClockState::Behind)]);
        assert!(judged.marks.iter().all(|mark| *mark == START - 5_000));
        // Two readings that came quickly show that the clock is right.
        let judged = judge(&mut clocks, &[(3, 0, 10), (3, 0, 10)]);
        assert_eq!(judged.changed, [(1, 0, ClockState::Right)]);
    }

    #[test]
    fn devices_are_counted_by_their_estimates() {
        let mut clocks = Clocks::new(1_000);
        judge(
            &mut clocks,
            &[(1, 0, 500), (1, 0, 500), (2, DAY, 0), (2, DAY, 0)],
        );
        assert_eq!(clocks.counts()[7], 1, "up to a second");
        assert_eq!(clocks.counts()[0], 1, "a day ahead");
        judge(&mut clocks, &[(2, 2 * DAY, 0), (2, 0, 0), (3, 0, 0)]);
        assert_eq!(clocks.counts().iter().sum::<u64>(), 2);
    }

    fn bytes_of(clocks: &Clocks, interner: &mut Interner) -> Vec<u8> {
        let texts = interner.texts();
        let (mut out, mut symbols) = (Encoder::new(), SymbolWriter::new(&texts));
        clocks.encode(&mut out, &mut symbols);
        symbols.finish(&out)
    }

    fn read(bytes: &[u8], interner: &mut Interner) -> Result<Clocks, Corrupt> {
        let mut from = Decoder::new(bytes);
        let symbols = SymbolReader::read(&mut from, interner)?;
        let clocks = Clocks::decode(&mut from, &symbols, 5_000)?;
        from.end()?;
        Ok(clocks)
    }

    fn vehicles() -> Interner {
        let mut interner = Interner::new();
        for number in 1..10 {
            interner.intern(&format!("vehicle {number}"));
        }
        interner
    }

    #[test]
    fn a_wrong_clock_is_told_of_again_after_reading() {
        let (mut interner, mut clocks) = (vehicles(), Clocks::new(5_000));
        let rows = [(7, DAY, 0), (7, DAY, 0), (3, 0, 0), (3, 0, 0)];
        judge(&mut clocks, &rows);
        let bytes = bytes_of(&clocks, &mut interner);
        let mut clocks = read(&bytes, &mut interner).unwrap();
        let judged = judge(&mut clocks, &[(3, 1, 1), (7, DAY, 1), (7, DAY, 2)]);
        assert_eq!(judged.changed, [(1, 0, ClockState::Ahead)]);
        for end in 0..bytes.len() {
            assert!(read(&bytes[..end], &mut interner).is_err(), "{end}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_was_read_goes_on_as_what_was_written(
            rows in proptest::collection::vec(
                (0_u32..6, -20_000_i64..20_000,
                 proptest::prop_oneof![proptest::strategy::Just(NOT_RECEIVED), -20_000_i64..20_000]),
                0..200),
            cut in 0_usize..200,
            flips in proptest::collection::vec(proptest::prelude::any::<(proptest::sample::Index, u8)>(), 20),
        ) {
            let (before, after) = rows.split_at(cut.min(rows.len()));
            let (mut interner, mut kept) = (vehicles(), Clocks::new(5_000));
            judge(&mut kept, before);
            let bytes = bytes_of(&kept, &mut interner);
            let mut found = read(&bytes, &mut interner).unwrap();
            proptest::prop_assert_eq!(bytes_of(&found, &mut interner), bytes.clone());
            proptest::prop_assert_eq!(found.counts(), kept.counts());
            let (kept_judgement, found_judgement) = (judge(&mut kept, after), judge(&mut found, after));
            proptest::prop_assert_eq!(kept_judgement.marks, found_judgement.marks);
            proptest::prop_assert_eq!(kept_judgement.skewed, found_judgement.skewed);
            proptest::prop_assert_eq!(kept_judgement.ahead_of_others, found_judgement.ahead_of_others);
            proptest::prop_assert_eq!(kept.counts(), found.counts());
            for (place, bit) in flips {
                let mut changed = bytes.clone();
                changed[place.index(bytes.len())] ^= 1 << (bit % 8);
                if let Ok(mut clocks) = read(&changed, &mut interner) {
                    judge(&mut clocks, after);
                }
            }
        }

        #[test]
        fn how_events_are_cut_into_batches_does_not_matter(
            rows in proptest::collection::vec(
                (0_u32..6, -20_000_i64..20_000,
                 proptest::prop_oneof![proptest::strategy::Just(NOT_RECEIVED), -20_000_i64..20_000]),
                0..200),
            size in 1_usize..50,
        ) {
            let (mut whole, mut cut) = (Clocks::new(5_000), Clocks::new(5_000));
            let expected = judge(&mut whole, &rows);
            let mut found = Judgement::default();
            let mut before = 0;
            for rows in rows.chunks(size) {
                let judged = judge(&mut cut, rows);
                found.marks.extend(judged.marks);
                found.skewed.extend(judged.skewed.iter().map(|(row, state)| (row + before, *state)));
                let changed = judged.changed.iter();
                found.changed.extend(changed.map(|(row, device, state)| (row + before, *device, *state)));
                found.ahead_of_others += judged.ahead_of_others;
                before += rows.len() as u32;
            }
            proptest::prop_assert_eq!(found, expected);
            proptest::prop_assert_eq!(whole.counts(), cut.counts());
        }
    }
}
