//! What stands beside a committed offset: up to when windows are written.
//!
//! Kafka keeps a text with every committed offset. Ours is `weir/1 written=MS`, in ms since the
//! epoch. Without it, a restart would form again, from a part of their events, the windows that were
//! written before but whose last events come after the offset.

use crate::model::TimestampMs;

/// What stands beside an offset at which a group began, and how many partitions its topic had then.
const BEGAN: &str = "weir/1 began partitions=";

/// What stands beside an offset that an instance has checkpointed, and its name.
const INSTANCE: &str = "weir/1 instance=";

/// What follows the name where no confirmed checkpoint has the partition, and from where it was read.
const FROM: &str = " from=";

/// The format's name and version, and what follows.
const PREFIX: &str = "weir/1 written=";

/// The text of a commit.
pub(super) fn encode(written: TimestampMs) -> String {
    format!("{PREFIX}{written}")
}

/// What a text says; nothing where it is not ours, as where an offset was reset by a tool.
pub(super) fn decode(text: &str) -> Option<TimestampMs> {
    text.strip_prefix(PREFIX)?.parse().ok()
}

/// The text of the commit with which a group begins, of a topic with so many partitions.
pub(super) fn encode_beginning(partitions: i32) -> String {
    format!("{BEGAN}{partitions}")
}

/// How many partitions the topic had when the group began, where a text is of that.
pub(super) fn decode_beginning(text: &str) -> Option<i32> {
    text.strip_prefix(BEGAN)?.parse().ok()
}

/// Who has checkpointed what is before an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instance<'a> {
    pub(super) name: &'a str,
    /// From where it has read the partition, where none of its confirmed checkpoints is known to have it.
    pub(super) from: Option<u64>,
}

/// The text of a commit of what an instance has checkpointed.
pub(super) fn encode_instance(instance: &str, from: Option<u64>) -> String {
    let from = from.map(|from| format!("{FROM}{from}"));
    format!("{INSTANCE}{instance}{}", from.unwrap_or_default())
}

/// Which instance has checkpointed what is before the offset, where a text is of that.
pub(super) fn decode_instance(text: &str) -> Option<Instance<'_>> {
    let text = text.strip_prefix(INSTANCE)?;
    // A name has no blanks.
    let (name, from) = match text.split_once(FROM) {
        Some((name, from)) => (name, from.parse().ok()),
        None => (text, None),
    };
    Some(Instance { name, from })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_nothing_else() {
        for written in [i64::MIN, 0, 1_730_621_750_000, i64::MAX] {
            assert_eq!(decode(&encode(written)), Some(written));
            assert_eq!(decode_beginning(&encode(written)), None);
            assert_eq!(decode_instance(&encode(written)), None);
        }
        assert_eq!(decode_beginning(&encode_beginning(8)), Some(8));
        for from in [None, Some(0), Some(u64::MAX)] {
            let instance = Instance { name: "a-1", from };
            let text = encode_instance(instance.name, from);
            assert_eq!(decode_instance(&text), Some(instance));
            assert_eq!((decode(&text), decode_beginning(&text)), (None, None));
        }
        for text in [
            "weir/1 instance=a",
            "",
            "weir/1 began partitions=8",
            "weir/1",
            "weir/1 written=",
            "weir/1 written=x",
            "weir/2 written=1",
        ] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
