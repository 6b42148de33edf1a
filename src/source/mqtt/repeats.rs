//! Messages that the broker sends again because it has not got our acknowledgement.
//!
//! It marks them and sends them with the packet id that they had before. Where the log has a message
//! with that id and the same content, it is that one: it was appended, and a crash or a lost
//! connection came before its acknowledgement.

use std::collections::BTreeMap;
use std::hash::BuildHasher;

use foldhash::quality::FixedState;

use super::super::log::Entry;

/// What was last received with each packet id, as hashes.
#[derive(Debug, Default)]
pub(super) struct Repeats(BTreeMap<u16, u64>);

impl Repeats {
    /// A message is in the log.
    pub(super) fn note(&mut self, entry: &Entry<'_>) {
        if entry.packet_id != 0 {
            self.0.insert(entry.packet_id, hash(entry));
        }
    }

    /// Whether a message that the broker sends again is in the log.
    pub(super) fn has(&self, entry: &Entry<'_>) -> bool {
        self.0.get(&entry.packet_id) == Some(&hash(entry))
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
        repeats.note(&entry(7, "cars/1", "a"));
        assert!(repeats.has(&entry(7, "cars/1", "a")));
        for other in [
            entry(8, "cars/1", "a"),
            entry(7, "cars/2", "a"),
            entry(7, "cars/1", "b"),
            entry(7, "cars/1a", ""),
        ] {
            assert!(!repeats.has(&other), "{other:?}");
        }
        repeats.note(&entry(7, "cars/1", "b"));
        assert!(!repeats.has(&entry(7, "cars/1", "a")), "acknowledged since");
        assert!(repeats.has(&entry(7, "cars/1", "b")));
    }

    #[test]
    fn a_message_without_a_packet_id_never_comes_again() {
        let mut repeats = Repeats::default();
        repeats.note(&entry(0, "cars/1", "a"));
        assert!(!repeats.has(&entry(0, "cars/1", "a")));
    }
}
