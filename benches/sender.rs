//! What it takes to make requests of samples: encoded, compressed and signed, samples a second on one core;
//! how fast they arrive at a real Prometheus beside a receiver that keeps nothing; and what memory weir has
//! while a receiver is away.
//!
//! Requests have 2,000 samples. Beside them: the same bytes copied and compressed, which no sender can
//! be faster than, and the same samples by way of protobuf's messages. What is compared takes turns. Rates
//! are the best of their rounds, for the rest of the machine only ever makes them lower; shares are the
//! median. Figures go to `target/bench/sender.jsonl` as well.
//!
//! `cargo bench --profile release --bench sender`, with the names of parts for some of them. The receiver
//! is away for a minute, or for the seconds in `BENCH_AWAY_SECONDS`.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]

mod arrival;
mod away;
#[expect(dead_code, reason = "the bench of state has uses for the rest")]
mod command;
mod findings;
mod machine;
mod parts;
mod peak;
#[expect(dead_code, reason = "the bench of state has uses for the rest")]
mod receiver;
mod signing;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use prost::Message;
use weir::model::Series;
use weir::write::remote_write::{Group, Protocol, RequestEncoder};
use weir::write::{MetricMetadata, MetricType, MetricsMetadata};

use findings::{Finding, Findings, highest, median};
use parts::Parts;
use signing::Signer;

/// How many samples a request has.
const SAMPLES: usize = 2_000;
/// How often each way is measured, by turns.
const ROUNDS: usize = 200;
/// How many requests are made at once for a measurement.
const REQUESTS: usize = 5;
/// 5 million samples a second.
const TARGET_NS: f64 = 200.0;

/// The parts, as they are named on the command line.
const PARTS: [&str; 3] = ["requests", "arrival", "away"];

