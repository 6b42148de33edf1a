//! What the devices of a split agree on, where nothing is known of when events were received.
//!
//! The last times of the [`DEVICES`] devices that were heard last are kept, one time a device, so
//! that nobody can outvote the others by talking much. Their lower median, before an event, is what
//! is agreed on. An event more than `max_skew` ahead of it moves the watermark up to the median and
//! no further; all others move it as ever. So a device with a wrong clock moves nothing while at
//! least half of the devices heard last are right, and a real jump in time, such as a gap in the
//! data, is followed once half of them have shown it: no event is late because of it, and windows
//! close a little later.
//!
//! Nothing is agreed on, and nothing moves, before [`FEWEST`] devices or [`DEVICES`] events have been
//! heard: where there are that few devices, the lower of their times counts.

use crate::model::{
    Corrupt, Decoder, Encoder, HoldsSymbols, LiveSymbols, Renumbering, Symbol, SymbolReader,
    SymbolWriter, TimestampMs,
};

/// How many devices are listened to.
const DEVICES: usize = 32;

/// How many make an agreement.
const FEWEST: usize = 3;

/// The devices that were heard last.
#[derive(Debug, Clone, Default)]
pub(super) struct Consensus {
    /// The last time of each, the device that has been silent for longest first.
    recent: Vec<(Symbol, TimestampMs)>,
    /// The same times, sorted.
    sorted: Vec<TimestampMs>,
    events: usize,
}

impl Consensus {
    /// Takes an event: up to when it moves the watermark, and whether it is too far ahead.
    pub(super) fn mark(
        &mut self,
        device: Symbol,
        time: TimestampMs,
        max_skew_ms: i64,
    ) -> (TimestampMs, bool) {
        let agreed = self.agreed();
        self.hear(device, time);
        match agreed {
            None => (TimestampMs::MIN, false),
            Some(agreed) if time > agreed.saturating_add(max_skew_ms) => (agreed, true),
            Some(_) => (time, false),
        }
    }

    /// Writes the devices and times, and how many events there were.
    pub(super) fn encode(&self, out: &mut Encoder, symbols: &mut SymbolWriter<'_>) {
        let recent = self.recent.iter();
        out.u32s(recent.clone().map(|(device, _)| symbols.number(*device)));
        out.i64s(recent.map(|(_, time)| *time));
        out.count(self.events);
    }

    /// Reads what [`encode`](Self::encode) has written.
    pub(super) fn decode(from: &mut Decoder<'_>, symbols: &SymbolReader) -> Result<Self, Corrupt> {
        let (devices, times) = (from.u32s()?, from.i64s()?);
        // More than can be counted here is as good as that.
        let events = usize::try_from(from.u64()?).unwrap_or(usize::MAX);
        if devices.len() != times.len() || devices.len() > DEVICES.min(events) {
            let (devices, times) = (devices.len(), times.len());
            let reason = format!("{devices} devices were heard {events} times, last at {times}");
            return Err(from.corrupt(reason));
        }
        let mut recent: Vec<(Symbol, TimestampMs)> = Vec::with_capacity(devices.len());
        for (device, time) in devices.into_iter().zip(&times) {
            let device = symbols.symbol(device)?;
            if recent.iter().any(|(known, _)| *known == device) {
                return Err(from.corrupt("a device was heard last twice"));
            }
            recent.push((device, *time));
        }
        let mut sorted = times;
        sorted.sort_unstable();
        Ok(Self {
            recent,
            sorted,
            events,
        })
    }

    fn agreed(&self) -> Option<TimestampMs> {
        if self.recent.len() < FEWEST && self.events < DEVICES {
            return None;
        }
        let middle = self.sorted.len().saturating_sub(1) / 2;
        self.sorted.get(middle).copied()
    }

    fn hear(&mut self, device: Symbol, time: TimestampMs) {
        self.events = self.events.saturating_add(1);
        let known = self.recent.iter().position(|(known, _)| *known == device);
        let full = (self.recent.len() >= DEVICES).then_some(0);
        if let Some(place) = known.or(full) {
            let (_, before) = self.recent.remove(place);
            let place = self.sorted.partition_point(|known| *known < before);
            self.sorted.remove(place);
        }
        self.recent.push((device, time));
        let place = self.sorted.partition_point(|known| *known < time);
        self.sorted.insert(place, time);
    }
}

impl HoldsSymbols for Consensus {
    fn mark_live(&self, live: &mut LiveSymbols) {
        self.recent
            .iter()
            .for_each(|(device, _)| live.mark(*device));
    }

    fn renumber(&mut self, numbers: &Renumbering) {
        for (device, _) in &mut self.recent {
            device.renumber(numbers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: i64 = i64::MIN;
    const DAY: i64 = 86_400_000;

    fn marks(consensus: &mut Consensus, events: &[(u32, i64)]) -> Vec<i64> {
        let mark = |(device, time): &(u32, i64)| consensus.mark(Symbol(*device), *time, 1_000).0;
        events.iter().map(mark).collect()
    }

    #[test]
    fn one_device_ahead_moves_nothing_even_where_it_comes_first_and_talks_most() {
        let mut consensus = Consensus::default();
        let bad = (9, DAY);
        let events = [
            bad,
            bad,
            (1, 10),
            (2, 20),
            (1, 30),
            bad,
            (2, 40),
            bad,
            (1, 50),
        ];
        // The lower median of the device ahead and two others is the greater of those.
        let expected = [MIN, MIN, MIN, MIN, 30, 30, 40, 40, 50];
        assert_eq!(marks(&mut consensus, &events), expected);
    }

    #[test]
    fn a_gap_in_the_data_is_followed_once_half_of_the_devices_have_shown_it() {
        let mut consensus = Consensus::default();
        let fleet = |millis: i64| {
            (0..100)
                .map(move |device| (device, millis))
                .collect::<Vec<_>>()
        };
        assert_eq!(marks(&mut consensus, &fleet(0)).last(), Some(&0));
        let after = marks(&mut consensus, &fleet(DAY));
        let held = after.iter().take_while(|mark| **mark == 0).count();
        assert_eq!(held, DEVICES / 2 + 1);
        assert!(after[held..].iter().all(|mark| *mark == DAY));
    }

    #[test]
    fn devices_that_are_heard_once_each_and_rarely_are_followed_at_a_distance() {
        let mut consensus = Consensus::default();
        let events: Vec<_> = (0..200)
            .map(|number| (number, i64::from(number) * DAY))
            .collect();
        let last = marks(&mut consensus, &events).into_iter().max().unwrap();
        let behind = 199 - last / DAY;
        assert!(behind <= DEVICES as i64 / 2 + 1, "{behind} devices behind");
    }

    #[test]
    fn a_single_device_is_believed_in_the_end() {
        let mut consensus = Consensus::default();
        let events: Vec<_> = (0..40).map(|number| (1, i64::from(number))).collect();
        let marks = marks(&mut consensus, &events);
        assert!(marks[..DEVICES].iter().all(|mark| *mark == MIN));
        assert_eq!(marks[DEVICES], DEVICES as i64);
        let jumped = consensus.mark(Symbol(1), DAY, 1_000);
        assert_eq!(jumped, (39, true));
        assert_eq!(consensus.mark(Symbol(1), DAY + 1, 1_000), (DAY + 1, false));
    }
}
