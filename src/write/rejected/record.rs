//! A rejected sample as one line of JSON.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use serde::Deserialize;

use crate::model::{NativeHistogram, STALE_NAN_BITS, Sample, SampleValue, Series, TimestampMs};
use crate::write::line::{STALE, write_sample};

/// A sample that a receiver does not take.
#[derive(Debug, Clone, PartialEq)]
pub struct RejectedSample {
    /// When it was rejected, ms since the epoch.
    pub rejected_at_ms: TimestampMs,
    /// The receiver's address, without credentials.
    pub receiver: String,
    /// The HTTP status of its answer; none where it was not asked, because it was known to refuse.
    pub status: Option<u16>,
    /// What the receiver said, or why it was not asked.
    pub words: String,
    /// The sample.
    pub sample: Sample,
}

/// How a line is read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    rejected_at_ms: TimestampMs,
    receiver: String,
    status: Option<u16>,
    words: String,
    sample: SampleLine,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SampleLine {
    name: String,
    labels: BTreeMap<String, String>,
    timestamp_ms: TimestampMs,
    value: Option<Value>,
    histogram: Option<Histogram>,
}

/// A number, or the text of one that JSON cannot write.
#[derive(Deserialize)]
#[serde(untagged)]
enum Value {
    Number(f64),
    Text(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Histogram {
    schema: i32,
    zero_threshold: Value,
    zero_count: u64,
    count: u64,
    sum: Value,
    positive: Vec<(i32, u64)>,
    negative: Vec<(i32, u64)>,
}

impl RejectedSample {
    /// Appends it as a line.
    ///
    /// # Errors
    /// What the output reports.
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        write!(
            out,
            "{{\"rejected_at_ms\":{},\"receiver\":",
            self.rejected_at_ms
        )?;
        serde_json::to_writer(&mut *out, &self.receiver)?;
        out.write_all(b",\"status\":")?;
        serde_json::to_writer(&mut *out, &self.status)?;
        out.write_all(b",\"words\":")?;
        serde_json::to_writer(&mut *out, &self.words)?;
        out.write_all(b",\"sample\":")?;
        write_sample(out, &self.sample)?;
        out.write_all(b"}\n")
    }

    /// Reads a line.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(line: &str) -> Result<Self, String> {
        let line: Line = sonic_rs::from_str(line).map_err(|error| error.to_string())?;
        let SampleLine {
            name,
            labels,
            timestamp_ms,
            value,
            histogram,
        } = line.sample;
        let value = match (value, histogram) {
            (Some(value), None) => SampleValue::Number(value.read()?),
            (None, Some(histogram)) => SampleValue::Histogram(Arc::new(histogram.read()?)),
            _ => return Err("a sample has either value or histogram".to_owned()),
        };
        let labels = labels.into_iter();
        let labels = labels.map(|(name, value)| (Arc::from(name), Arc::from(value)));
        Ok(Self {
            rejected_at_ms: line.rejected_at_ms,
            receiver: line.receiver,
            status: line.status,
            words: line.words,
            sample: Sample {
                series: Arc::new(Series::new(Arc::from(name), labels.collect())),
                timestamp_ms,
                value,
            },
        })
    }
}

impl Value {
    fn read(self) -> Result<f64, String> {
        match self {
            Self::Number(value) => Ok(value),
            Self::Text(text) => match text.as_str() {
                "+Inf" => Ok(f64::INFINITY),
                "-Inf" => Ok(f64::NEG_INFINITY),
                STALE => Ok(f64::from_bits(STALE_NAN_BITS)),
                _ => Err(format!(
                    "'{text}' is no number; use +Inf, -Inf or {STALE}, or a number"
                )),
            },
        }
    }
}

impl Histogram {
    fn read(self) -> Result<NativeHistogram, String> {
        Ok(NativeHistogram {
            schema: self.schema,
            zero_threshold: self.zero_threshold.read()?,
            zero_count: self.zero_count,
            count: self.count,
            sum: self.sum.read()?,
            positive: self.positive,
            negative: self.negative,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::write::testing::{histogram, sample};

    fn written(record: &RejectedSample) -> String {
        let mut out = Vec::new();
        record.write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn of(sample: Sample) -> RejectedSample {
        RejectedSample {
            rejected_at_ms: 1_730_620_800_000,
            receiver: "http://127.0.0.1:9090/api/v1/write".to_owned(),
            status: Some(400),
            words: "out of order sample\n\"quoted\"".to_owned(),
            sample,
        }
    }

    #[test]
    fn a_line_says_all_in_words_of_json() {
        let line = written(&of(sample("up", &[("region", "UK")], 15, 1.5)));
        assert_eq!(
            line,
            "{\"rejected_at_ms\":1730620800000,\"receiver\":\"http://127.0.0.1:9090/api/v1/write\",\
             \"status\":400,\"words\":\"out of order sample\\n\\\"quoted\\\"\",\"sample\":{\"name\":\"up\",\
             \"labels\":{\"region\":\"UK\"},\"timestamp_ms\":15,\"value\":1.5}}\n"
        );
    }

    #[test]
    fn distributions_and_infinities_come_back() {
        let shape = NativeHistogram {
            sum: f64::NEG_INFINITY,
            negative: vec![(-3, 2)],
            ..histogram()
        };
        for sample in [
            sample("h", &[], 1, shape),
            sample("i", &[], -5, f64::INFINITY),
            sample("z", &[], 0, -0.0),
        ] {
            let record = RejectedSample {
                status: None,
                ..of(sample)
            };
            let line = written(&record);
            assert_eq!(RejectedSample::read(&line), Ok(record), "{line}");
        }
    }

    #[test]
    fn what_says_that_a_series_has_ended_comes_back() {
        let markers = [
            SampleValue::staleness_marker(),
            SampleValue::histogram_staleness_marker(),
        ];
        for marker in markers {
            let line = written(&of(sample("up", &[], 15, marker.clone())));
            assert!(line.contains("\"StaleNaN\""), "{line}");
            let read = RejectedSample::read(&line).unwrap().sample.value;
            assert!(read.is_staleness_marker(), "{line}");
            assert_eq!(read.histogram().is_some(), marker.histogram().is_some());
        }
    }

    #[test]
    fn what_is_no_record_is_told() {
        let line = written(&of(sample("up", &[], 15, 1.5)));
        let both = line.replace("\"value\"", "\"histogram\"");
        assert!(RejectedSample::read(&both).is_err());
        let neither = line.replace(",\"value\":1.5", "");
        assert_eq!(
            RejectedSample::read(&neither),
            Err("a sample has either value or histogram".to_owned())
        );
        let text = line.replace("1.5", "\"NaN\"");
        assert_eq!(
            RejectedSample::read(&text),
            Err("'NaN' is no number; use +Inf, -Inf or StaleNaN, or a number".to_owned())
        );
        for end in 0..line.len() - 2 {
            assert!(RejectedSample::read(&line[..end]).is_err(), "{end}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read(
            words in ".*",
            labels in prop::collection::btree_map("[a-z]{1,5}", ".{1,9}", 0..4),
            timestamp in any::<i64>(),
            value in any::<f64>().prop_filter("a number", |value| !value.is_nan()),
        ) {
            let labels: Vec<_> = labels.iter().map(|(name, value)| (&**name, &**value)).collect();
            let record = RejectedSample { words, ..of(sample("m", &labels, timestamp, value)) };
            prop_assert_eq!(RejectedSample::read(&written(&record)), Ok(record));
        }
    }
}
