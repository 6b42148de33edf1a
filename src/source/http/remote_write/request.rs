//! The body of a request, checked and cut into records.
//!
//! A record is a `prometheus.WriteRequest` with samples alone, whatever the version of the request: stale
//! markers, native histograms, exemplars and metadata are left out. So the log holds what the pipeline
//! processes, and a decoder reads one format.

use crate::model::STALE_NAN_BITS;
use crate::model::protobuf::{Content, Fields, Malformed, put_bytes, put_varint, varint};

use super::super::budget::{Exhausted, Held};
use super::super::records::Records;
use super::{Version, Written};

/// How many samples a record has at most.
const RECORD_SAMPLES: usize = 2_000;

/// How many bytes a record has about; a series with its labels stays together.
const RECORD_BYTES: usize = 256 * 1024;

/// The least `max_record_bytes` with which no record is too large.
pub const LEAST_RECORD_BYTES: usize = 2 * RECORD_BYTES;

/// How many labels a series may have.
const MAX_LABELS: usize = 1_000;

/// How many bytes the labels of a series may have together.
const MAX_LABEL_BYTES: usize = 64 * 1024;

/// How many times the bytes of a body its series may have, once they are written out. A few references to
/// a long text could otherwise become bytes without end, and samples that have neither value nor time.
const GROWTH: usize = 4;

/// Of how many bytes of a body's limit there is at most one text in its table, of which each takes 16 bytes
/// of memory, and how many texts there may be in any case.
const TEXT_BYTES: usize = 16;
const TEXTS_AT_LEAST: usize = 1_024;

/// Why a request is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::source::http) enum Unusable {
    #[error("the body is no block of snappy: {0}")]
    Snappy(String),
    #[error("the body has {claimed} bytes once it is expanded; at most {limit}, send smaller ones")]
    TooLarge { claimed: usize, limit: usize },
    #[error("the request cannot be read: {0}")]
    Malformed(#[from] Malformed),
    #[error("a label is not UTF-8")]
    NoText,
    #[error("a label has no name")]
    NoName,
    #[error("a series has the label '{0}' twice")]
    Twice(String),
    #[error("a series has more than {MAX_LABELS} labels")]
    TooManyLabels,
    #[error("the labels of a series have more than {MAX_LABEL_BYTES} bytes")]
    LabelsTooLarge,
    #[error("a series refers to text {0}, and the table has {1}")]
    NoSuchText(u64, usize),
    #[error("the first text of the table is not empty")]
    FirstText,
    #[error("a series has a label's name without a value")]
    OddReferences,
    #[error("all series have more than {0} bytes once they are written out; send smaller requests")]
    TooManyBytes(usize),
    #[error("the table has more than {0} texts; send smaller requests")]
    TooManyTexts(usize),
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
}

/// Expands a body to at most `limit` bytes, and reads it. All memory that grows with it is held before it is
/// taken.
///
/// # Errors
/// It is larger, or no request, or others hold the memory.
pub(in crate::source::http) fn read(
    body: &[u8],
    version: Version,
    limit: usize,
    held: &mut Held,
) -> Result<(Records, Written), Unusable> {
    let snappy = |error: snap::Error| Unusable::Snappy(error.to_string());
    // Looked at before anything is allocated: a few bytes may claim 4 GiB.
    let claimed = snap::raw::decompress_len(body).map_err(snappy)?;
    if claimed > limit {
        return Err(Unusable::TooLarge { claimed, limit });
    }
    held.grow(claimed)?;
    let plain = snap::raw::Decoder::new()
        .decompress_vec(body)
        .map_err(snappy)?;
    let mut reading = Reading {
        records: Records::default(),
        written: Written::default(),
        record: Vec::new(),
        samples: 0,
        limit,
        bytes_left: limit.saturating_mul(GROWTH),
        labels: Vec::new(),
        series: Vec::new(),
        held,
    };
    match version {
        Version::V1 => reading.v1(&plain)?,
        Version::V2 => reading.v2(&plain)?,
    }
    reading.end_record()?;
    Ok((reading.records, reading.written))
}

