//! How large a request will be, before it is made.

use prost::encoding::encoded_len_varint;

use crate::model::{SampleValue, Series, TimestampMs};
use crate::write::metadata::MetricsMetadata;

use super::histogram::histogram_bytes;
use super::wire::{NAME_LABEL, delimited_bytes, sample_bytes};
use crate::write::remote_write::protocol::Protocol;

/// The tag and the length of a series; the length grows with its samples.
const FRAME_BYTES: usize = 1 + 5;
/// The number of a text, and of a number's field with its tag: requests have below 2²⁸ texts.
const SYMBOL_BYTES: usize = 4;
/// Type, help and unit of a series in 2.0.
const METADATA_BYTES: usize = 2 + (1 + 1) + 2 * (1 + SYMBOL_BYTES);
/// A start with a tag of one or two bytes.
const START_BYTES: usize = 2 + 10;

impl Protocol {
    /// What a request has without series, in bytes.
    pub(in crate::write::remote_write) fn frame_bytes(self) -> usize {
        match self {
            Self::V1 => 0,
            // The empty text.
            Self::V2 => 2,
        }
    }

    /// An upper bound for what a series adds to an encoded request, in bytes. In 2.0 that is with all
    /// of its texts, which it may share with others, but without those of its metadata.
    pub(in crate::write::remote_write) fn series_bytes(self, series: &Series) -> usize {
        let mut bytes = self.label_bytes(NAME_LABEL, series.name());
        for (name, value) in series.labels() {
            bytes += self.label_bytes(name, value);
        }
        match self {
            Self::V1 => FRAME_BYTES + bytes,
            Self::V2 => 2 * FRAME_BYTES + bytes + METADATA_BYTES,
        }
    }

    fn label_bytes(self, name: &str, value: &str) -> usize {
        let texts = delimited_bytes(name.len()) + delimited_bytes(value.len());
        match self {
            Self::V1 => delimited_bytes(texts),
            Self::V2 => texts + 2 * SYMBOL_BYTES,
        }
    }

    /// An upper bound for what a sample adds to its series, in bytes.
    pub(in crate::write::remote_write) fn point_bytes(
        self,
        timestamp: TimestampMs,
        value: &SampleValue,
    ) -> usize {
        let point = match value {
            SampleValue::Number(_) => sample_bytes(timestamp, 0),
            SampleValue::Histogram(histogram) => histogram_bytes(histogram),
        };
        match self {
            Self::V1 => point,
            Self::V2 => point + START_BYTES,
        }
    }
}

/// An upper bound for the texts of the metadata in a request of 2.0, in bytes.
pub(in crate::write::remote_write) fn metadata_bytes(metadata: &MetricsMetadata) -> usize {
    let lengths = metadata
        .metrics()
        .iter()
        .flat_map(|metric| [metric.help().len(), metric.unit().len()]);
    lengths
        .map(|length| 1 + encoded_len_varint(length as u64) + length)
        .sum()
}
