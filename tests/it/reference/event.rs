//! Raw events: one JSON value each, with the place where it stands.

use std::ops::Range;

use serde_json::Value;

/// From 1 January 2000 to 1 January 2200, ms since the epoch: what a working clock can say.
const TIMES: Range<i64> = 946_684_800_000..7_258_118_400_000;

/// How far events may be out of order in the pipelines of the tests.
pub(crate) const OUT_OF_ORDER_MS: i64 = 2_000;

/// An event that could be decoded.
#[derive(Debug)]
pub(crate) struct Event {
    /// Event time, ms since the epoch.
    pub(crate) time_ms: i64,
    /// Split and line, from 0.
    pub(crate) place: (usize, usize),
    /// The highest event time of its split before it.
    highest_before_ms: Option<i64>,
    body: Value,
}

impl Event {
    /// A text, or a whole number as text: ids are numbers in many fleets.
    pub(crate) fn text(&self, key: &str) -> Option<String> {
        let value = self.body.get(key)?;
        match value.as_i64() {
            Some(number) => Some(number.to_string()),
            None => value.as_str().map(str::to_owned),
        }
    }

    /// A number.
    pub(crate) fn number(&self, key: &str) -> Option<f64> {
        self.body.get(key)?.as_f64()
    }

    /// Whether it is of this kind.
    pub(crate) fn is(&self, kind: &str) -> bool {
        self.text("eventType").as_deref() == Some(kind)
    }

    /// The end of its window, where windows are aligned to the epoch.
    pub(crate) fn window_end_ms(&self, window_ms: i64) -> i64 {
        (self.time_ms.div_euclid(window_ms) + 1) * window_ms
    }

    /// The watermark of its split before it came.
    pub(crate) fn watermark_ms(&self) -> i64 {
        self.highest_before_ms
            .map_or(i64::MIN, |highest| highest - OUT_OF_ORDER_MS)
    }

    /// Whether its own split had passed this end before it came.
    pub(crate) fn is_late(&self, end_ms: i64) -> bool {
        self.highest_before_ms
            .is_some_and(|highest| highest - OUT_OF_ORDER_MS >= end_ms)
    }
}

/// The events of some splits, each a text with an event a line, in order of time, split and line.
pub(crate) fn read(splits: &[Vec<u8>]) -> Vec<Event> {
    let mut events = Vec::new();
    for (split, text) in splits.iter().enumerate() {
        let mut highest_before_ms = None;
        for (line, bytes) in text.split(|byte| *byte == b'\n').enumerate() {
            let Ok(body) = serde_json::from_slice::<Value>(bytes) else {
                continue;
            };
            let Some(time_ms) = time_of(&body) else {
                continue;
            };
            events.push(Event {
                time_ms,
                place: (split, line),
                highest_before_ms,
                body,
            });
            highest_before_ms = highest_before_ms.max(Some(time_ms));
        }
    }
    events.sort_by_key(|event| (event.time_ms, event.place));
    events
}

fn time_of(body: &Value) -> Option<i64> {
    let value = body.get("timestamp")?;
    let time_ms = match value.as_i64() {
        Some(whole) => whole,
        None => value.as_f64()?.floor() as i64,
    };
    TIMES.contains(&time_ms).then_some(time_ms)
}

#[test]
fn an_event_is_late_once_its_own_split_has_passed_its_window() {
    let line = |time_ms: i64| format!("{{\"timestamp\":{time_ms}}}\n");
    let base = 1_730_621_750_000;
    let first = [base, base + 6_999, base + 1, base + 7_000, base + 2, 0].map(line);
    let second = [base + 3].map(line);
    let splits = [first.concat().into_bytes(), second.concat().into_bytes()];
    let mut late = Vec::new();
    for event in read(&splits) {
        assert_eq!(
            event.window_end_ms(5_000),
            base + if event.time_ms < base + 5_000 {
                5_000
            } else {
                10_000
            }
        );
        if event.is_late(event.window_end_ms(5_000)) {
            late.push(event.place);
        }
    }
    assert_eq!(late, [(0, 4)]);
}