/// What there is of a request.
#[derive(Debug)]
struct Reading<'a> {
    records: Records,
    written: Written,
    /// The record at hand.
    record: Vec<u8>,
    samples: usize,
    limit: usize,
    /// How many bytes further series may have.
    bytes_left: usize,
    /// The labels of the series at hand, as they are written.
    labels: Vec<u8>,
    /// The samples of the series at hand that are not in a record yet.
    series: Vec<u8>,
    held: &'a mut Held,
}

impl Reading<'_> {
    fn v1(&mut self, plain: &[u8]) -> Result<(), Unusable> {
        for field in Fields::of(plain) {
            if let (1, Content::Bytes(series)) = field? {
                let mut labels = Vec::new();
                for field in Fields::of(series) {
                    if let (1, Content::Bytes(label)) = field? {
                        if labels.len() >= MAX_LABELS {
                            return Err(Unusable::TooManyLabels);
                        }
                        labels.push(text_pair(label)?);
                    }
                }
                self.begin_series(&labels)?;
                // Exemplars are field 3 and histograms field 4.
                self.samples(series, 3, 4)?;
            }
        }
        Ok(())
    }

    fn v2(&mut self, plain: &[u8]) -> Result<(), Unusable> {
        let texts = self.texts(plain)?;
        if texts.first().is_some_and(|first| !first.is_empty()) {
            return Err(Unusable::FirstText);
        }
        for field in Fields::of(plain) {
            if let (5, Content::Bytes(series)) = field? {
                let references = references(series)?;
                let text = |number: u64| {
                    let index = usize::try_from(number).unwrap_or(usize::MAX);
                    let text = texts.get(index).copied();
                    text.ok_or(Unusable::NoSuchText(number, texts.len()))
                };
                let mut labels = Vec::with_capacity(references.len() / 2);
                for pair in references.chunks(2) {
                    let [name, value] = *pair else {
                        return Err(Unusable::OddReferences);
                    };
                    labels.push((text(name)?, text(value)?));
                }
                self.begin_series(&labels)?;
                // Histograms are field 3 and exemplars field 4.
                self.samples(series, 4, 3)?;
            }
        }
        Ok(())
    }

    /// The table of texts of 2.0.
    fn texts<'t>(&mut self, plain: &'t [u8]) -> Result<Vec<&'t str>, Unusable> {
        let mut count = 0;
        for field in Fields::of(plain) {
            count += usize::from(matches!(field?, (4, Content::Bytes(_))));
        }
        let most = (self.limit / TEXT_BYTES).max(TEXTS_AT_LEAST);
        if count > most {
            return Err(Unusable::TooManyTexts(most));
        }
        self.held.grow(count * size_of::<&str>())?;
        let mut texts = Vec::with_capacity(count);
        for field in Fields::of(plain) {
            if let (4, Content::Bytes(bytes)) = field? {
                texts.push(std::str::from_utf8(bytes).map_err(|_| Unusable::NoText)?);
            }
        }
        Ok(texts)
    }

    /// Takes note that so many bytes more are written.
    fn spend(&mut self, bytes: usize) -> Result<(), Unusable> {
        let most = self.limit.saturating_mul(GROWTH);
        let left = self.bytes_left.checked_sub(bytes);
        self.bytes_left = left.ok_or(Unusable::TooManyBytes(most))?;
        Ok(())
    }

    /// Checks the labels of a series, of which there are not too many, and writes them down.
    fn begin_series(&mut self, labels: &[(&str, &str)]) -> Result<(), Unusable> {
        let mut names: Vec<_> = labels.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        for pair in names.windows(2) {
            if let [first, second] = pair
                && first == second
            {
                return Err(Unusable::Twice((*first).to_owned()));
            }
        }
        self.labels.clear();
        let mut pair = Vec::new();
        for (name, value) in labels {
            if name.is_empty() {
                return Err(Unusable::NoName);
            }
            pair.clear();
            put_bytes(&mut pair, 1, name.as_bytes());
            put_bytes(&mut pair, 2, value.as_bytes());
            put_bytes(&mut self.labels, 1, &pair);
            if self.labels.len() > MAX_LABEL_BYTES {
                return Err(Unusable::LabelsTooLarge);
            }
        }
        self.spend(self.labels.len())?;
        self.series.clone_from(&self.labels);
        Ok(())
    }

    /// Writes down the samples of a series. In both versions they are field 2, and their value and time
    /// fields 1 and 2.
    fn samples(&mut self, series: &[u8], exemplars: u32, histograms: u32) -> Result<(), Unusable> {
        let mut has_samples = false;
        for field in Fields::of(series) {
            let (number, Content::Bytes(bytes)) = field? else {
                continue;
            };
            if number == exemplars {
                self.written.exemplars += 1;
            } else if number == histograms {
                self.written.histograms += 1;
            }
            if number != 2 {
                continue;
            }
            let (value, timestamp) = point(bytes)?;
            if value == STALE_NAN_BITS {
                self.written.stale += 1;
                continue;
            }
            if self.samples >= RECORD_SAMPLES {
                self.end_series(has_samples)?;
                self.end_record()?;
                // The rest of the series has them again.
                self.spend(self.labels.len())?;
            }
            let mut sample = Vec::with_capacity(20);
            sample.push(1 << 3 | 1);
            sample.extend_from_slice(&value.to_le_bytes());
            sample.push(2 << 3);
            put_varint(&mut sample, timestamp);
            let before = self.series.len();
            put_bytes(&mut self.series, 2, &sample);
            self.spend(self.series.len() - before)?;
            self.written.samples += 1;
            self.samples += 1;
            has_samples = true;
        }
        self.end_series(has_samples)
    }

    /// Puts the series at hand into a record, and begins the same one again.
    fn end_series(&mut self, has_samples: bool) -> Result<(), Unusable> {
        if has_samples {
            if !self.record.is_empty() && self.record.len() + self.series.len() > RECORD_BYTES {
                let samples = std::mem::take(&mut self.samples);
                self.end_record()?;
                self.samples = samples;
            }
            put_bytes(&mut self.record, 1, &self.series);
        }
        self.series.clone_from(&self.labels);
        Ok(())
    }

    fn end_record(&mut self) -> Result<(), Unusable> {
        if !self.record.is_empty() {
            self.records.append(&self.record, self.held)?;
        }
        self.record.clear();
        self.samples = 0;
        Ok(())
    }
}

