//! When checkpoints begin, and when one is whole: the decisions of the coordinator, without threads
//! and clocks, so that they can be tried under every order of events.

use std::time::Duration;

/// When checkpoints are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Schedule {
    /// From the beginning of one to the beginning of the next.
    pub(crate) every: Duration,
    /// From the end of one to the beginning of the next, at least.
    pub(crate) min_pause: Duration,
    /// One that is not whole by then is given up.
    pub(crate) timeout: Duration,
}

/// Something that the coordinator decides by. `number` is that of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// Some time has passed.
    Tick,
    /// Somebody wants one as soon as possible.
    Requested,
    /// The pipeline ends: one more, and no other.
    Last,
    /// A worker has frozen what it has.
    WorkerFroze { number: u64 },
    /// An owner has frozen what it has.
    OwnerFroze { number: u64 },
    /// It is stored, or could not be.
    Ended { number: u64 },
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// A checkpoint begins: barriers go to all workers. Behind the last one they take no input.
    Begin { number: u64, is_last: bool },
    /// All workers and owners have frozen what they have: it can be stored.
    Store { number: u64 },
    /// Time is over for it: what has come of it is dropped.
    GiveUp { number: u64, missing: usize },
}

/// The coordinator of a pipeline's checkpoints. One is under way at a time.
#[derive(Debug)]
pub(crate) struct Coordinator {
    schedule: Schedule,
    workers: usize,
    next_number: u64,
    /// When the next one is due, by the passed-in time.
    due: Duration,
    underway: Option<Underway>,
    is_requested: bool,
    /// The pipeline ends.
    is_ending: bool,
    /// The last one has begun.
    is_last: bool,
    /// Whether the next one waits, unless it is the last one.
    is_held: bool,
}

#[derive(Debug)]
struct Underway {
    number: u64,
    began: Duration,
    workers: usize,
    owners: usize,
    /// Whether it is being stored, which has an end of its own.
    is_storing: bool,
}

impl Coordinator {
    /// A coordinator for so many workers, each of which is an owner too; the first checkpoint has the
    /// number `next_number`. Times are since any one moment.
    pub(crate) fn new(schedule: Schedule, workers: usize, next_number: u64, now: Duration) -> Self {
        Self {
            schedule,
            workers,
            next_number,
            due: now + schedule.every,
            underway: None,
            is_requested: false,
            is_ending: false,
            is_last: false,
            is_held: false,
        }
    }

    /// From now on, none but the last one begins, or all do again.
    pub(crate) fn hold(&mut self, is_held: bool) {
        self.is_held = is_held;
    }

    /// Takes note of an event; gives what is to be done now. What comes of a checkpoint that was given
    /// up changes nothing.
    pub(crate) fn on(&mut self, event: Event, now: Duration) -> Option<Action> {
        match event {
            Event::Tick => {}
            Event::Requested => self.is_requested = true,
            Event::Last => self.is_ending = true,
            Event::WorkerFroze { number } => {
                if let Some(underway) = self.underway(number) {
                    underway.workers += 1;
                }
            }
            Event::OwnerFroze { number } => {
                if let Some(underway) = self.underway(number) {
                    underway.owners += 1;
                }
            }
            Event::Ended { number } => {
                if self.underway(number).is_some() {
                    self.underway = None;
                    self.due = self.due.max(now + self.schedule.min_pause);
                }
            }
        }
        self.decide(now)
    }

    fn underway(&mut self, number: u64) -> Option<&mut Underway> {
        self.underway
            .as_mut()
            .filter(|underway| underway.number == number)
    }

    fn decide(&mut self, now: Duration) -> Option<Action> {
        if let Some(underway) = &mut self.underway {
            let number = underway.number;
            let missing =
                2 * self.workers - (underway.workers + underway.owners).min(2 * self.workers);
            if underway.is_storing {
                return None;
            }
            if missing == 0 {
                underway.is_storing = true;
                return Some(Action::Store { number });
            }
            if now.saturating_sub(underway.began) >= self.schedule.timeout {
                self.underway = None;
                self.due = now + self.schedule.every;
                return Some(Action::GiveUp { number, missing });
            }
            return None;
        }
        if self.is_held && !self.is_ending {
            return None;
        }
        if self.is_last || !(self.is_requested || self.is_ending || now >= self.due) {
            return None;
        }
        let number = self.next_number;
        self.next_number += 1;
        self.is_requested = false;
        self.is_last = self.is_ending;
        self.due = now + self.schedule.every;
        self.underway = Some(Underway {
            number,
            began: now,
            workers: 0,
            owners: 0,
            is_storing: false,
        });
        Some(Action::Begin {
            number,
            is_last: self.is_last,
        })
    }

    /// How long nothing is to be done where nothing comes.
    pub(crate) fn patience(&self, now: Duration) -> Duration {
        match &self.underway {
            Some(underway) => (underway.began + self.schedule.timeout).saturating_sub(now),
            None if self.is_held => Duration::MAX,
            None => self.due.saturating_sub(now),
        }
    }

