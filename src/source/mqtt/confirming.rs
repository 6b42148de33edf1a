//! Which acknowledgements the broker must have got: those that were sent before a ping that it has
//! answered, for it reads what we say in order.

use std::collections::VecDeque;

use super::acks::Ack;

/// Acknowledgements on their way over one connection, in order.
#[derive(Debug, Default)]
pub(super) struct Confirming {
    /// To be sent.
    asked: VecDeque<Ack>,
    /// Sent, and not confirmed.
    sent: VecDeque<Ack>,
    /// How many of those sent were so before each of the pings that are not answered.
    pings: VecDeque<usize>,
    /// Whether a ping is to be sent.
    is_ping_asked: bool,
}

impl Confirming {
    /// An acknowledgement is to be sent.
    pub(super) fn ask(&mut self, ack: Ack) {
        self.asked.push_back(ack);
    }

    /// The next acknowledgement was sent.
    pub(super) fn ack_sent(&mut self) {
        self.sent.extend(self.asked.pop_front());
    }

    /// Whether it is time for a ping, which is taken as asked for then: all acknowledgements of a
    /// moment have been sent, and no ping is on its way.
    pub(super) fn takes_ping(&mut self) -> bool {
        let wants = self.asked.is_empty() && !self.sent.is_empty();
        let takes = wants && !self.is_ping_asked && self.pings.is_empty();
        self.is_ping_asked |= takes;
        takes
    }

    /// A ping was sent, whoever has asked for it.
    pub(super) fn ping_sent(&mut self) {
        self.is_ping_asked = false;
        self.pings.push_back(self.sent.len());
    }

    /// The oldest ping was answered: gives the acknowledgements that the broker must have.
    pub(super) fn ping_answered(&mut self) -> Vec<Ack> {
        let count = self.pings.pop_front().unwrap_or_default();
        for later in &mut self.pings {
            *later = later.saturating_sub(count);
        }
        self.sent.drain(..count.min(self.sent.len())).collect()
    }

    /// Whether the broker must have all that there are.
    pub(super) fn is_done(&self) -> bool {
        self.asked.is_empty() && self.sent.is_empty()
    }

    /// The connection is lost: what is not confirmed never will be.
    pub(super) fn lost(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(packet_id: u16) -> Ack {
        Ack {
            packet_id,
            connection: 0,
            position: Some(packet_id.into()),
        }
    }

    fn ids(acks: Vec<Ack>) -> Vec<u16> {
        acks.into_iter().map(|ack| ack.packet_id).collect()
    }

    #[test]
    fn what_was_sent_before_an_answered_ping_is_confirmed() {
        let mut confirming = Confirming::default();
        assert!(!confirming.takes_ping(), "there is nothing to confirm");
        confirming.ask(ack(1));
        confirming.ask(ack(2));
        confirming.ack_sent();
        assert!(!confirming.takes_ping(), "one is still to be sent");
        confirming.ack_sent();
        assert!(confirming.takes_ping());
        assert!(!confirming.takes_ping(), "one is enough");
        confirming.ping_sent();
        confirming.ask(ack(3));
        confirming.ack_sent();
        assert!(!confirming.takes_ping(), "the other is on its way");
        // The keep-alive's own.
        confirming.ping_sent();
        confirming.ask(ack(4));
        confirming.ack_sent();
        assert_eq!(ids(confirming.ping_answered()), [1, 2]);
        assert!(!confirming.is_done() && !confirming.takes_ping());
        assert_eq!(ids(confirming.ping_answered()), [3]);
        assert!(confirming.takes_ping());
        confirming.ping_sent();
        assert_eq!(ids(confirming.ping_answered()), [4]);
        assert!(confirming.is_done() && !confirming.takes_ping());
        assert_eq!(ids(confirming.ping_answered()), [0; 0], "nobody has asked");
    }

    #[test]
    fn nothing_of_a_lost_connection_is_confirmed() {
        let mut confirming = Confirming::default();
        confirming.ask(ack(1));
        confirming.ack_sent();
        confirming.ping_sent();
        confirming.lost();
        assert_eq!(ids(confirming.ping_answered()), [0; 0]);
        assert!(confirming.is_done());
    }
}
