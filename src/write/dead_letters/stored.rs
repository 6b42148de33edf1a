//! A dead letter as it is read again.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use crate::model::TimestampMs;
use crate::model::hash::WideStableHash;

/// A dead letter that was kept. What stands in it is that of [`DeadLetter`](super::DeadLetter).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLetter {
    /// The pipeline's name.
    pub pipeline: String,
    /// The name of its split.
    pub split: String,
    /// Its position in the split.
    pub position: u64,
    /// Why it is here.
    pub reason: String,
    /// The metrics that lack it; none where all of them do.
    pub metrics: Vec<String>,
    /// Its event time, ms since the epoch.
    pub event_time_ms: Option<TimestampMs>,
    /// The watermark that it was too late for, ms since the epoch.
    pub watermark_ms: Option<TimestampMs>,
    /// When its transport took it, ms since the epoch.
    pub timestamp_ms: Option<TimestampMs>,
    /// When it was received, ms since the epoch; earlier versions did not say.
    pub received_at_ms: Option<TimestampMs>,
    /// When it was dropped, ms since the epoch.
    pub dropped_at_ms: TimestampMs,
    /// How many other events of the record were used.
    pub events_used: usize,
    /// What there is to say beyond the reason; may be empty.
    pub detail: String,
    /// Its topic, empty where there is none.
    pub topic: Vec<u8>,
    /// Its key, empty where there is none.
    pub key: Vec<u8>,
    /// Those of its headers that were kept, by name.
    pub headers: BTreeMap<String, Vec<u8>>,
    /// Its undecoded bytes.
    pub record: Vec<u8>,
}

/// A line. Keys that are not known are of a later version.
#[derive(Deserialize)]
struct Line {
    pipeline: String,
    split: String,
    position: u64,
    reason: String,
    #[serde(default)]
    metrics: Vec<String>,
    event_time_ms: Option<TimestampMs>,
    watermark_ms: Option<TimestampMs>,
    timestamp_ms: Option<TimestampMs>,
    received_at_ms: Option<TimestampMs>,
    dropped_at_ms: TimestampMs,
    #[serde(default)]
    events_used: usize,
    #[serde(default)]
    detail: String,
    topic: Option<String>,
    topic_base64: Option<String>,
    key: Option<String>,
    key_base64: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    headers_base64: BTreeMap<String, String>,
    record: Option<String>,
    record_base64: Option<String>,
}

impl StoredLetter {
    /// Reads a letter.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(json: &[u8]) -> Result<Self, String> {
        let line: Line = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if line.record.is_none() && line.record_base64.is_none() {
            return Err("it has neither record nor record_base64".to_owned());
        }
        let texts = line.headers.into_iter();
        let mut headers: BTreeMap<_, _> = texts
            .map(|(name, value)| (name, value.into_bytes()))
            .collect();
        for (name, value) in line.headers_base64 {
            let value = bytes(&format!("header {name}"), None, Some(value))?;
            headers.insert(name, value);
        }
        Ok(Self {
            pipeline: line.pipeline,
            split: line.split,
            position: line.position,
            reason: line.reason,
            metrics: line.metrics,
            event_time_ms: line.event_time_ms,
            watermark_ms: line.watermark_ms,
            timestamp_ms: line.timestamp_ms,
            received_at_ms: line.received_at_ms,
            dropped_at_ms: line.dropped_at_ms,
            events_used: line.events_used,
            detail: line.detail,
            topic: bytes("topic", line.topic, line.topic_base64)?,
            key: bytes("key", line.key, line.key_base64)?,
            headers,
            record: bytes("record", line.record, line.record_base64)?,
        })
    }

    /// Which record it is, whatever the reason, and however often it was read: 32 digits.
    pub fn id(&self) -> String {
        let hash = WideStableHash::default()
            .text(&self.pipeline)
            .text(&self.split)
            .text(&self.position.to_string())
            // Positions of messages and requests that no log keeps begin anew with each start.
            .bytes(&self.topic)
            .text(
                &self
                    .timestamp_ms
                    .map_or(String::new(), |time| time.to_string()),
            )
            .bytes(&self.record);
        format!("{:032x}", hash.finish())
    }
}

