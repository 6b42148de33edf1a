//! Requests of Remote-Write 1.0.

use prost::Message;

use crate::model::SampleValue;

use super::encode::{Place, for_each_label};
use super::histogram::Histogram;
use super::wire::{delimited, delimited_bytes, put_message, put_sample, put_text, put_varint};
use crate::write::remote_write::batch::Group;

const TIMESERIES: u8 = delimited(1);
const LABEL: u8 = delimited(1);
const SAMPLE: u8 = delimited(2);
const HISTOGRAM: u8 = delimited(4);
const NAME: u8 = delimited(1);
const VALUE: u8 = delimited(2);

/// How many labels of a request are looked for among those before; a power of two.
const SLOTS: usize = 1_024;

/// Writes requests.
#[derive(Debug)]
pub(in crate::write::remote_write) struct EncoderV1 {
    labels: Box<[Slot]>,
    /// Which slots are of this request.
    round: u64,
}

/// Where a label was written.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    name: Place,
    value: Place,
    round: u64,
    begin: usize,
    end: usize,
}

impl Default for EncoderV1 {
    fn default() -> Self {
        Self {
            labels: vec![Slot::default(); SLOTS].into(),
            round: 0,
        }
    }
}

impl EncoderV1 {
    /// Appends a request to an empty buffer.
    pub(in crate::write::remote_write) fn encode(&mut self, groups: &[Group], out: &mut Vec<u8>) {
        self.round += 1;
        for group in groups {
            let moved = put_message::<2>(out, TIMESERIES, |out| {
                for_each_label(&group.series, |name, value| {
                    self.put_label(out, name, value)
                });
                put_points(out, group);
            });
            if moved {
                // The labels are not where they were noted.
                self.round += 1;
            }
        }
    }

    fn put_label(&mut self, out: &mut Vec<u8>, name: &str, value: &str) {
        let places = (Place::of(name), Place::of(value));
        let index = (places.1.hash() ^ (places.0.hash() << 1)) & (SLOTS - 1);
        let Some(slot) = self.labels.get_mut(index) else {
            return put_new_label(out, name, value);
        };
        if (slot.name, slot.value) == places && slot.round == self.round {
            return out.extend_from_within(slot.begin..slot.end);
        }
        let begin = out.len();
        put_new_label(out, name, value);
        *slot = Slot {
            name: places.0,
            value: places.1,
            round: self.round,
            begin,
            end: out.len(),
        };
    }
}

fn put_new_label(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(LABEL);
    let length = delimited_bytes(name.len()) + delimited_bytes(value.len());
    put_varint(out, length as u64);
    put_text(out, NAME, name);
    put_text(out, VALUE, value);
}

/// The numbers and behind them the histograms, each by time.
fn put_points(out: &mut Vec<u8>, group: &Group) {
    let mut has_histograms = false;
    for (timestamp, value) in &group.points {
        match value {
            SampleValue::Number(value) => put_sample(out, SAMPLE, *value, *timestamp, 0),
            SampleValue::Histogram(_) => has_histograms = true,
        }
    }
    if has_histograms {
        put_histograms(out, HISTOGRAM, group, None);
    }
}

/// The histograms of a series, each with its start where windows of `window_ms` are known.
pub(in crate::write::remote_write) fn put_histograms(
    out: &mut Vec<u8>,
    tag: u8,
    group: &Group,
    window_ms: Option<i64>,
) {
    for (timestamp, value) in &group.points {
        let SampleValue::Histogram(histogram) = value else {
            continue;
        };
        let mut message = Histogram::new(histogram, *timestamp);
        message.start_timestamp = start_of(*timestamp, window_ms);
        out.push(tag);
        put_varint(out, message.encoded_len() as u64);
        message.encode_raw(out);
    }
}

/// Where the window of a sample begins, ms since the epoch; 0 where that is unknown, as the protocol has
/// it.
pub(in crate::write::remote_write) fn start_of(timestamp: i64, window_ms: Option<i64>) -> i64 {
    window_ms.map_or(0, |size| timestamp.saturating_sub(size))
}