/// The bits of a sample's value, and its time as it is written.
fn point(bytes: &[u8]) -> Result<(u64, u64), Malformed> {
    // What protobuf leaves out is zero.
    let (mut value, mut timestamp) = (0, 0);
    for field in Fields::of(bytes) {
        match field? {
            (1, Content::Fixed64(bits)) => value = bits,
            (2, Content::Varint(number)) => timestamp = number,
            _ => {}
        }
    }
    Ok((value, timestamp))
}

fn text_pair(label: &[u8]) -> Result<(&str, &str), Unusable> {
    let (mut name, mut value) = ("", "");
    for field in Fields::of(label) {
        let (part, bytes) = match field? {
            (1, Content::Bytes(bytes)) => (&mut name, bytes),
            (2, Content::Bytes(bytes)) => (&mut value, bytes),
            _ => continue,
        };
        *part = std::str::from_utf8(bytes).map_err(|_| Unusable::NoText)?;
    }
    Ok((name, value))
}

/// The numbers of the texts of a series' labels, packed or not.
fn references(series: &[u8]) -> Result<Vec<u64>, Unusable> {
    let mut references = Vec::new();
    for field in Fields::of(series) {
        match field? {
            (1, Content::Bytes(mut packed)) => {
                while !packed.is_empty() {
                    references.push(varint(&mut packed)?);
                    if references.len() > 2 * MAX_LABELS {
                        return Err(Unusable::TooManyLabels);
                    }
                }
            }
            (1, Content::Varint(number)) => references.push(number),
            _ => {}
        }
        if references.len() > 2 * MAX_LABELS {
            return Err(Unusable::TooManyLabels);
        }
    }
    Ok(references)
}
