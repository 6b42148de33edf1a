//! A place in a shard, and the text that stands for it in a checkpoint.

use std::fmt;
use std::str::FromStr;

use crate::model::TimestampMs;

/// From where a shard is read on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// From the oldest record that is kept.
    TrimHorizon,
    /// From the first record of this time or later, ms since the epoch.
    At(TimestampMs),
    /// From the record after this one.
    After(String),
    /// Within this record: so many of the records that a producer has put into it are done.
    Within(String, usize),
    /// There is nothing more: the shard is closed and read to its end.
    End,
}

impl Place {
    /// The sequence number of the record that it is behind or within.
    pub(super) fn sequence(&self) -> Option<&str> {
        match self {
            Self::After(sequence) | Self::Within(sequence, _) => Some(sequence),
            Self::TrimHorizon | Self::At(_) | Self::End => None,
        }
    }
}

/// Whether a sequence number is before another. They are decimal numbers of any length.
pub(super) fn is_before(one: &str, other: &str) -> bool {
    let [one, other] = [one, other].map(|text| text.trim_start_matches('0'));
    (one.len(), one) < (other.len(), other)
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TrimHorizon => f.write_str("trim_horizon"),
            Self::At(time) => write!(f, "at {time}"),
            Self::After(sequence) => write!(f, "after {sequence}"),
            Self::Within(sequence, done) => write!(f, "within {sequence}:{done}"),
            Self::End => f.write_str("end"),
        }
    }
}

/// The text stands for no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no place in a shard")]
pub(super) struct NoPlace(String);

impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let place = match text.split_once(' ') {
            None if text == "trim_horizon" => Some(Self::TrimHorizon),
            None if text == "end" => Some(Self::End),
            Some(("at", time)) => time.parse().ok().map(Self::At),
            Some(("after", sequence)) => sequence_number(sequence).map(Self::After),
            Some(("within", rest)) => rest.split_once(':').and_then(|(sequence, done)| {
                Some(Self::Within(sequence_number(sequence)?, done.parse().ok()?))
            }),
            _ => None,
        };
        place.ok_or_else(|| NoPlace(text.to_owned()))
    }
}

/// A decimal number that fits no integer of ours: they have up to 186 bits.
fn sequence_number(text: &str) -> Option<String> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_written() {
        let sequence = "49590338271490256608559692538361571095921575989136588898".to_owned();
        for (place, text) in [
            (Place::TrimHorizon, "trim_horizon".to_owned()),
            (Place::At(1_730_621_750_000), "at 1730621750000".to_owned()),
            (Place::After(sequence.clone()), format!("after {sequence}")),
            (
                Place::Within(sequence.clone(), 3),
                format!("within {sequence}:3"),
            ),
            (Place::End, "end".to_owned()),
        ] {
            assert_eq!(place.to_string(), text);
            assert_eq!(text.parse(), Ok(place));
        }
    }

    #[test]
    fn sequence_numbers_are_compared_as_numbers() {
        for (one, other) in [("9", "10"), ("0", "1"), ("009", "10"), ("123", "124")] {
            assert!(is_before(one, other) && !is_before(other, one));
        }
        assert!(!is_before("7", "7") && !is_before("07", "7"));
        assert_eq!(Place::Within("7".to_owned(), 2).sequence(), Some("7"));
        assert_eq!(Place::At(7).sequence(), None);
    }

    #[test]
    fn other_texts_are_no_places() {
        for text in [
            "", "after", "after ", "after x1", "within 7", "at noon", "end 3",
        ] {
            assert_eq!(text.parse::<Place>(), Err(NoPlace(text.to_owned())));
        }
    }
}
