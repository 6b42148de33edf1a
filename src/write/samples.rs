//! Samples as bytes, in checkpoints and in the journal.
//!
//! One version byte; the distinct texts; the series, each the numbers of its texts (the name, then
//! label names and values in turn); and the samples in columns: series, timestamp, value. Histograms
//! follow with the places of their samples, whose values are 0.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashTable};

use crate::model::{
    Corrupt, Decoder, Encoder, NativeHistogram, Sample, SampleValue, Series, TimestampMs,
};

/// The version of the format that is written, and the only one that there is.
const VERSION: u8 = 1;

/// Collects samples and writes them.
#[derive(Debug, Default)]
pub(super) struct SampleWriter {
    text_numbers: HashMap<Arc<str>, u32, FixedState>,
    texts: Vec<Arc<str>>,
    series_numbers: HashTable<(Arc<Series>, u32)>,
    /// How many texts each series has.
    series_lengths: Vec<u32>,
    series_texts: Vec<u32>,
    series: Vec<u32>,
    timestamps: Vec<TimestampMs>,
    values: Vec<f64>,
    histograms: Vec<(u32, Arc<NativeHistogram>)>,
}

impl SampleWriter {
    /// All of these samples.
    pub(super) fn of<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> Self {
        let mut writer = Self::default();
        for sample in samples {
            writer.push(&sample.series, sample.timestamp_ms, &sample.value);
        }
        writer
    }

    /// Adds a sample.
    pub(super) fn push(
        &mut self,
        series: &Arc<Series>,
        timestamp_ms: TimestampMs,
        value: &SampleValue,
    ) {
        let series = self.series_number(series);
        match value {
            SampleValue::Number(value) => self.values.push(*value),
            SampleValue::Histogram(histogram) => {
                let place = number(self.series.len());
                self.histograms.push((place, Arc::clone(histogram)));
                self.values.push(0.0);
            }
        }
        self.series.push(series);
        self.timestamps.push(timestamp_ms);
    }

    /// Writes all that were added.
    pub(super) fn encode(&self, out: &mut Encoder) {
        out.u8(VERSION);
        out.count(self.texts.len());
        for text in &self.texts {
            out.text(text);
        }
        out.u32s(self.series_lengths.iter().copied());
        out.u32s(self.series_texts.iter().copied());
        out.u32s(self.series.iter().copied());
        out.i64s(self.timestamps.iter().copied());
        out.f64s(self.values.iter().copied());
        out.u32s(self.histograms.iter().map(|(place, _)| *place));
        for (_, histogram) in &self.histograms {
            out.i32(histogram.schema);
            out.f64(histogram.zero_threshold);
            out.u64(histogram.zero_count);
            out.u64(histogram.count);
            out.f64(histogram.sum);
            for buckets in [&histogram.positive, &histogram.negative] {
                out.i32s(buckets.iter().map(|(index, _)| *index));
                out.u64s(buckets.iter().map(|(_, count)| *count));
            }
        }
    }

    fn series_number(&mut self, series: &Arc<Series>) -> u32 {
        let hash = series.hash();
        let known = self.series_numbers.find(hash, |(known, _)| {
            Arc::ptr_eq(known, series) || known == series
        });
        if let Some((_, number)) = known {
            return *number;
        }
        let texts_before = self.series_texts.len();
        let name = self.text_number(series.name());
        self.series_texts.push(name);
        for (name, value) in series.labels() {
            for text in [name, value] {
                let text = self.text_number(text);
                self.series_texts.push(text);
            }
        }
        self.series_lengths
            .push(number(self.series_texts.len() - texts_before));
        let number = number(self.series_lengths.len() - 1);
        self.series_numbers
            .insert_unique(hash, (Arc::clone(series), number), |(series, _)| {
                series.hash()
            });
        number
    }

    fn text_number(&mut self, text: &Arc<str>) -> u32 {
        if let Some(number) = self.text_numbers.get(text) {
            return *number;
        }
        let number = number(self.texts.len());
        self.texts.push(Arc::clone(text));
        self.text_numbers.insert(Arc::clone(text), number);
        number
    }
}

/// There are never 2^32 of them: each takes some bytes of memory.
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Reads what [`SampleWriter::encode`] has written.
///
/// # Errors
/// The bytes end before, contradict themselves, or are of another version.
pub(super) fn read_samples(from: &mut Decoder<'_>) -> Result<Vec<Sample>, Corrupt> {
    let version = from.u8()?;
    if version != VERSION {
        return Err(from.corrupt(format!(
            "samples of version {version}, this weir reads {VERSION}"
        )));
    }
    let series = read_series(from)?;
    let numbers = from.u32s()?;
    let timestamps = from.i64s()?;
    let values = from.f64s()?;
    if numbers.len() != timestamps.len() || numbers.len() != values.len() {
        return Err(from.corrupt(format!(
            "{} samples have {} timestamps and {} values",
            numbers.len(),
            timestamps.len(),
            values.len()
        )));
    }
    let mut samples = Vec::with_capacity(numbers.len());
    for ((number, timestamp_ms), value) in numbers.into_iter().zip(timestamps).zip(values) {
        let series = series
            .get(number as usize)
            .ok_or_else(|| from.corrupt(format!("series {number} of {} is used", series.len())))?;
        samples.push(Sample {
            series: Arc::clone(series),
            timestamp_ms,
            value: value.into(),
        });
    }
    for place in from.u32s()? {
        let histogram = read_histogram(from)?;
        let count = samples.len();
        let sample = samples.get_mut(place as usize).ok_or_else(|| {
            from.corrupt(format!("sample {place} of {count} is to be a histogram"))
        })?;
        sample.value = histogram.into();
    }
    Ok(samples)
}