/// A label: its name, and the values that it has.
type Label = (&'static str, &'static [&'static str]);

const METRICS: [&str; 4] = [
    "vehicle_speed_kmh_avg",
    "vehicles_in_motion",
    "battery_state_of_charge_ratio",
    "vehicle_faults",
];
const LABELS: [Label; 5] = [
    (
        "country",
        &["DE", "ES", "FR", "GB", "IT", "JP", "NL", "PL", "SE", "US"],
    ),
    (
        "firmware",
        &[
            "4.0.11", "4.1.0", "4.1.7", "4.2.3", "4.2.17", "5.0.0", "5.0.1",
        ],
    ),
    (
        "model",
        &["Corvid", "Helion", "Meridian", "Solara", "Vanta"],
    ),
    ("plant", &["austin", "leipzig-2", "swindon-1"]),
    ("region", &["apac", "eu-north", "eu-west", "us-east"]),
];

/// What a request consists of.
struct Batch {
    name: &'static str,
    /// How many samples each series has.
    per_series: usize,
    /// Whether equal texts are at one place in memory, as a pipeline has them.
    shared: bool,
    /// Whether each series has a label of its own beside the others.
    vehicles: bool,
}

const BATCHES: [Batch; 4] = [
    Batch {
        name: "a sample a series",
        per_series: 1,
        shared: true,
        vehicles: false,
    },
    Batch {
        name: "a sample a vehicle",
        per_series: 1,
        shared: true,
        vehicles: true,
    },
    Batch {
        name: "a sample a series, no text shared",
        per_series: 1,
        shared: false,
        vehicles: false,
    },
    Batch {
        name: "10 samples a series",
        per_series: 10,
        shared: true,
        vehicles: false,
    },
];

#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<LabelPair>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Point>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct LabelPair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Point {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

fn main() -> Result<()> {
    let parts = Parts::of_arguments(&PARTS)?;
    let wants = |part: &str| parts.wants(part);
    println!("{}", machine::description());
    let mut findings = Findings::create("sender")?;
    if wants("requests") {
        for batch in BATCHES {
            measure(&batch, &mut findings)?;
        }
    }
    if wants("arrival") {
        arrival::measure(&mut findings)?;
    }
    if wants("away") {
        away::measure(&mut findings)?;
    }
    Ok(())
}

fn measure(batch: &Batch, findings: &mut Findings) -> Result<()> {
    let groups = groups(batch);
    let metadata = Arc::new(metadata());
    for protocol in [Protocol::V1, Protocol::V2] {
        let mut encoder = RequestEncoder::new(Arc::clone(&metadata));
        let plain = encoder.plain(&groups, protocol).to_vec();
        let body = encoder.encode(&groups, protocol)?.bytes.len();
        let mut bare = Bare::new();
        let signer = Signer::new()?;
        let (mut ours, mut unsigned) = (Vec::new(), Vec::new());
        let (mut shares, mut messages) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let taken = seconds(|| {
                let body = encoder.encode(black_box(&groups), protocol)?;
                black_box(signer.sign(body)?);
                Ok(())
            })?;
            shares.push(seconds(|| bare.compress(black_box(&plain)))? / taken);
            ours.push(SAMPLES as f64 / taken);
            let taken = seconds(|| {
                black_box(encoder.encode(black_box(&groups), protocol)?);
                Ok(())
            })?;
            unsigned.push(SAMPLES as f64 / taken);
            if protocol == Protocol::V1 {
                let taken = seconds(|| {
                    let request = by_messages(black_box(&groups)).encode_to_vec();
                    bare.compress(&request)
                })?;
                messages.push(SAMPLES as f64 / taken);
            }
        }
        let of = |what: &str| format!("{}, {}: {what}", protocol.name(), batch.name);
        let best = highest(ours.into_iter());
        let what = of("encoded, compressed, signed");
        findings.add(&Finding::new(what, best, "samples/s"))?;
        let nanoseconds = Finding::new(of("the same"), 1e9 / best, "ns/sample");
        findings.add(&nanoseconds.decimals(1).at_most(TARGET_NS))?;
        let share = Finding::new(of("share of copying and compressing"), median(shares), "");
        findings.add(&share.decimals(2))?;
        let best = highest(unsigned.into_iter());
        findings.add(&Finding::new(of("encoded, compressed"), best, "samples/s"))?;
        if protocol == Protocol::V1 {
            let best = highest(messages.into_iter());
            findings.add(&Finding::new(of("by messages"), best, "samples/s"))?;
        }
        for (what, bytes) in [("plain", plain.len()), ("compressed", body)] {
            let bytes = bytes as f64 / SAMPLES as f64;
            findings.add(&Finding::new(of(what), bytes, "B/sample").decimals(1))?;
        }
    }
    Ok(())
}

/// The seconds of one request, of [`REQUESTS`].
fn seconds(mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    let began = Instant::now();
    for _ in 0..REQUESTS {
        work()?;
    }
    Ok(began.elapsed().as_secs_f64() / REQUESTS as f64)
}

/// Copies and compresses.
struct Bare {
    snappy: snap::raw::Encoder,
    copy: Vec<u8>,
    compressed: Vec<u8>,
}

impl Bare {
    fn new() -> Self {
        Self {
            snappy: snap::raw::Encoder::new(),
            copy: Vec::new(),
            compressed: Vec::new(),
        }
    }

    fn compress(&mut self, plain: &[u8]) -> Result<()> {
        self.copy.clear();
        self.copy.extend_from_slice(plain);
        self.compressed
            .resize(snap::raw::max_compress_len(plain.len()), 0);
        black_box(self.snappy.compress(&self.copy, &mut self.compressed)?);
        Ok(())
    }
}

/// The samples of a request, those of the series of four metrics.
fn groups(batch: &Batch) -> Vec<Group> {
    let mut random = fastrand::Rng::with_seed(1);
    let text = |text: &str| -> Arc<str> { text.into() };
    let names = METRICS.map(text);
    let labels: Vec<(Arc<str>, Vec<Arc<str>>)> = LABELS
        .iter()
        .map(|(name, values)| (text(name), values.iter().copied().map(text).collect()))
        .collect();
    let own = |shared: &Arc<str>| match batch.shared {
        true => Arc::clone(shared),
        false => text(shared),
    };
    let series = (0..SAMPLES / batch.per_series).map(|number| {
        let mut pairs: Vec<_> = labels
            .iter()
            .filter_map(|(name, values)| Some((own(name), own(random.choice(values)?))))
            .collect();
        if batch.vehicles {
            let vehicle = format!("VIN{:014}", random.u64(..100_000_000_000_000));
            pairs.push((text("vehicle"), vehicle.into()));
        }
        let name = names
            .get(number % names.len())
            .map_or_else(|| text("up"), own);
        Arc::new(Series::new(name, pairs))
    });
    let series: Vec<_> = series.collect();
    series
        .into_iter()
        .map(|series| {
            let times = (0..batch.per_series).map(|n| 1_730_621_750_000 + 5_000 * n as i64);
            let points = times.map(|time| (time, (random.f64() * 1e4).round().into()));
            Group {
                series,
                points: points.collect(),
            }
        })
        .collect()
}

fn metadata() -> MetricsMetadata {
    let mut metadata = MetricsMetadata::default();
    for name in METRICS {
        let help = "What the metric says, for people";
        let metric = MetricMetadata::new(name.into(), MetricType::Gauge, help, "", Some(5_000));
        metadata.add(metric, &[]);
    }
    metadata
}

fn by_messages(groups: &[Group]) -> WriteRequest {
    let timeseries = groups.iter().map(|group| {
        let name = ("__name__".to_owned(), group.series.name().to_string());
        let labels = group.series.labels().iter();
        let labels = labels.map(|(name, value)| (name.to_string(), value.to_string()));
        let points = group.points.iter();
        TimeSeries {
            labels: std::iter::once(name)
                .chain(labels)
                .map(|(name, value)| LabelPair { name, value })
                .collect(),
            samples: points
                .filter_map(|(timestamp, value)| {
                    Some(Point {
                        value: value.number()?,
                        timestamp: *timestamp,
                    })
                })
                .collect(),
        }
    });
    WriteRequest {
        timeseries: timeseries.collect(),
    }
}
