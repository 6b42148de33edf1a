//! The messages of Remote-Write 2.0 (2.0-rc.4), to read requests with.
//!
//! Field numbers from Prometheus' `prompb/io/prometheus/write/v2/types.proto`.

use prost::Message;

use super::histogram::Histogram;
use super::proto::{self, Label, Point, WriteRequest};

/// One request.
#[derive(Clone, PartialEq, Message)]
pub(in crate::write::remote_write) struct Request {
    /// All texts; the first one is empty.
    #[prost(string, repeated, tag = "4")]
    pub(in crate::write::remote_write) symbols: Vec<String>,
    /// The series with their samples.
    #[prost(message, repeated, tag = "5")]
    pub(in crate::write::remote_write) timeseries: Vec<TimeSeries>,
}

/// A series with samples.
#[derive(Clone, PartialEq, Message)]
pub(in crate::write::remote_write) struct TimeSeries {
    /// The numbers of the texts of the labels, names and values by turns.
    #[prost(uint32, repeated, tag = "1")]
    pub(in crate::write::remote_write) labels_refs: Vec<u32>,
    /// The samples, sorted by time.
    #[prost(message, repeated, tag = "2")]
    pub(in crate::write::remote_write) samples: Vec<Sample>,
    /// The native histograms, sorted by time.
    #[prost(message, repeated, tag = "3")]
    pub(in crate::write::remote_write) histograms: Vec<Histogram>,
    /// What is known of the metric.
    #[prost(message, optional, tag = "5")]
    pub(in crate::write::remote_write) metadata: Option<Metadata>,
}

/// A value at a time.
#[derive(Clone, Copy, PartialEq, Message)]
pub(in crate::write::remote_write) struct Sample {
    /// The value.
    #[prost(double, tag = "1")]
    pub(in crate::write::remote_write) value: f64,
    /// When, ms since the epoch.
    #[prost(int64, tag = "2")]
    pub(in crate::write::remote_write) timestamp: i64,
    /// Since when it counts, ms since the epoch; 0 where that is unknown.
    #[prost(int64, tag = "3")]
    pub(in crate::write::remote_write) start_timestamp: i64,
}

/// What is known of a metric.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(in crate::write::remote_write) struct Metadata {
    /// As in 1.0.
    #[prost(int32, tag = "1")]
    pub(in crate::write::remote_write) r#type: i32,
    /// The number of the help text.
    #[prost(uint32, tag = "3")]
    pub(in crate::write::remote_write) help_ref: u32,
    /// The number of the unit.
    #[prost(uint32, tag = "4")]
    pub(in crate::write::remote_write) unit_ref: u32,
}

impl Request {
    /// A text by its number, which must be one of the table.
    pub(in crate::write::remote_write) fn text(&self, number: u32) -> &str {
        &self.symbols[number as usize]
    }

    /// The same samples as a request of 1.0. Panics where the request is not as the specification has
    /// it.
    pub(in crate::write::remote_write) fn as_v1(&self) -> WriteRequest {
        assert_eq!(self.text(0), "");
        let mut request = WriteRequest::default();
        for series in &self.timeseries {
            assert!(series.samples.is_empty() != series.histograms.is_empty());
            let labels = series.labels_refs.chunks(2).map(|pair| {
                let [name, value] = pair else {
                    panic!("a name without a value")
                };
                Label {
                    name: self.text(*name).to_owned(),
                    value: self.text(*value).to_owned(),
                }
            });
            let samples = series.samples.iter().map(|sample| Point {
                value: sample.value,
                timestamp: sample.timestamp,
            });
            request.timeseries.push(proto::TimeSeries {
                labels: labels.collect(),
                samples: samples.collect(),
                histograms: series.histograms.clone(),
            });
        }
        request
    }
}