fn read_series(from: &mut Decoder<'_>) -> Result<Vec<Arc<Series>>, Corrupt> {
    let count = from.count(size_of::<u64>())?;
    let mut texts: Vec<Arc<str>> = Vec::with_capacity(count);
    for _ in 0..count {
        texts.push(from.text()?.into());
    }
    let lengths = from.u32s()?;
    let numbers = from.u32s()?;
    let mut numbers = numbers.into_iter();
    let mut text = || {
        let number = numbers.next()?;
        texts.get(number as usize).cloned()
    };
    let mut all = Vec::with_capacity(lengths.len());
    for length in lengths {
        let missing = || from.corrupt("a series has texts that are not there");
        if length % 2 == 0 {
            return Err(from.corrupt(format!(
                "a series has {length} texts; a name and pairs are an odd number"
            )));
        }
        let name = text().ok_or_else(missing)?;
        let mut labels = Vec::new();
        for _ in 0..length / 2 {
            labels.push((text().ok_or_else(missing)?, text().ok_or_else(missing)?));
        }
        all.push(Arc::new(Series::new(name, labels)));
    }
    match numbers.len() {
        0 => Ok(all),
        more => Err(from.corrupt(format!("{more} texts belong to no series"))),
    }
}

fn read_histogram(from: &mut Decoder<'_>) -> Result<NativeHistogram, Corrupt> {
    Ok(NativeHistogram {
        schema: from.i32()?,
        zero_threshold: from.f64()?,
        zero_count: from.u64()?,
        count: from.u64()?,
        sum: from.f64()?,
        positive: read_buckets(from)?,
        negative: read_buckets(from)?,
    })
}

fn read_buckets(from: &mut Decoder<'_>) -> Result<Vec<(i32, u64)>, Corrupt> {
    let indices = from.i32s()?;
    let counts = from.u64s()?;
    if indices.len() != counts.len() {
        return Err(from.corrupt(format!(
            "{} buckets have {} counts",
            indices.len(),
            counts.len()
        )));
    }
    Ok(indices.into_iter().zip(counts).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write::testing::{histogram, sample};

    fn some() -> Vec<Sample> {
        vec![
            sample("speed", &[("vehicle", "V1"), ("model", "日本")], 10, 0.1),
            sample(
                "speed",
                &[("vehicle", "V1"), ("model", "日本")],
                20,
                f64::INFINITY,
            ),
            sample("load", &[("model", "speed")], i64::MIN, histogram()),
            sample("up", &[], i64::MAX, -0.0),
            sample("load", &[("model", "speed")], 7, histogram()),
        ]
    }

    fn encoded(samples: &[Sample]) -> Vec<u8> {
        let mut out = Encoder::new();
        SampleWriter::of(samples).encode(&mut out);
        out.into_bytes()
    }

    #[test]
    fn what_says_that_a_series_has_ended_keeps_its_bits() {
        let markers = [
            sample("up", &[], 1, SampleValue::staleness_marker()),
            sample("load", &[], 1, SampleValue::histogram_staleness_marker()),
        ];
        let bytes = encoded(&markers);
        let read = read_samples(&mut Decoder::new(&bytes)).unwrap();
        assert_eq!(read.len(), 2);
        assert!(read.iter().all(|sample| sample.value.is_staleness_marker()));
        assert!(read.iter().any(|sample| sample.value.histogram().is_some()));
    }

    #[test]
    fn reads_what_was_written() {
        for samples in [some(), Vec::new()] {
            let bytes = encoded(&samples);
            let mut from = Decoder::new(&bytes);
            assert_eq!(read_samples(&mut from), Ok(samples));
            assert_eq!(from.end(), Ok(()));
        }
    }

    #[test]
    fn a_series_and_a_text_are_written_once() {
        let one = encoded(&[sample(
            "a_long_name",
            &[("vehicle", "a_long_value")],
            1,
            1.0,
        )]);
        let many: Vec<_> = (0..100)
            .map(|time| sample("a_long_name", &[("vehicle", "a_long_value")], time, 1.0))
            .collect();
        assert_eq!(encoded(&many).len(), one.len() + 99 * (4 + 8 + 8));
    }

    #[test]
    fn every_cut_and_another_version_is_refused() {
        let bytes = encoded(&some());
        for end in 0..bytes.len() {
            let mut from = Decoder::new(&bytes[..end]);
            assert!(read_samples(&mut from).is_err(), "{end}");
        }
        let mut newer = bytes;
        newer[0] = 2;
        let error = read_samples(&mut Decoder::new(&newer)).unwrap_err();
        assert_eq!(error.reason, "samples of version 2, this weir reads 1");
    }

    #[test]
    fn changed_bytes_never_panic() {
        let bytes = encoded(&some());
        for place in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut changed = bytes.clone();
                changed[place] = value;
                // Whether it can be read is for a checksum; this must only end.
                drop(read_samples(&mut Decoder::new(&changed)));
            }
        }
    }
}
