//! What goes out: series and their samples.

use std::fmt;
use std::sync::Arc;

use super::hash::{StableHash, WideStableHash};
use super::histogram::NativeHistogram;
use super::time::TimestampMs;

/// A series: a metric name with its labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    name: Arc<str>,
    labels: Box<[(Arc<str>, Arc<str>)]>,
    hash: u64,
}

impl Series {
    /// A series; the labels are sorted by name here, and labels with an empty value are left out,
    /// because to Prometheus they are the same as absent ones.
    pub fn new(name: Arc<str>, mut labels: Vec<(Arc<str>, Arc<str>)>) -> Self {
        labels.retain(|(_, value)| !value.is_empty());
        labels.sort();
        let hash = labels
            .iter()
            .fold(StableHash::default().text(&name), |hash, (name, value)| {
                hash.text(name).text(value)
            })
            .finish();
        Self {
            name,
            labels: labels.into_boxed_slice(),
            hash,
        }
    }

    /// The metric name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The labels without `__name__`, sorted by name, none with an empty value.
    pub fn labels(&self) -> &[(Arc<str>, Arc<str>)] {
        &self.labels
    }

    /// A hash that is the same on every machine; see [`super::hash`].
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// A hash that stands for the name and the labels where these are too much to keep; see
    /// [`WideStableHash`].
    pub fn wide_hash(&self) -> u128 {
        let hash = WideStableHash::default().text(&self.name);
        let labels = self.labels.iter();
        let hash = labels.fold(hash, |hash, (name, value)| hash.text(name).text(value));
        hash.finish()
    }

    /// How many bytes the names and values take together.
    pub fn text_bytes(&self) -> usize {
        let labels: usize = self
            .labels
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        self.name.len() + labels
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.labels.is_empty() {
            return Ok(());
        }
        for (index, (name, value)) in self.labels.iter().enumerate() {
            let opening = if index == 0 { "{" } else { ", " };
            write!(f, "{opening}{name}={value:?}")?;
        }
        f.write_str("}")
    }
}

/// The bits of the value that says that a series has ended: a NaN that no computation gives
/// (Prometheus Remote-Write specification 1.0, "Stale Markers",
/// <https://prometheus.io/docs/specs/prw/remote_write_spec/#stale-markers>).
///
/// To be compared as bits: it is a NaN, and so equal to nothing.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// One value of a series at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The series.
    pub series: Arc<Series>,
    /// When, ms since the epoch.
    pub timestamp_ms: TimestampMs,
    /// The value.
    pub value: SampleValue,
}

/// The value of a sample.
#[derive(Debug, Clone, PartialEq)]
pub enum SampleValue {
    /// A number.
    Number(f64),
    /// A distribution. Shared, because a sample is copied on its way out.
    Histogram(Arc<NativeHistogram>),
}

impl SampleValue {
    /// What says that a series of numbers has ended; see [`STALE_NAN_BITS`].
    pub fn staleness_marker() -> Self {
        Self::Number(f64::from_bits(STALE_NAN_BITS))
    }

    /// What says that a series of distributions has ended: an empty one, whose sum is that of
    /// [`STALE_NAN_BITS`].
    pub fn histogram_staleness_marker() -> Self {
        let marker = NativeHistogram {
            schema: 0,
            zero_threshold: 0.0,
            zero_count: 0,
            count: 0,
            sum: f64::from_bits(STALE_NAN_BITS),
            positive: Vec::new(),
            negative: Vec::new(),
        };
        Self::Histogram(Arc::new(marker))
    }

    /// Whether it says that its series has ended.
    pub fn is_staleness_marker(&self) -> bool {
        let value = match self {
            Self::Number(value) => *value,
            Self::Histogram(histogram) => histogram.sum,
        };
        value.to_bits() == STALE_NAN_BITS
    }

    /// The number, where it is one.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Number(value) => Some(*value),
            Self::Histogram(_) => None,
        }
    }

    /// The distribution, where it is one.
    pub fn histogram(&self) -> Option<&NativeHistogram> {
        match self {
            Self::Number(_) => None,
            Self::Histogram(histogram) => Some(histogram),
        }
    }
}

impl From<f64> for SampleValue {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

impl From<NativeHistogram> for SampleValue {
    fn from(histogram: NativeHistogram) -> Self {
        Self::Histogram(Arc::new(histogram))
    }
}
