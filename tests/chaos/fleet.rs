//! Events of a small fleet, a step of event time after the other. The same seed gives the same.

/// Partitions of the topic. All events of a vehicle are in one of them.
pub(crate) const PARTITIONS: u16 = 4;

/// Vehicles.
const VEHICLES: u16 = 48;

/// Regions; each has vehicles in every partition.
const REGIONS: u16 = 3;

/// Where event time begins: long ago, and a beginning of all windows.
pub(crate) const START_MS: i64 = 1_730_621_760_000;

/// Event time in a step.
pub(crate) const STEP_MS: i64 = 100;

/// How far an event may be behind the beginning of its step: less than `out_of_order` by more than a
/// step, so that none is late.
const BEHIND_MS: i64 = 1_500;

/// How far beyond the last step the events lie that close all windows.
const FLUSH_MS: i64 = 60_000;

/// The vehicle that closes windows and that no metric counts.
pub(crate) const FLUSH: &str = "flush";

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Speed.
    Speed,
    /// What is in the tank.
    Fuel,
}

impl Kind {
    /// As it stands in an event.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Speed => "speed",
            Self::Fuel => "fuel",
        }
    }
}

/// One event, in the order of its partition.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    /// When, ms since the epoch.
    pub(crate) time_ms: i64,
    /// Of which vehicle, from 0.
    pub(crate) number: u16,
    /// What was measured.
    pub(crate) kind: Kind,
    /// The value; a quarter of a whole number, so that sums are exact in any order. Some have none.
    pub(crate) value: Option<f64>,
}

impl Event {
    /// The vehicle's name.
    pub(crate) fn vehicle(&self) -> String {
        format!("V{:02}", self.number)
    }

    /// Its region.
    pub(crate) fn region(&self) -> String {
        format!("R{}", self.number / PARTITIONS % REGIONS)
    }

    /// Its partition.
    pub(crate) fn partition(&self) -> u16 {
        self.number % PARTITIONS
    }

    /// As a record.
    pub(crate) fn record(&self) -> String {
        let value = self
            .value
            .map_or(String::new(), |value| format!(",\"value\":{value}"));
        format!(
            "{{\"timestamp\":{},\"vehicle\":\"{}\",\"region\":\"{}\",\"kind\":\"{}\"{value}}}",
            self.time_ms,
            self.vehicle(),
            self.region(),
            self.kind.name()
        )
    }
}

/// The fleet on its way.
#[derive(Debug)]
pub(crate) struct Fleet {
    chance: fastrand::Rng,
    step: i64,
    /// Until which step each vehicle says nothing.
    silent_until: Vec<i64>,
}

impl Fleet {
    /// At its beginning.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            chance: fastrand::Rng::with_seed(seed),
            step: 0,
            silent_until: vec![0; usize::from(VEHICLES)],
        }
    }

    /// The events of the next step, in the order in which they are sent.
    pub(crate) fn step(&mut self) -> Vec<Event> {
        let base_ms = START_MS + self.step * STEP_MS;
        let mut events = Vec::new();
        for (number, silent_until) in (0..VEHICLES).zip(&mut self.silent_until) {
            if *silent_until > self.step {
                continue;
            }
            // Three to ten seconds of silence: longer than a session's gap, and some longer than
            // what is held.
            if self.chance.u32(..150) == 0 {
                *silent_until = self.step + self.chance.i64(30..100);
                continue;
            }
            if self.chance.u32(..10) < 3 {
                continue;
            }
            let kind = match self.chance.u32(..5) {
                0 => Kind::Fuel,
                _ => Kind::Speed,
            };
            let quarters = self.chance.i32(-40..400);
            events.push(Event {
                // Before the first step there is no event time.
                time_ms: (base_ms + self.chance.i64(-BEHIND_MS..STEP_MS)).max(START_MS),
                number,
                kind,
                value: (self.chance.u32(..20) > 0).then_some(f64::from(quarters) / 4.0),
            });
        }
        self.step += 1;
        events
    }

    /// The records that close all windows, one for each partition, and their time.
    pub(crate) fn flush(&self) -> (String, i64) {
        let time_ms = START_MS + self.step * STEP_MS + FLUSH_MS;
        let record = format!(
            "{{\"timestamp\":{time_ms},\"vehicle\":\"{FLUSH}\",\"region\":\"R0\",\"kind\":\"speed\"}}"
        );
        (record, time_ms)
    }
}

#[test]
fn a_seed_gives_the_same_events_and_none_is_late() {
    let (mut one, mut other) = (Fleet::new(7), Fleet::new(7));
    let mut highest = [i64::MIN; PARTITIONS as usize];
    let mut disorder = 0;
    for _ in 0..500 {
        let events = one.step();
        let records: Vec<_> = events.iter().map(Event::record).collect();
        let same: Vec<_> = other.step().iter().map(Event::record).collect();
        assert_eq!(records, same);
        for event in events {
            let highest = &mut highest[usize::from(event.partition())];
            assert!(event.time_ms > highest.saturating_sub(2_000), "{event:?}");
            disorder += u32::from(event.time_ms < *highest);
            *highest = event.time_ms.max(*highest);
        }
    }
    assert!(disorder > 1_000, "{disorder}");
}
