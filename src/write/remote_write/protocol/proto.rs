//! The messages of Remote-Write 1.0, as far as they are sent: metadata goes out by them, and they are
//! what the samples' requests are compared with in tests.
//!
//! Field numbers from Prometheus' `prompb/remote.proto` and `prompb/types.proto`.

use prost::Message;
use prost::bytes::Bytes;

#[cfg(test)]
use crate::model::{SampleValue, Series, TimestampMs};

use super::histogram::Histogram;
#[cfg(test)]
use super::wire::NAME_LABEL;

/// One request.
#[derive(Clone, PartialEq, Message)]
pub(in crate::write::remote_write) struct WriteRequest {
    /// The series with their samples.
    #[prost(message, repeated, tag = "1")]
    pub(in crate::write::remote_write) timeseries: Vec<TimeSeries>,
    /// What is known of the metrics.
    #[prost(message, repeated, tag = "3")]
    pub(in crate::write::remote_write) metadata: Vec<MetricMetadata>,
}

/// A series with samples.
#[derive(Clone, PartialEq, Message)]
pub(in crate::write::remote_write) struct TimeSeries {
    /// The labels, `__name__` among them, sorted by name.
    #[prost(message, repeated, tag = "1")]
    pub(in crate::write::remote_write) labels: Vec<Label>,
    /// The samples, sorted by time.
    #[prost(message, repeated, tag = "2")]
    pub(in crate::write::remote_write) samples: Vec<Point>,
    /// The native histograms, sorted by time.
    #[prost(message, repeated, tag = "4")]
    pub(in crate::write::remote_write) histograms: Vec<Histogram>,
}

/// A label.
#[derive(Clone, PartialEq, Eq, Message)]
pub(in crate::write::remote_write) struct Label {
    /// Its name.
    #[prost(string, tag = "1")]
    pub(in crate::write::remote_write) name: String,
    /// Its value.
    #[prost(string, tag = "2")]
    pub(in crate::write::remote_write) value: String,
}

/// A value at a time; `Sample` in the protocol's own files.
#[derive(Clone, Copy, PartialEq, Message)]
pub(in crate::write::remote_write) struct Point {
    /// The value.
    #[prost(double, tag = "1")]
    pub(in crate::write::remote_write) value: f64,
    /// When, ms since the epoch.
    #[prost(int64, tag = "2")]
    pub(in crate::write::remote_write) timestamp: i64,
}

/// What is known of a metric.
#[derive(Clone, PartialEq, Eq, Message)]
pub(in crate::write::remote_write) struct MetricMetadata {
    /// 0 unknown, 1 counter, 2 gauge, 3 histogram, and so on as in `types.proto`.
    #[prost(int32, tag = "1")]
    pub(in crate::write::remote_write) r#type: i32,
    /// The metric's name.
    #[prost(string, tag = "2")]
    pub(in crate::write::remote_write) metric_family_name: String,
    /// Its help text.
    #[prost(string, tag = "4")]
    pub(in crate::write::remote_write) help: String,
    /// Its unit.
    #[prost(string, tag = "5")]
    pub(in crate::write::remote_write) unit: String,
}

/// What [`super::encode`] writes, by way of the messages.
#[cfg(test)]
impl TimeSeries {
    /// A series with its samples as they go out. The metric name takes its place in the order of
    /// the labels, which is not the first one where a label begins with a capital letter.
    pub(in crate::write::remote_write) fn new(
        series: &Series,
        points: &[(TimestampMs, SampleValue)],
    ) -> Self {
        let mut labels = Vec::with_capacity(series.labels().len() + 1);
        for (name, value) in series.labels() {
            // A second `__name__` would make the receiver refuse the whole request.
            if &**name != NAME_LABEL {
                labels.push(Label {
                    name: name.to_string(),
                    value: value.to_string(),
                });
            }
        }
        let place = labels.partition_point(|label| label.name.as_str() < NAME_LABEL);
        let name = Label {
            name: NAME_LABEL.to_owned(),
            value: series.name().to_string(),
        };
        labels.insert(place, name);
        let mut samples = Vec::new();
        let mut histograms = Vec::new();
        for (timestamp, value) in points {
            let timestamp = *timestamp;
            match value {
                SampleValue::Number(value) => samples.push(Point {
                    value: *value,
                    timestamp,
                }),
                SampleValue::Histogram(histogram) => {
                    histograms.push(Histogram::new(histogram, timestamp));
                }
            }
        }
        Self {
            labels,
            samples,
            histograms,
        }
    }
}

/// The request as a body: protobuf in snappy's block format.
///
/// # Errors
/// The request is larger than snappy's 4 GiB.
pub(in crate::write::remote_write) fn encode(request: &WriteRequest) -> Result<Bytes, snap::Error> {
    let plain = request.encode_to_vec();
    Ok(snap::raw::Encoder::new().compress_vec(&plain)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write::testing::sample;

    fn time_series(labels: &[(&str, &str)], points: &[(TimestampMs, f64)]) -> TimeSeries {
        let points: Vec<_> = points
            .iter()
            .map(|(timestamp, value)| (*timestamp, (*value).into()))
            .collect();
        TimeSeries::new(&sample("up", labels, 0, 0.0).series, &points)
    }

    #[test]
    fn puts_the_name_into_the_order_of_the_labels() {
        let series = time_series(&[("model", "Helion"), ("Region", "UK"), ("a", "b")], &[]);
        let labels: Vec<_> = series
            .labels
            .iter()
            .map(|label| (&*label.name, &*label.value))
            .collect();
        assert_eq!(
            labels,
            [
                ("Region", "UK"),
                ("__name__", "up"),
                ("a", "b"),
                ("model", "Helion")
            ]
        );
    }

    #[test]
    fn sends_one_name_only() {
        let series = time_series(&[("__name__", "down")], &[]);
        assert_eq!(
            series.labels,
            [Label {
                name: "__name__".into(),
                value: "up".into()
            }]
        );
    }

    #[test]
    fn encodes_as_the_protocol_says() {
        let series = time_series(&[], &[(1_000, 1.0)]);
        let body = encode(&WriteRequest {
            timeseries: vec![series],
            metadata: vec![],
        })
        .unwrap();
        let plain = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
        let mut expected = vec![0x0a, 30, 0x0a, 14, 0x0a, 8];
        expected.extend(b"__name__");
        expected.extend([0x12, 2]);
        expected.extend(b"up");
        expected.extend([
            0x12, 12, 0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0x10, 0xe8, 0x07,
        ]);
        assert_eq!(plain, expected);
    }
}
