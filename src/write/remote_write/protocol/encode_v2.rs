//! Requests of Remote-Write 2.0 (2.0-rc.4).

use std::sync::Arc;

use crate::model::{SampleValue, Series};
use crate::write::metadata::MetricsMetadata;

use super::encode::{Place, for_each_label};
use super::encode_v1::{put_histograms, start_of};
use super::symbols::Symbols;
use super::wire::{delimited, put_message, put_sample, put_varint};
use crate::write::remote_write::batch::Group;

const TIMESERIES: u8 = delimited(5);
const LABELS: u8 = delimited(1);
const SAMPLE: u8 = delimited(2);
const HISTOGRAM: u8 = delimited(3);
const METADATA: u8 = delimited(5);
/// The tags of numbers in a series' metadata.
const METADATA_TYPE: u8 = 1 << 3;
const METADATA_HELP: u8 = 3 << 3;
const METADATA_UNIT: u8 = 4 << 3;

/// How many metrics of a request are looked for by the places of their names first; a power of two.
const SLOTS: usize = 64;

/// Writes requests.
#[derive(Debug)]
pub(in crate::write::remote_write) struct EncoderV2 {
    metadata: Arc<MetricsMetadata>,
    symbols: Symbols,
    series: Vec<u8>,
    metrics: Box<[Slot]>,
    /// Which slots are of this request.
    round: u64,
}

/// What goes with each series of a metric in this request.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    name: Place,
    round: u64,
    metric: Metric,
}

#[derive(Debug, Clone, Copy, Default)]
struct Metric {
    is_known: bool,
    metric_type: u32,
    help: u32,
    unit: u32,
    window_ms: Option<i64>,
}

impl EncoderV2 {
    pub(in crate::write::remote_write) fn new(metadata: Arc<MetricsMetadata>) -> Self {
        Self {
            metadata,
            symbols: Symbols::default(),
            series: Vec::new(),
            metrics: vec![Slot::default(); SLOTS].into(),
            round: 0,
        }
    }

    /// Appends a request to an empty buffer.
    pub(in crate::write::remote_write) fn encode(&mut self, groups: &[Group], out: &mut Vec<u8>) {
        self.round += 1;
        self.symbols.clear();
        self.series.clear();
        let metadata = Arc::clone(&self.metadata);
        for group in groups {
            let metric = self.metric(&group.series, &metadata);
            let (mut numbers, mut histograms) = (false, false);
            for (_, value) in &group.points {
                match value {
                    SampleValue::Number(_) => numbers = true,
                    SampleValue::Histogram(_) => histograms = true,
                }
            }
            let symbols = &mut self.symbols;
            // A series may not have both in one message.
            if numbers {
                put_message::<1>(&mut self.series, TIMESERIES, |out| {
                    put_labels(out, symbols, &group.series);
                    for (timestamp, value) in &group.points {
                        if let SampleValue::Number(value) = value {
                            let start = start_of(*timestamp, metric.window_ms);
                            put_sample(out, SAMPLE, *value, *timestamp, start);
                        }
                    }
                    put_metadata(out, metric);
                });
            }
            if histograms {
                put_message::<1>(&mut self.series, TIMESERIES, |out| {
                    put_labels(out, symbols, &group.series);
                    put_histograms(out, HISTOGRAM, group, metric.window_ms);
                    put_metadata(out, metric);
                });
            }
        }
        // Receivers that read a request in one go need the texts first.
        out.extend_from_slice(self.symbols.bytes());
        out.extend_from_slice(&self.series);
    }

    fn metric(&mut self, series: &Series, metadata: &MetricsMetadata) -> Metric {
        let name = Place::of(series.name());
        let index = name.hash() & (SLOTS - 1);
        if let Some(slot) = self.metrics.get(index)
            && slot.name == name
            && slot.round == self.round
        {
            return slot.metric;
        }
        let metric = match metadata.of(series.name()) {
            None => Metric::default(),
            Some(known) => Metric {
                is_known: true,
                metric_type: known.metric_type().number(),
                help: self.symbols.number(known.help()),
                unit: self.symbols.number(known.unit()),
                window_ms: known.window_ms(),
            },
        };
        let round = self.round;
        if let Some(slot) = self.metrics.get_mut(index) {
            *slot = Slot {
                name,
                round,
                metric,
            };
        }
        metric
    }
}

/// Names and values by turns.
fn put_labels(out: &mut Vec<u8>, symbols: &mut Symbols, series: &Series) {
    put_message::<1>(out, LABELS, |out| {
        for_each_label(series, |name, value| {
            put_varint(out, u64::from(symbols.number(name)));
            put_varint(out, u64::from(symbols.number(value)));
        });
    });
}

fn put_metadata(out: &mut Vec<u8>, metric: Metric) {
    if !metric.is_known {
        return;
    }
    put_message::<1>(out, METADATA, |out| {
        for (tag, number) in [
            (METADATA_TYPE, metric.metric_type),
            (METADATA_HELP, metric.help),
            (METADATA_UNIT, metric.unit),
        ] {
            if number != 0 {
                out.push(tag);
                put_varint(out, u64::from(number));
            }
        }
    });
}
