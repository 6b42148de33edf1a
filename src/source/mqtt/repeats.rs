//! Messages that the broker sends again because it has not got our acknowledgement.
//!
//! It marks them and sends them with the packet id that they had before. Where the log has a message
//! with that id and the same content, it is that one: it was appended, and a crash or a lost
//! connection came before its acknowledgement.
//!
//! Only while the broker may not have the acknowledgement, though: after that, the id belongs to
//! another message, and among those of a fleet many have the same content. So a message is forgotten
//! as soon as the broker must have its acknowledgement, and at the latest when the broker sends
//! something new over a later connection: it begins with what it sends again.

use std::collections::BTreeMap;
use std::hash::BuildHasher;

use foldhash::quality::FixedState;

use super::super::log::Entry;

/// The messages that the broker may send again, by their packet ids.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    known: BTreeMap<u16, Known>,
    /// The number of the connection, from 1; 0 is that of an earlier run.
    connection: u64,
    /// Whether the broker has sent nothing new over this connection yet.
    is_sent_again: bool,
    /// Behind the last message of the log.
    end: u64,
}

/// A message in the log.
#[derive(Debug)]
struct Known {
    hash: u64,
    /// Its position in the log.
    position: u64,
    /// The connection over which it came last.
    connection: u64,
}

impl Repeats {
    /// Nothing is known of a log that ends here.
    pub(super) fn at(end: u64) -> Self {
        Self {
            end,
            ..Self::default()
        }
    }

    /// A message is in the log at a position.
    pub(super) fn note(&mut self, entry: &Entry<'_>, position: u64) {
        self.end = self.end.max(position + 1);
        if entry.packet_id != 0 {
            let known = Known {
                hash: hash(entry),
                position,
                connection: self.connection,
            };
            self.known.insert(entry.packet_id, known);
        }
    }

    /// Where in the log a message is that the broker sends again; nothing where it is not there.
    pub(super) fn find(&mut self, entry: &Entry<'_>) -> Option<u64> {
        let known = self.known.get_mut(&entry.packet_id)?;
        if known.hash != hash(entry) {
            return None;
        }
        known.connection = self.connection;
        Some(known.position)
    }

    /// There is another connection. Of a session that the broker does not have any more it sends
    /// nothing again.
    pub(super) fn connected(&mut self, session_kept: bool) {
        if !session_kept {
            self.known.clear();
        }
        self.connection += 1;
        self.is_sent_again = true;
    }

    /// A message has come that was not sent before: what was not sent again by now was acknowledged.
    pub(super) fn is_new(&mut self) {
        if std::mem::take(&mut self.is_sent_again) {
            let connection = self.connection;
            self.known.retain(|_, known| known.connection == connection);
        }
    }

    /// The broker has the acknowledgement of the message at a position.
    pub(super) fn confirm(&mut self, packet_id: u16, position: u64) {
        let known = self.known.get(&packet_id);
        if known.is_some_and(|known| known.position == position) {
            self.known.remove(&packet_id);
        }
    }

    /// The position in the log of the first message that may be sent again, or else behind its last.
    pub(super) fn first(&self) -> u64 {
        let positions = self.known.values().map(|known| known.position);
        positions.min().unwrap_or(self.end)
    }
}

fn hash(entry: &Entry<'_>) -> u64 {
    FixedState::default().hash_one((entry.topic, entry.payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry<'a>(packet_id: u16, topic: &'a str, payload: &'a str) -> Entry<'a> {
        Entry {
            packet_id,
            topic: topic.as_bytes(),
            payload: payload.as_bytes(),
        }
    }

    #[test]
    fn a_message_is_known_by_its_packet_id_and_content() {
        let mut repeats = Repeats::default();
        repeats.note(&entry(7, "cars/1", "a"), 3);
        assert_eq!(repeats.find(&entry(7, "cars/1", "a")), Some(3));
        for other in [
            entry(8, "cars/1", "a"),
            entry(7, "cars/2", "a"),
            entry(7, "cars/1", "b"),
            entry(7, "cars/1a", ""),
        ] {
            assert_eq!(repeats.find(&other), None, "{other:?}");
        }
        repeats.note(&entry(7, "cars/1", "b"), 4);
        assert_eq!(
            repeats.find(&entry(7, "cars/1", "a")),
            None,
            "acknowledged since"
        );
        assert_eq!(repeats.find(&entry(7, "cars/1", "b")), Some(4));
    }

    #[test]
    fn a_message_without_a_packet_id_never_comes_again() {
        let mut repeats = Repeats::default();
        repeats.note(&entry(0, "cars/1", "a"), 0);
        assert_eq!(repeats.find(&entry(0, "cars/1", "a")), None);
        assert_eq!(repeats.first(), 1);
    }

    #[test]
    fn what_the_broker_has_the_acknowledgement_of_is_no_repeat_of_equal_bytes() {
        let mut repeats = Repeats::at(10);
        let alive = entry(5, "fleet/v7/alive", "1");
        repeats.note(&alive, 10);
        repeats.note(&entry(6, "fleet/v8/alive", "1"), 11);
        assert_eq!(repeats.first(), 10);
        repeats.confirm(5, 10);
        repeats.connected(true);
        // With the same id and content, and sent before: it was on its way when the connection broke.
        assert_eq!(repeats.find(&alive), None);
        assert_eq!(repeats.find(&entry(6, "fleet/v8/alive", "1")), Some(11));
        assert_eq!(repeats.first(), 11);
        repeats.note(&alive, 12);
        repeats.confirm(5, 10);
        assert_eq!(repeats.find(&alive), Some(12), "a later one is meant");
        repeats.confirm(6, 11);
        repeats.confirm(5, 12);
        assert_eq!(repeats.first(), 13);
    }

    #[test]
    fn what_is_not_sent_again_before_anything_new_never_will_be() {
        let mut repeats = Repeats::default();
        let [a, b, c] = [entry(1, "t", "a"), entry(2, "t", "b"), entry(3, "t", "c")];
        repeats.note(&a, 0);
        repeats.note(&b, 1);
        repeats.connected(true);
        assert_eq!(repeats.find(&b), Some(1));
        repeats.is_new();
        repeats.note(&c, 2);
        repeats.is_new();
        assert_eq!(repeats.find(&a), None, "it was acknowledged");
        assert_eq!(
            repeats.find(&b),
            Some(1),
            "its acknowledgement is on its way"
        );
        assert_eq!(repeats.find(&c), Some(2));
        repeats.connected(true);
        assert_eq!(repeats.find(&c), Some(2));
        repeats.connected(false);
        assert_eq!(
            repeats.find(&c),
            None,
            "it belongs to a session that is gone"
        );
    }
}
