//! A dead letter: a record that reached no window, with where it came from and why.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;

use crate::model::TimestampMs;

/// Whose letters they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The pipeline's name.
    pub pipeline: String,
    /// The kind of its source: `kafka`, `http`.
    pub source: &'static str,
}

/// A record that reached no window, or not every window that it was for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The name of its split.
    pub split: Arc<str>,
    /// Its position in the split.
    pub position: u64,
    /// Why it is here: one of the reasons that the counters were made with.
    pub reason: &'static str,
    /// The metrics that lack it; none where it gave no event at all, and so all of them do.
    pub metrics: Vec<Arc<str>>,
    /// Its event time, where it has one, ms since the epoch.
    pub event_time_ms: Option<TimestampMs>,
    /// The watermark that it was too late for, ms since the epoch.
    pub watermark_ms: Option<TimestampMs>,
    /// When its transport took it, where that is known, ms since the epoch.
    pub timestamp_ms: Option<TimestampMs>,
    /// When it was received from the source, ms since the epoch.
    pub received_at_ms: TimestampMs,
    /// When it was dropped, by the pipeline's clock, ms since the epoch.
    pub dropped_at_ms: TimestampMs,
    /// How many other events of the record were used.
    pub events_used: usize,
    /// What there is to say beyond the reason; may be empty.
    pub detail: String,
    /// Its topic, empty where there is none.
    pub topic: Vec<u8>,
    /// Its key, empty where there is none.
    pub key: Vec<u8>,
    /// Those of its headers that fields are taken from.
    pub headers: Vec<(Arc<str>, Vec<u8>)>,
    /// Its undecoded bytes.
    pub record: Vec<u8>,
}

/// A letter as JSON. Bytes that are no UTF-8 stand in Base64 under a name of their own, so that
/// nothing is lost and nothing is to be guessed.
#[derive(Serialize)]
struct Line<'a> {
    pipeline: &'a str,
    source: &'a str,
    split: &'a str,
    position: u64,
    reason: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    metrics: &'a [Arc<str>],
    #[serde(skip_serializing_if = "Option::is_none")]
    event_time_ms: Option<TimestampMs>,
    #[serde(skip_serializing_if = "Option::is_none")]
    watermark_ms: Option<TimestampMs>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp_ms: Option<TimestampMs>,
    received_at_ms: TimestampMs,
    dropped_at_ms: TimestampMs,
    #[serde(skip_serializing_if = "is_zero")]
    events_used: usize,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers_base64: BTreeMap<&'a str, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record_base64: Option<String>,
}

impl DeadLetter {
    /// Appends the letter as one JSON object, without a line end.
    ///
    /// # Errors
    /// None is known: memory takes everything, and so does JSON.
    pub(super) fn write_json(&self, origin: &Origin, out: &mut Vec<u8>) -> serde_json::Result<()> {
        let (topic, topic_base64) = text_or_base64(&self.topic);
        let (key, key_base64) = text_or_base64(&self.key);
        let (record, record_base64) = text_or_base64(&self.record);
        let mut headers = BTreeMap::new();
        let mut headers_base64 = BTreeMap::new();
        for (name, value) in &self.headers {
            match text_or_base64(value) {
                (Some(text), _) => drop(headers.insert(&**name, text)),
                (None, bytes) => drop(headers_base64.insert(&**name, bytes.unwrap_or_default())),
            }
        }
        let has_topic = !self.topic.is_empty();
        let has_key = !self.key.is_empty();
        let line = Line {
            pipeline: &origin.pipeline,
            source: origin.source,
            split: &self.split,
            position: self.position,
            reason: self.reason,
            metrics: &self.metrics,
            event_time_ms: self.event_time_ms,
            watermark_ms: self.watermark_ms,
            timestamp_ms: self.timestamp_ms,
            received_at_ms: self.received_at_ms,
            dropped_at_ms: self.dropped_at_ms,
            events_used: self.events_used,
            detail: &self.detail,
            topic: topic.filter(|_| has_topic),
            topic_base64,
            key: key.filter(|_| has_key),
            key_base64,
            headers,
            headers_base64,
            record,
            record_base64,
        };
        serde_json::to_writer(out, &line)
    }
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

fn text_or_base64(bytes: &[u8]) -> (Option<&str>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(BASE64_STANDARD.encode(bytes))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(record: &[u8]) -> DeadLetter {
        DeadLetter {
            split: "vehicle-events/3".into(),
            position: 4_711,
            reason: "late",
            metrics: vec!["speed".into(), "rpm".into()],
            event_time_ms: Some(1_730_621_750_000),
            watermark_ms: Some(1_730_621_760_000),
            timestamp_ms: Some(1_730_621_760_400),
            received_at_ms: 1_730_621_760_500,
            dropped_at_ms: 1_730_621_761_000,
            events_used: 0,
            detail: String::new(),
            topic: b"vehicle-events".to_vec(),
            key: b"V1".to_vec(),
            headers: Vec::new(),
            record: record.to_vec(),
        }
    }

    fn origin() -> Origin {
        Origin {
            pipeline: "cars".to_owned(),
            source: "kafka",
        }
    }

    fn json(letter: &DeadLetter) -> String {
        let mut out = Vec::new();
        letter.write_json(&origin(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn is_one_object_with_the_record_as_text() {
        assert_eq!(
            json(&letter(b"{\"a\":\"\xc3\xa5\\n\"}\n")),
            r#"{"pipeline":"cars","source":"kafka","split":"vehicle-events/3","position":4711,"#
                .to_owned()
                + r#""reason":"late","metrics":["speed","rpm"],"event_time_ms":1730621750000,"#
                + r#""watermark_ms":1730621760000,"timestamp_ms":1730621760400,"received_at_ms":1730621760500,"#
                + r#""dropped_at_ms":1730621761000,"#
                + r#""topic":"vehicle-events","key":"V1","record":"{\"a\":\"å\\n\"}\n"}"#
        );
    }

    #[test]
    fn bytes_that_are_no_text_stand_in_base64() {
        let rejected = DeadLetter {
            reason: "invalid_utf8",
            metrics: vec![],
            event_time_ms: None,
            watermark_ms: None,
            detail: "at byte 1".into(),
            timestamp_ms: None,
            events_used: 2,
            topic: vec![],
            key: vec![0xff],
            headers: vec![
                ("tenant".into(), b"acme".to_vec()),
                ("trace".into(), vec![0xff]),
            ],
            ..letter(b"a\xff\xfe\x00")
        };
        assert_eq!(
            json(&rejected),
            r#"{"pipeline":"cars","source":"kafka","split":"vehicle-events/3","position":4711,"#
                .to_owned()
                + r#""reason":"invalid_utf8","received_at_ms":1730621760500,"dropped_at_ms":1730621761000,"#
                + r#""events_used":2,"detail":"at byte 1","#
                + r#""key_base64":"/w==","headers":{"tenant":"acme"},"headers_base64":{"trace":"/w=="},"#
                + r#""record_base64":"Yf/+AA=="}"#
        );
    }
}
