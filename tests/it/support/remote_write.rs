//! Remote-Write requests by hand, and those of others decoded.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use prost::Message;

use super::http::{self, Response};
use super::samples::Sample;

pub(crate) use super::write_request::{Label, Point, TimeSeries, WriteRequest};

const NAME_LABEL: &str = "__name__";

/// The content type of a request of 2.0.
pub(crate) const VERSION_2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

/// The content type of a request of 1.0.
pub(crate) const VERSION_1: &str = "application/x-protobuf";

/// A request of 2.0.
#[derive(Clone, PartialEq, Message)]
struct Request2 {
    #[prost(string, repeated, tag = "4")]
    symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    timeseries: Vec<TimeSeries2>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries2 {
    /// Places of names and values among the symbols, in turn.
    #[prost(uint32, repeated, tag = "1")]
    labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Point>,
}

impl TimeSeries {
    /// A series from literals; labels and samples go out as they are given here.
    pub(crate) fn new(labels: &[(&str, &str)], points: &[(i64, f64)]) -> Self {
        let labels = labels.iter().map(|(name, value)| Label {
            name: (*name).to_owned(),
            value: (*value).to_owned(),
        });
        let samples = points.iter().map(|(timestamp, value)| Point {
            value: *value,
            timestamp: *timestamp,
        });
        Self {
            labels: labels.collect(),
            samples: samples.collect(),
        }
    }

    /// Its samples. Of labels with the same name the last one counts.
    pub(crate) fn samples(&self) -> Vec<Sample> {
        let mut labels = BTreeMap::new();
        for label in &self.labels {
            labels.insert(label.name.clone(), label.value.clone());
        }
        let name = labels.remove(NAME_LABEL).unwrap_or_default();
        let samples = self.samples.iter().map(|point| Sample {
            name: name.clone(),
            labels: labels.clone(),
            timestamp_ms: point.timestamp,
            value: point.value,
        });
        samples.collect()
    }
}

/// One series a sample.
pub(crate) fn series_of(samples: &[Sample]) -> Vec<TimeSeries> {
    let mut all = Vec::new();
    for sample in samples {
        let mut labels = vec![(NAME_LABEL, sample.name.as_str())];
        for (name, value) in &sample.labels {
            labels.push((name, value));
        }
        all.push(TimeSeries::new(
            &labels,
            &[(sample.timestamp_ms, sample.value)],
        ));
    }
    all
}

/// Sends series in one request of 1.0.
///
/// # Errors
/// The receiver does not answer; any status is an answer.
pub(crate) fn send(url: &str, timeseries: Vec<TimeSeries>) -> Result<Response> {
    send_body(url, VERSION_1, &WriteRequest { timeseries }.encode_to_vec())
}

/// Sends series in one request of 2.0.
///
/// # Errors
/// As for [`send`].
pub(crate) fn send_2(url: &str, timeseries: &[TimeSeries]) -> Result<Response> {
    let mut request = Request2 {
        symbols: vec![String::new()],
        timeseries: Vec::new(),
    };
    for series in timeseries {
        let mut labels_refs = Vec::new();
        for label in &series.labels {
            for text in [&label.name, &label.value] {
                labels_refs.push(u32::try_from(request.symbols.len())?);
                request.symbols.push(text.clone());
            }
        }
        request.timeseries.push(TimeSeries2 {
            labels_refs,
            samples: series.samples.clone(),
        });
    }
    send_body(url, VERSION_2, &request.encode_to_vec())
}

/// Sends a message, compressed.
///
/// # Errors
/// As for [`send`].
pub(crate) fn send_body(url: &str, content_type: &str, message: &[u8]) -> Result<Response> {
    let body = snap::raw::Encoder::new().compress_vec(message)?;
    let version = if content_type == VERSION_2 {
        "2.0.0"
    } else {
        "0.1.0"
    };
    let headers = [
        ("Content-Encoding", "snappy"),
        ("Content-Type", content_type),
        ("X-Prometheus-Remote-Write-Version", version),
    ];
    http::post(url, &headers, &body)
}

/// The samples of a request, of 1.0 or 2.0 by its content type, in their order; native histograms
/// are left out.
///
/// # Errors
/// It is no such request.
pub(crate) fn decode(content_type: &str, body: &[u8]) -> Result<Vec<Sample>> {
    let plain = snap::raw::Decoder::new().decompress_vec(body)?;
    let timeseries = if content_type.contains("write.v2") {
        let request = Request2::decode(&*plain)?;
        let plain = request.timeseries.iter();
        plain
            .map(|series| resolve(series, &request.symbols))
            .collect::<Result<Vec<_>>>()?
    } else {
        WriteRequest::decode(&*plain)?.timeseries
    };
    Ok(timeseries.iter().flat_map(TimeSeries::samples).collect())
}

fn resolve(series: &TimeSeries2, symbols: &[String]) -> Result<TimeSeries> {
    let text = |place: &u32| symbols.get(*place as usize).context("no such symbol");
    let mut labels = Vec::new();
    for pair in series.labels_refs.chunks(2) {
        if let [name, value] = pair {
            labels.push(Label {
                name: text(name)?.clone(),
                value: text(value)?.clone(),
            });
        }
    }
    Ok(TimeSeries {
        labels,
        samples: series.samples.clone(),
    })
}