    /// Whether the last checkpoint has begun and is over.
    pub(crate) fn is_over(&self) -> bool {
        self.is_last && self.underway.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULE: Schedule = Schedule {
        every: Duration::from_secs(10),
        min_pause: Duration::from_secs(4),
        timeout: Duration::from_secs(60),
    };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn begin(number: u64) -> Option<Action> {
        let is_last = false;
        Some(Action::Begin { number, is_last })
    }

    fn froze(coordinator: &mut Coordinator, number: u64, workers: usize, now: u64) -> Vec<Action> {
        let events = [Event::WorkerFroze { number }, Event::OwnerFroze { number }];
        let events = events.iter().flat_map(|event| vec![*event; workers]);
        events
            .filter_map(|event| coordinator.on(event, at(now)))
            .collect()
    }

    #[test]
    fn begins_at_its_times_and_stores_what_is_whole() {
        let mut coordinator = Coordinator::new(SCHEDULE, 2, 5, at(0));
        assert_eq!(coordinator.patience(at(3)), at(7));
        assert_eq!(coordinator.on(Event::Tick, at(9)), None);
        assert_eq!(coordinator.on(Event::Tick, at(10)), begin(5));
        assert_eq!(coordinator.on(Event::Tick, at(11)), None);
        assert_eq!(
            froze(&mut coordinator, 5, 2, 12),
            [Action::Store { number: 5 }]
        );
        assert_eq!(
            coordinator.on(Event::Tick, at(50)),
            None,
            "it is being stored"
        );
        assert_eq!(coordinator.on(Event::Ended { number: 5 }, at(51)), None);
        assert_eq!(
            coordinator.on(Event::Tick, at(54)),
            None,
            "a pause lies between"
        );
        assert_eq!(coordinator.on(Event::Tick, at(55)), begin(6));
    }

    #[test]
    fn what_is_not_whole_in_time_is_given_up_and_what_comes_of_it_later_is_nothing() {
        let mut coordinator = Coordinator::new(SCHEDULE, 1, 0, at(0));
        assert_eq!(coordinator.on(Event::Requested, at(1)), begin(0));
        coordinator.on(Event::WorkerFroze { number: 0 }, at(2));
        assert_eq!(coordinator.on(Event::Tick, at(60)), None);
        let missing = 1;
        let given_up = Some(Action::GiveUp { number: 0, missing });
        assert_eq!(coordinator.on(Event::Tick, at(61)), given_up);
        assert_eq!(
            coordinator.on(Event::OwnerFroze { number: 0 }, at(62)),
            None
        );
        assert_eq!(coordinator.on(Event::Tick, at(71)), begin(1));
        assert_eq!(coordinator.on(Event::Ended { number: 0 }, at(72)), None);
        assert_eq!(
            froze(&mut coordinator, 1, 1, 72),
            [Action::Store { number: 1 }]
        );
    }

    #[test]
    fn a_request_does_not_wait_for_its_time_but_for_the_one_that_is_under_way() {
        let mut coordinator = Coordinator::new(SCHEDULE, 1, 0, at(0));
        assert_eq!(coordinator.on(Event::Requested, at(1)), begin(0));
        assert_eq!(coordinator.on(Event::Requested, at(1)), None);
        froze(&mut coordinator, 0, 1, 1);
        assert_eq!(coordinator.on(Event::Ended { number: 0 }, at(2)), begin(1));
    }

    #[test]
    fn one_that_is_held_waits_and_the_last_one_does_not() {
        let mut coordinator = Coordinator::new(SCHEDULE, 1, 0, at(0));
        coordinator.hold(true);
        assert_eq!(coordinator.on(Event::Requested, at(1)), None);
        assert_eq!(coordinator.on(Event::Tick, at(30)), None);
        assert_eq!(coordinator.patience(at(30)), Duration::MAX, "no spinning");
        coordinator.hold(false);
        assert_eq!(coordinator.on(Event::Tick, at(31)), begin(0));
        froze(&mut coordinator, 0, 1, 32);
        coordinator.hold(true);
        assert_eq!(coordinator.on(Event::Ended { number: 0 }, at(33)), None);
        assert_eq!(coordinator.on(Event::Tick, at(90)), None);
        let (number, is_last) = (1, true);
        let last = Some(Action::Begin { number, is_last });
        assert_eq!(coordinator.on(Event::Last, at(91)), last);
    }

    #[test]
    fn behind_the_last_one_comes_no_other() {
        let mut coordinator = Coordinator::new(SCHEDULE, 1, 0, at(0));
        assert_eq!(coordinator.on(Event::Tick, at(10)), begin(0));
        assert_eq!(coordinator.on(Event::Last, at(11)), None);
        assert!(!coordinator.is_over());
        froze(&mut coordinator, 0, 1, 12);
        let (number, is_last) = (1, true);
        let last = Some(Action::Begin { number, is_last });
        assert_eq!(coordinator.on(Event::Ended { number: 0 }, at(12)), last);
        froze(&mut coordinator, 1, 1, 13);
        assert_eq!(coordinator.on(Event::Ended { number: 1 }, at(14)), None);
        assert!(coordinator.is_over());
        assert_eq!(coordinator.on(Event::Requested, at(90)), None);
    }
}