fn bytes(name: &str, text: Option<String>, base64: Option<String>) -> Result<Vec<u8>, String> {
    match (text, base64) {
        (Some(_), Some(_)) => Err(format!("it has both {name} and {name}_base64")),
        (Some(text), None) => Ok(text.into_bytes()),
        (None, Some(base64)) => {
            let decoded = BASE64_STANDARD.decode(&base64);
            decoded.map_err(|error| format!("{name}_base64 is no Base64: {error}"))
        }
        (None, None) => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{DeadLetter, Origin};
    use super::*;

    fn line(letter: &DeadLetter) -> Vec<u8> {
        let origin = Origin {
            pipeline: "cars".to_owned(),
            source: "kafka",
        };
        let mut line = Vec::new();
        letter.write_json(&origin, &mut line).unwrap();
        line
    }

    proptest! {
        #[test]
        fn reads_what_was_written(
            record: Vec<u8>, topic: Vec<u8>, key: Vec<u8>, detail in ".*", position: u64,
            time: Option<i64>, events_used in 0_usize..3,
            headers in proptest::collection::btree_map("[a-z]{1,3}", any::<Vec<u8>>(), 0..3),
        ) {
            let letter = DeadLetter {
                split: "cars/3".into(),
                position,
                reason: "late",
                metrics: vec!["speed".into()],
                event_time_ms: time,
                watermark_ms: time,
                timestamp_ms: time,
                received_at_ms: 4,
                dropped_at_ms: 5,
                events_used,
                detail: detail.clone(),
                topic: topic.clone(),
                key: key.clone(),
                headers: headers
                    .iter()
                    .map(|(name, value)| (name.as_str().into(), value.clone()))
                    .collect(),
                record: record.clone(),
            };
            let expected = StoredLetter {
                pipeline: "cars".to_owned(),
                split: "cars/3".to_owned(),
                position,
                reason: "late".to_owned(),
                metrics: vec!["speed".to_owned()],
                event_time_ms: time,
                watermark_ms: time,
                timestamp_ms: time,
                received_at_ms: Some(4),
                dropped_at_ms: 5,
                events_used,
                detail,
                topic,
                key,
                headers,
                record,
            };
            prop_assert_eq!(StoredLetter::read(&line(&letter)), Ok(expected));
        }

        #[test]
        fn what_is_cut_is_no_letter(cut in any::<prop::sample::Index>()) {
            let whole = br#"{"pipeline":"p","split":"s","position":1,"reason":"late","dropped_at_ms":5,"record":""}"#;
            prop_assert!(StoredLetter::read(whole).is_ok());
            prop_assert!(StoredLetter::read(&whole[..cut.index(whole.len())]).is_err());
        }
    }

    #[test]
    fn the_id_is_of_the_record_and_its_place() {
        let read = |text: &str| StoredLetter::read(text.as_bytes()).unwrap().id();
        let one = r#"{"pipeline":"p","split":"s","position":1,"reason":"late","dropped_at_ms":5,"record":"a"}"#;
        let again = one.replace("late", "missing_time").replace(":5", ":6");
        assert_eq!(read(one), read(&again));
        assert_ne!(read(one), read(&one.replace(":1", ":2")));
        assert_ne!(read(one), read(&one.replace("\"a\"", "\"b\"")));
        let with = |more: &str| read(&one.replace("}", more));
        assert_ne!(with(r#","topic":"a"}"#), with(r#","topic":"b"}"#));
        assert_ne!(with(r#","timestamp_ms":1}"#), with(r#","timestamp_ms":2}"#));
        assert_eq!(read(one).len(), 32);
    }

    #[test]
    fn what_is_no_letter_is_told() {
        let error = |text: &str| StoredLetter::read(text.as_bytes()).unwrap_err();
        let without =
            r#"{"pipeline":"p","split":"s","position":1,"reason":"late","dropped_at_ms":5}"#;
        assert_eq!(error(without), "it has neither record nor record_base64");
        let with = |more: &str| without.replace('}', more);
        assert_eq!(
            error(&with(r#","record_base64":"x"}"#)),
            "record_base64 is no Base64: Invalid input length: 1"
        );
        assert_eq!(
            error(&with(r#","record":"x","record_base64":""}"#)),
            "it has both record and record_base64"
        );
    }
}
