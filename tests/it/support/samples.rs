//! Samples that can be compared, wherever they were read: from a file or from Prometheus.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

/// A sample with its series. Values are equal when they are the same number or both NaN.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    /// The metric name.
    pub(crate) name: String,
    /// The labels without `__name__`.
    pub(crate) labels: BTreeMap<String, String>,
    /// When, ms since the epoch.
    pub(crate) timestamp_ms: i64,
    /// The value.
    pub(crate) value: f64,
}

impl Sample {
    /// A sample from literals.
    pub(crate) fn new(name: &str, labels: &[(&str, &str)], timestamp_ms: i64, value: f64) -> Self {
        let mut owned = BTreeMap::new();
        for (label, text) in labels {
            owned.insert((*label).to_owned(), (*text).to_owned());
        }
        Self {
            name: name.to_owned(),
            labels: owned,
            timestamp_ms,
            value,
        }
    }
}

impl Ord for Sample {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name
            .cmp(&other.name)
            .then_with(|| self.labels.cmp(&other.labels))
            .then_with(|| self.timestamp_ms.cmp(&other.timestamp_ms))
            .then_with(|| comparable(self.value).total_cmp(&comparable(other.value)))
    }
}

impl PartialOrd for Sample {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Sample {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Sample {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    name: String,
    labels: BTreeMap<String, String>,
    timestamp_ms: i64,
    value: Option<LineValue>,
    histogram: Option<Histogram>,
}

/// A native histogram as a file has it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Histogram {
    /// The resolution.
    pub(crate) schema: i32,
    /// The greatest absolute value of the zero bucket.
    pub(crate) zero_threshold: f64,
    /// How many values are in the zero bucket.
    pub(crate) zero_count: u64,
    /// How many there are in all.
    pub(crate) count: u64,
    /// Their sum.
    pub(crate) sum: f64,
    /// Indices and counts of the buckets of positive values.
    pub(crate) positive: Vec<(i32, u64)>,
    /// The same of negative values.
    pub(crate) negative: Vec<(i32, u64)>,
}

/// JSON has no number for NaN and the infinities.
#[derive(Deserialize)]
#[serde(untagged)]
enum LineValue {
    Number(f64),
    Text(String),
}

/// The samples of a file with one JSON object a line, such as
/// `{"name":"a","labels":{"b":"c"},"timestamp_ms":5000,"value":1}`, sorted by series and time.
///
/// # Errors
/// The file cannot be read, or a line is no sample; with its number.
pub(crate) fn read_ndjson(path: &Path) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for (line, place) in read_lines(path)? {
        samples.push(sample_of(line).with_context(|| place)?);
    }
    samples.sort();
    Ok(samples)
}

/// The histograms of such a file, in the order of its lines; samples that are numbers are left out.
///
/// # Errors
/// As for [`read_ndjson`].
pub(crate) fn read_histograms(path: &Path) -> Result<Vec<(String, i64, Histogram)>> {
    let mut histograms = Vec::new();
    for (line, _) in read_lines(path)? {
        if let Some(histogram) = line.histogram {
            histograms.push((line.name, line.timestamp_ms, histogram));
        }
    }
    Ok(histograms)
}

/// The lines of a file, each with its place for messages.
fn read_lines(path: &Path) -> Result<Vec<(Line, String)>> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let place = format!("{}, line {}: {line}", path.display(), index + 1);
        // serde_json reads some numbers wrong in the last place.
        let parsed = sonic_rs::from_str(line).with_context(|| place.clone())?;
        lines.push((parsed, place));
    }
    Ok(lines)
}

/// A number that JSON or Prometheus has written as text: `1.5`, `NaN`, `+Inf`.
///
/// # Errors
/// It is no number.
pub(crate) fn parse_value(text: &str) -> Result<f64> {
    text.parse()
        .with_context(|| format!("{text:?} is not a number"))
}

fn sample_of(line: Line) -> Result<Sample> {
    let value = match line.value {
        Some(LineValue::Number(value)) => value,
        Some(LineValue::Text(text)) => parse_value(&text)?,
        None => bail!("no value"),
    };
    Ok(Sample {
        name: line.name,
        labels: line.labels,
        timestamp_ms: line.timestamp_ms,
        value,
    })
}

/// One NaN for all, and no difference between 0 and -0.
fn comparable(value: f64) -> f64 {
    if value.is_nan() {
        f64::NAN
    } else {
        value + 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::super::files::{temporary_folder, write};
    use super::*;

    #[test]
    fn lines_become_sorted_samples() {
        let text = concat!(
            r#"{"name":"b","labels":{"model":"Helion"},"timestamp_ms":5000,"value":12}"#,
            "\n",
            r#"{"name":"a","labels":{},"timestamp_ms":10000,"value":"NaN"}"#,
            "\n",
            r#"{"name":"a","labels":{},"timestamp_ms":5000,"value":-0.0}"#,
            "\n",
        );
        let folder = temporary_folder().unwrap();
        let path = write(folder.path(), "samples.ndjson", text).unwrap();
        let expected = [
            Sample::new("a", &[], 5_000, 0.0),
            Sample::new("a", &[], 10_000, f64::NAN),
            Sample::new("b", &[("model", "Helion")], 5_000, 12.0),
        ];
        assert_eq!(read_ndjson(&path).unwrap(), expected);
    }

    #[test]
    fn histograms_stand_beside_numbers() {
        let text = concat!(
            r#"{"name":"a","labels":{},"timestamp_ms":5000,"value":12}"#,
            "\n",
            r#"{"name":"b","labels":{},"timestamp_ms":5000,"histogram":{"schema":1,"#,
            r#""zero_threshold":1e-128,"zero_count":1,"count":4,"sum":-0.5,"#,
            r#""positive":[[-3,2]],"negative":[[4,1]]}}"#,
            "\n",
        );
        let folder = temporary_folder().unwrap();
        let path = write(folder.path(), "samples.ndjson", text).unwrap();
        let histogram = Histogram {
            schema: 1,
            zero_threshold: 1e-128,
            zero_count: 1,
            count: 4,
            sum: -0.5,
            positive: vec![(-3, 2)],
            negative: vec![(4, 1)],
        };
        let expected = [("b".to_owned(), 5_000, histogram)];
        assert_eq!(read_histograms(&path).unwrap(), expected);
        let error = format!("{:#}", read_ndjson(&path).unwrap_err());
        assert!(error.ends_with(": no value"), "{error}");
    }

    #[test]
    fn a_line_that_is_no_sample_is_named() {
        let folder = temporary_folder().unwrap();
        let line = r#"{"name":"a","labels":{},"timestamp_ms":1.5,"value":1}"#;
        let path = write(folder.path(), "samples.ndjson", line).unwrap();
        let error = format!("{:#}", read_ndjson(&path).unwrap_err());
        let place = format!("{}, line 1: {line}: invalid type: ", path.display());
        assert!(error.starts_with(&place), "{error}");
    }
}
