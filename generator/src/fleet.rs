//! The fleet: an endless stream of events in the order of their emission.

use std::collections::VecDeque;

use crate::config::{Chances, FleetConfig, InvalidFleet};
use crate::event::Event;
use crate::held::Held;
use crate::schedule::Schedule;
use crate::wheel::Wheel;

/// A fleet, or a shard of one. The same configuration gives the same events.
#[derive(Debug)]
pub struct Fleet {
    schedule: Schedule,
    chances: Chances,
    late_by_ms: u32,
    /// The late ones, until they have been held back long enough; the time, the delay that comes on
    /// top, and the reading. They come and go in the order of their time.
    late: VecDeque<(u64, u32, Held)>,
    wheel: Wheel,
    /// What is emitted at `now_ms`, and how much of it has been handed out.
    ready: Vec<Held>,
    taken: usize,
    now_ms: u64,
}

impl Fleet {
    /// A fleet before its first event.
    ///
    /// # Errors
    /// When a value of the configuration is out of its range.
    pub fn new(config: FleetConfig) -> Result<Self, InvalidFleet> {
        let chances = config.chances()?;
        Ok(Self {
            schedule: Schedule::new(&config),
            wheel: Wheel::new(chances.delays),
            chances,
            // The check bounds it to thirty days, which fit.
            late_by_ms: config.late_by_ms as u32,
            late: VecDeque::new(),
            ready: Vec::new(),
            taken: 0,
            now_ms: config.start_ms,
        })
    }

    /// The event that is emitted next; `emission_ms` never decreases from one to the next.
    pub fn next_event(&mut self) -> Event {
        loop {
            if let Some(held) = self.ready.get(self.taken) {
                self.taken += 1;
                return held.emit(self.now_ms);
            }
            self.advance();
        }
    }

    /// Goes on to the next millisecond in which something happens, and collects what is emitted
    /// in it.
    fn advance(&mut self) {
        self.now_ms = if self.wheel.is_empty() {
            self.next_entry_ms()
        } else {
            self.now_ms + 1
        };
        while self.schedule.next_due_ms() <= self.now_ms {
            self.take_reading();
        }
        while let Some((release_ms, delay_ms, held)) = self.late.front().copied() {
            if release_ms > self.now_ms {
                break;
            }
            self.late.pop_front();
            self.wheel.insert(release_ms + u64::from(delay_ms), held);
        }
        self.wheel.take(self.now_ms, &mut self.ready);
        self.taken = 0;
    }

    /// When the next reading enters the wheel.
    fn next_entry_ms(&self) -> u64 {
        let due_ms = self.schedule.next_due_ms();
        self.late
            .front()
            .map_or(due_ms, |(release_ms, ..)| due_ms.min(*release_ms))
    }

    fn take_reading(&mut self) {
        let due_ms = self.schedule.next_due_ms();
        let Some((vehicle, pass)) = self.schedule.next_vehicle() else {
            return;
        };
        let reading = vehicle.read(pass, &self.chances);
        if !reading.late {
            let held = Held::new(vehicle, reading, reading.delay_ms);
            self.wheel
                .insert(due_ms + u64::from(reading.delay_ms), held);
            return;
        }
        let held = Held::new(vehicle, reading, self.late_by_ms + reading.delay_ms);
        self.late
            .push_back((due_ms + u64::from(self.late_by_ms), reading.delay_ms, held));
    }
}
