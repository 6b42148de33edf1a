//! From samples to the body of a request.
//!
//! The bytes are written directly: the messages of [`super::proto`] would need a copy of every text,
//! which takes several times as long. The label texts of a request repeat; what was written once is
//! copied from there.

use std::cmp::Ordering;
use std::sync::Arc;

use prost::bytes::Bytes;

use crate::model::{SampleValue, Series};
use crate::write::metadata::MetricsMetadata;

use super::encode_v1::EncoderV1;
use super::encode_v2::EncoderV2;
use super::wire::NAME_LABEL;
use crate::write::remote_write::batch::Group;
use crate::write::remote_write::protocol::Protocol;

/// Makes requests of samples. It keeps its buffers, which grow to the size of the largest request.
#[derive(Debug)]
pub struct RequestEncoder {
    v1: EncoderV1,
    v2: EncoderV2,
    plain: Vec<u8>,
    compressed: Vec<u8>,
    snappy: Snappy,
}

/// The body of a request.
#[derive(Debug, Clone)]
pub struct Body {
    /// Protobuf in snappy's block format.
    pub bytes: Bytes,
    /// What it is written in.
    pub protocol: Protocol,
    /// How many numbers it carries.
    pub samples: u64,
    /// How many histograms it carries.
    pub histograms: u64,
}

struct Snappy(snap::raw::Encoder);

impl std::fmt::Debug for Snappy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Snappy")
    }
}

impl RequestEncoder {
    /// An encoder that tells this of the metrics.
    pub fn new(metadata: Arc<MetricsMetadata>) -> Self {
        Self {
            v1: EncoderV1::default(),
            v2: EncoderV2::new(metadata),
            plain: Vec::new(),
            compressed: Vec::new(),
            snappy: Snappy(snap::raw::Encoder::new()),
        }
    }

    /// A request with the samples of these series.
    ///
    /// # Errors
    /// The request is larger than snappy's 4 GiB.
    pub fn encode(&mut self, groups: &[Group], protocol: Protocol) -> Result<Body, snap::Error> {
        self.plain(groups, protocol);
        let bytes = self.compress()?;
        let (mut samples, mut histograms) = (0, 0);
        for (_, value) in groups.iter().flat_map(|group| &group.points) {
            match value {
                SampleValue::Number(_) => samples += 1,
                SampleValue::Histogram(_) => histograms += 1,
            }
        }
        Ok(Body {
            bytes,
            protocol,
            samples,
            histograms,
        })
    }

    /// The request before it is compressed.
    pub fn plain(&mut self, groups: &[Group], protocol: Protocol) -> &[u8] {
        self.plain.clear();
        match protocol {
            Protocol::V1 => self.v1.encode(groups, &mut self.plain),
            Protocol::V2 => self.v2.encode(groups, &mut self.plain),
        }
        &self.plain
    }

    fn compress(&mut self) -> Result<Bytes, snap::Error> {
        let most = snap::raw::max_compress_len(self.plain.len());
        if self.compressed.len() < most {
            self.compressed.resize(most, 0);
        }
        let snappy = &mut self.snappy.0;
        let length = snappy.compress(&self.plain, &mut self.compressed)?;
        Ok(Bytes::copy_from_slice(
            self.compressed.get(..length).unwrap_or_default(),
        ))
    }
}

/// The labels of a series by name. The metric name takes its place among them, which is not the first
/// one where a label begins with a capital letter.
#[inline]
pub(in crate::write::remote_write) fn for_each_label(
    series: &Series,
    mut each: impl FnMut(&str, &str),
) {
    let mut name = Some(&**series.name());
    for (label, value) in series.labels() {
        // Behind the name no label can be before it: they are sorted.
        if let Some(metric) = name {
            match (**label).cmp(NAME_LABEL) {
                Ordering::Less => {}
                // A second name would make the receiver refuse the whole request.
                Ordering::Equal => continue,
                Ordering::Greater => {
                    each(NAME_LABEL, metric);
                    name = None;
                }
            }
        }
        each(label, value);
    }
    if let Some(metric) = name {
        each(NAME_LABEL, metric);
    }
}

/// A text by where it is in memory: quicker to compare than the text, and all texts of a request stay
/// where they are while it is made. Equal texts at two places are two of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::write::remote_write) struct Place {
    address: usize,
    length: usize,
}

impl Place {
    pub(in crate::write::remote_write) fn of(text: &str) -> Self {
        Self {
            address: text.as_ptr().addr(),
            length: text.len(),
        }
    }

    /// For a table of 2ⁿ slots.
    pub(in crate::write::remote_write) fn hash(self) -> usize {
        // The lowest bits of an address are the same for all.
        (self.address >> 4) ^ (self.address >> 12)
    }
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
