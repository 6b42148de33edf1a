//! The alignment of barriers at an owner: what a worker says behind its barrier waits until the
//! barriers of all workers have come, so that the state between is of one moment (Chandy and Lamport,
//! 1985; aligned as in Carbone et al., "Lightweight Asynchronous Snapshots for Distributed Dataflows",
//! 2015).

use std::collections::VecDeque;

use crate::pipeline::exchange::{Message, Sent};

/// Which workers have said their barrier, and what they have said since.
#[derive(Debug)]
pub(in crate::pipeline) struct BarrierAlignment {
    /// How many workers there are.
    workers: usize,
    /// The workers whose barrier has come while that of others has not.
    arrived: Vec<usize>,
    /// What came behind those barriers.
    held: VecDeque<Sent>,
}

/// What is to be done with something that came.
#[derive(Debug)]
pub(in crate::pipeline) enum Aligned {
    /// It is for now.
    Now(Sent),
    /// All barriers of this checkpoint have come: the state is to be frozen before anything else.
    Complete(u64),
    /// Nothing: it waits, or it was a barrier of which others are missing.
    Waits,
}

impl BarrierAlignment {
    /// No barrier yet.
    pub(in crate::pipeline) fn new(workers: usize) -> Self {
        Self {
            workers,
            arrived: Vec::new(),
            held: VecDeque::new(),
        }
    }

    /// Something came.
    pub(in crate::pipeline) fn receive(&mut self, sent: Sent) -> Aligned {
        if self.arrived.contains(&sent.worker) {
            self.held.push_back(sent);
            return Aligned::Waits;
        }
        let Message::Barrier(number) = sent.message else {
            return Aligned::Now(sent);
        };
        self.arrived.push(sent.worker);
        if self.arrived.len() < self.workers {
            return Aligned::Waits;
        }
        self.arrived.clear();
        Aligned::Complete(number)
    }

    /// What has waited for a barrier that is now complete, in the order in which it came. To be taken
    /// and received again before anything else.
    pub(in crate::pipeline) fn release(&mut self) -> VecDeque<Sent> {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TimestampMs;

    fn flushed(worker: usize, watermark: TimestampMs) -> Sent {
        let reached = watermark;
        let message = Message::Flushed { watermark, reached };
        Sent { worker, message }
    }

    fn barrier(worker: usize, number: u64) -> Sent {
        let message = Message::Barrier(number);
        Sent { worker, message }
    }

    /// What an owner would do, in order.
    fn log(alignment: &mut BarrierAlignment, sent: Vec<Sent>) -> Vec<String> {
        let mut waiting: VecDeque<_> = sent.into();
        let mut log = Vec::new();
        while let Some(sent) = waiting.pop_front() {
            match alignment.receive(sent) {
                Aligned::Now(Sent {
                    worker,
                    message: Message::Flushed { watermark, .. },
                }) => log.push(format!("{worker} at {watermark}")),
                Aligned::Now(other) => log.push(format!("{other:?}")),
                Aligned::Complete(number) => {
                    log.push(format!("checkpoint {number}"));
                    for sent in alignment.release().into_iter().rev() {
                        waiting.push_front(sent);
                    }
                }
                Aligned::Waits => {}
            }
        }
        log
    }

    #[test]
    fn what_comes_behind_a_barrier_waits_for_the_other_barriers() {
        let mut alignment = BarrierAlignment::new(2);
        let sent = vec![
            flushed(0, 1),
            barrier(0, 7),
            flushed(0, 2),
            flushed(1, 1),
            barrier(1, 7),
            flushed(1, 2),
        ];
        let expected = ["0 at 1", "1 at 1", "checkpoint 7", "0 at 2", "1 at 2"];
        assert_eq!(log(&mut alignment, sent), expected);
        assert_eq!(alignment.held.len(), 0);
    }

    #[test]
    fn a_fast_worker_may_be_several_barriers_ahead() {
        let mut alignment = BarrierAlignment::new(2);
        let sent = vec![
            barrier(0, 1),
            flushed(0, 1),
            barrier(0, 2),
            flushed(0, 2),
            flushed(1, 1),
            barrier(1, 1),
        ];
        assert_eq!(
            log(&mut alignment, sent),
            ["1 at 1", "checkpoint 1", "0 at 1"]
        );
        assert_eq!(alignment.held.len(), 1, "it waits for the second barrier");
        let sent = vec![flushed(1, 2), barrier(1, 2)];
        assert_eq!(
            log(&mut alignment, sent),
            ["1 at 2", "checkpoint 2", "0 at 2"]
        );
    }

    #[test]
    fn one_worker_waits_for_nobody() {
        let mut alignment = BarrierAlignment::new(1);
        let sent = vec![barrier(0, 1), flushed(0, 1), barrier(0, 2)];
        assert_eq!(
            log(&mut alignment, sent),
            ["checkpoint 1", "0 at 1", "checkpoint 2"]
        );
    }
}
