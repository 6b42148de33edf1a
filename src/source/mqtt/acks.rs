//! Acknowledgements on their way from the thread that hands over to the one that speaks to the
//! broker.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The acknowledgement of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ack {
    /// The message's packet id, which means something only within one connection.
    pub(super) packet_id: u16,
    /// The number of that connection.
    pub(super) connection: u64,
    /// The message's position in the log, where it is there.
    pub(super) position: Option<u64>,
}

/// Acknowledgements to send, in the order of their messages, as the protocol wants.
#[derive(Debug, Default)]
pub(super) struct Acks {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Ack>,
    complete: bool,
    /// Those that the broker must have got.
    confirmed: Vec<Ack>,
    has_session: bool,
}

impl Acks {
    /// Adds some.
    pub(super) fn add(&self, acks: impl IntoIterator<Item = Ack>) {
        self.lock().waiting.extend(acks);
        self.changed.notify_one();
    }

    /// Says that none will be added any more.
    pub(super) fn complete(&self) {
        self.lock().complete = true;
        self.changed.notify_one();
    }

    /// Waits until some were added or none will be any more.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Sends those of the present connection until `send` refuses one, which is kept for the next
    /// time. Those of earlier connections are thrown away: their packet ids may by now belong to
    /// messages that nobody has handed over, and the broker sends theirs again.
    pub(super) fn send(&self, connection: u64, mut send: impl FnMut(Ack) -> bool) {
        let mut state = self.lock();
        while let Some(ack) = state.waiting.front() {
            if ack.connection == connection && !send(*ack) {
                return;
            }
            state.waiting.pop_front();
        }
    }

    /// The broker must have got these.
    pub(super) fn confirm(&self, acks: impl IntoIterator<Item = Ack>) {
        self.lock().confirmed.extend(acks);
    }

    /// Those that were confirmed since this was asked last.
    pub(super) fn take_confirmed(&self) -> Vec<Ack> {
        std::mem::take(&mut self.lock().confirmed)
    }

    /// The broker has agreed to all that is subscribed to: from now on it keeps messages for us.
    pub(super) fn subscribed(&self) {
        self.lock().has_session = true;
    }

    /// Whether the broker keeps messages for us.
    pub(super) fn has_session(&self) -> bool {
        self.lock().has_session
    }

    /// Whether all were sent or thrown away and none will be added.
    pub(super) fn are_done(&self) -> bool {
        let state = self.lock();
        state.complete && state.waiting.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(packet_id: u16, connection: u64) -> Ack {
        Ack {
            packet_id,
            connection,
            position: None,
        }
    }

    #[test]
    fn only_those_of_the_present_connection_are_sent() {
        let acks = Acks::default();
        acks.add([ack(1, 1), ack(2, 1), ack(1, 2), ack(2, 2), ack(3, 2)]);
        acks.complete();
        let mut sent = Vec::new();
        acks.send(2, |ack| {
            sent.push(ack.packet_id);
            sent.len() < 2
        });
        assert_eq!(sent, [1, 2]);
        assert!(!acks.are_done());
        acks.send(2, |ack| {
            sent.push(ack.packet_id);
            true
        });
        assert_eq!(sent, [1, 2, 2, 3]);
        assert!(acks.are_done());
    }
}
