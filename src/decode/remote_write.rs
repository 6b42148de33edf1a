//! Requests of Prometheus Remote-Write 1.0 (`prometheus.WriteRequest`), not compressed. Every sample but stale
//! markers is an event: its labels are found by their names, with `__name__` among them, and its value and time as `value`
//! and `timestamp`, which go before labels of these names.
//!
//! Field numbers from Prometheus' `prompb/remote.proto` and `prompb/types.proto`.

use std::borrow::Cow;

use prometheus::IntCounter;

use crate::model::STALE_NAN_BITS;
use crate::model::protobuf::{Content, Fields, Malformed};

use super::events::{Events, Refusal};
use super::metrics::Reason;
use super::plan::{ObjectPlan, Scalar, Wanted};

/// The name of a sample's value.
const VALUE: &str = "value";
/// The name of its time, ms since the epoch.
const TIMESTAMP: &str = "timestamp";

/// Reads requests.
#[derive(Debug)]
pub(super) struct RemoteWriteReader {
    plan: ObjectPlan,
    stale_markers: Option<IntCounter>,
}

impl RemoteWriteReader {
    /// The reader that finds the wanted values. A label's name may have dots.
    pub(super) fn new(wanted: &[Wanted]) -> Self {
        Self {
            plan: ObjectPlan::flat(wanted),
            stale_markers: None,
        }
    }

    /// A batch comes next; stale markers are counted in `stale_markers`.
    pub(super) fn begin(&mut self, stale_markers: &IntCounter) {
        if self.stale_markers.is_none() {
            self.stale_markers = Some(stale_markers.clone());
        }
    }

    /// Hands over the samples of a request.
    ///
    /// # Errors
    /// It is none, or has more samples than a record may have events.
    pub(super) fn read(&self, request: &[u8], events: &mut Events<'_>) -> Result<(), Refusal> {
        for field in Fields::of(request) {
            // Metadata is of nobody.
            if let (1, Content::Bytes(series)) = field.map_err(malformed)? {
                self.series(series, events)?;
            }
        }
        Ok(())
    }

    fn series(&self, series: &[u8], events: &mut Events<'_>) -> Result<(), Refusal> {
        // Those that are wanted, by the entries of the plan; the last one of a name holds. A series may have many
        // labels and many samples, so names are looked up once.
        let mut labels = vec![None; self.plan.len()];
        let mut expected = 0;
        for field in Fields::of(series) {
            if let (1, Content::Bytes(label)) = field.map_err(malformed)? {
                let (name, text) = text_pair(label)?;
                let index = self.plan.index(name.as_bytes(), &mut expected);
                if let Some(label) = index.and_then(|index| labels.get_mut(index)) {
                    *label = Some(text);
                }
            }
        }
        // Usually behind the labels; a writer may do as it likes.
        for field in Fields::of(series) {
            if let (2, Content::Bytes(point)) = field.map_err(malformed)? {
                self.point(&labels, point, events)?;
            }
        }
        Ok(())
    }

    fn point(
        &self,
        labels: &[Option<&str>],
        point: &[u8],
        events: &mut Events<'_>,
    ) -> Result<(), Refusal> {
        // What protobuf leaves out is zero.
        let (mut value, mut timestamp) = (0.0, 0);
        for field in Fields::of(point) {
            match field.map_err(malformed)? {
                (1, Content::Fixed64(bits)) => value = f64::from_bits(bits),
                (2, Content::Varint(number)) => timestamp = number.cast_signed(),
                _ => {}
            }
        }
        if value.to_bits() == STALE_NAN_BITS {
            // It says that the series has ended; nothing was measured.
            self.stale_markers.iter().for_each(IntCounter::inc);
            return Ok(());
        }
        for ((_, entry), label) in self.plan.entries().zip(labels) {
            if let Some(text) = label {
                entry.hand_over(&Scalar::Text(Cow::Borrowed(text)), events);
            }
        }
        let mut hand_over = |name: &str, value: &Scalar<'_>| {
            if let Some(entry) = self.plan.entry(name, &mut 0) {
                entry.hand_over(value, events);
            }
        };
        hand_over(VALUE, &Scalar::Number(value));
        hand_over(TIMESTAMP, &Scalar::Integer(timestamp));
        events.end()
    }
}

/// The name and value of a label.
fn text_pair(label: &[u8]) -> Result<(&str, &str), Refusal> {
    let (mut name, mut value) = ("", "");
    for field in Fields::of(label) {
        let part = match field.map_err(malformed)? {
            (1, Content::Bytes(bytes)) => (&mut name, bytes),
            (2, Content::Bytes(bytes)) => (&mut value, bytes),
            _ => continue,
        };
        let text = std::str::from_utf8(part.1);
        *part.0 = text.map_err(|error| (Reason::InvalidUtf8, error.to_string()))?;
    }
    Ok((name, value))
}

fn malformed(error: Malformed) -> Refusal {
    (Reason::Malformed, error.to_string())
}
