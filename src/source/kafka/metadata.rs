//! What stands beside a committed offset: up to when windows are written.
//!
//! Kafka keeps a text with every committed offset. Ours is `weir/1 written=MS`, in ms since the
//! epoch. Without it, a restart would form again, from a part of their events, the windows that were
//! written before but whose last events come after the offset.

use crate::model::TimestampMs;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_nothing_else() {
        for written in [i64::MIN, 0, 1_730_621_750_000, i64::MAX] {
            assert_eq!(decode(&encode(written)), Some(written));
        }
        for text in [
            "",
            "weir/1",
            "weir/1 written=",
            "weir/1 written=x",
            "weir/2 written=1",
        ] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
