//! A receiver that judges what it is sent, for tests.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;

use super::protocol::proto::WriteRequest;
use crate::model::TimestampMs;

/// A series as its labels' values, each with a slash behind it.
pub(crate) type SeriesName = String;

/// A receiver that takes an exact repetition of a series' newest sample, and nothing older.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    /// The values as their bits.
    pub(crate) samples: BTreeMap<SeriesName, Vec<(TimestampMs, u64)>>,
    /// What was taken since the last crash.
    pub(super) this_life: BTreeSet<(SeriesName, TimestampMs)>,
    pub(crate) refused: Vec<String>,
}

impl Oracle {
    /// Takes the body of a request.
    pub(super) fn take(&mut self, body: &[u8]) {
        let plain = snap::raw::Decoder::new().decompress_vec(body).unwrap();
        let request = WriteRequest::decode(&*plain).unwrap();
        for series in &request.timeseries {
            let labels = series.labels.iter();
            let name: SeriesName = labels.map(|label| format!("{}/", label.value)).collect();
            let known = self.samples.entry(name.clone()).or_default();
            for point in &series.samples {
                let new = (point.timestamp, point.value.to_bits());
                match known.last() {
                    Some(newest) if *newest == new => {}
                    Some(newest) if newest.0 >= new.0 => {
                        self.refused
                            .push(format!("{name} {new:?} after {newest:?}"));
                    }
                    _ => known.push(new),
                }
                self.this_life.insert((name.clone(), point.timestamp));
            }
        }
    }
}
