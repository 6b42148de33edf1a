use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::model::{NativeHistogram, Sample, TimestampMs};
use crate::write::metadata::{MetricMetadata, MetricType};
use crate::write::remote_write::batch::{Batch, Origin};
use crate::write::remote_write::config::BatchConfig;
use crate::write::remote_write::last_sent::LastSent;
use crate::write::remote_write::metadata_sender;
use crate::write::remote_write::protocol::proto::{TimeSeries, WriteRequest};
use crate::write::remote_write::protocol::proto_v2::{Metadata, Request};
use crate::write::remote_write::protocol::size::metadata_bytes;
use crate::write::testing::{histogram, sample};

/// A signalling not-a-number, by which Prometheus marks the end of a series.
const STALE: u64 = 0x7ff0_0000_0000_0002;

fn groups_of(samples: &[Sample]) -> Vec<Group> {
    let limits = BatchConfig {
        samples_per_series: 0,
        ..BatchConfig::default()
    };
    let mut batch = Batch::new(limits, Protocol::V2);
    for sample in samples {
        batch.push(sample.clone(), Origin::Formed);
    }
    batch.seal(&LastSent::new(1)).groups
}

/// What each of the two protocols may take at most for these.
fn bound(groups: &[Group], protocol: Protocol) -> usize {
    let series = groups.iter().map(|group| {
        let points = group.points.iter();
        let points = points.map(|(timestamp, value)| protocol.point_bytes(*timestamp, value));
        protocol.series_bytes(&group.series) + points.sum::<usize>()
    });
    protocol.frame_bytes() + series.sum::<usize>()
}

fn by_messages(groups: &[Group]) -> WriteRequest {
    let series = groups.iter();
    WriteRequest {
        timeseries: series
            .map(|group| TimeSeries::new(&group.series, &group.points))
            .collect(),
        metadata: vec![],
    }
}

/// Comparable also where a value is not a number.
fn with_bits(request: &WriteRequest) -> Vec<(String, Vec<(TimestampMs, u64)>)> {
    let series = request.timeseries.iter();
    series
        .map(|series| {
            let points = series.samples.iter();
            (
                format!("{:?} {:?}", series.labels, series.histograms),
                points
                    .map(|point| (point.timestamp, point.value.to_bits()))
                    .collect(),
            )
        })
        .collect()
}

/// Of the metrics `a` to `c`, `b` a counter of windows of 5 s.
fn metadata() -> MetricsMetadata {
    let mut metadata = MetricsMetadata::default();
    let metric = |name: &str, metric_type, help, unit| {
        MetricMetadata::new(name.into(), metric_type, help, unit, Some(5_000))
    };
    metadata.add(metric("a", MetricType::Gauge, "What a is", "seconds"), &[]);
    metadata.add(metric("b", MetricType::Counter, "", "seconds"), &[]);
    metadata.add(metric("c", MetricType::Histogram, "What c is", ""), &["_x"]);
    metadata
}

fn any_value() -> impl Strategy<Value = SampleValue> {
    let buckets = proptest::collection::btree_map(-40_i32..40, 1_u64..1_000, 0..5);
    prop_oneof![
        4 => any::<u64>().prop_map(|bits| f64::from_bits(bits).into()),
        1 => (buckets.clone(), buckets, any::<f64>()).prop_map(|(positive, negative, sum)| {
            NativeHistogram {
                // The messages take −0 for 0, and leave both out.
                sum: if sum.is_nan() { 0.0 } else { sum + 0.0 },
                positive: positive.into_iter().collect(),
                negative: negative.into_iter().collect(),
                ..histogram()
            }
            .into()
        }),
    ]
}

fn any_sample() -> impl Strategy<Value = Sample> {
    let label = ("[A-Z_a-c]{1,3}|__name__", "\\PC{0,3}|x{120,140}");
    (
        "[a-d]|c_x",
        proptest::collection::btree_map(label.0, label.1, 0..5),
        prop_oneof![
            Just(0),
            any::<i64>(),
            1_730_621_750_000_i64..1_730_621_760_000
        ],
        any_value(),
    )
        .prop_map(|(name, labels, timestamp, value)| {
            let labels: Vec<_> = labels.iter().map(|(n, v)| (&**n, &**v)).collect();
            sample(&name, &labels, timestamp, value)
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn both_protocols_say_what_the_messages_say(
        requests in proptest::collection::vec(proptest::collection::vec(any_sample(), 0..40), 1..4),
    ) {
        let metadata = Arc::new(metadata());
        // One encoder for all requests: nothing of one may get into the next.
        let mut encoder = RequestEncoder::new(Arc::clone(&metadata));
        for samples in requests {
            let groups = groups_of(&samples);
            let expected = by_messages(&groups);

            let plain = encoder.plain(&groups, Protocol::V1);
            prop_assert!(plain.len() <= bound(&groups, Protocol::V1));
            let found = WriteRequest::decode(plain).unwrap();
            prop_assert_eq!(with_bits(&found), with_bits(&expected));

            // In 2.0 numbers and histograms are series of their own.
            let (numbers, histograms): (Vec<Sample>, Vec<Sample>) = samples
                .into_iter()
                .partition(|sample| sample.value.number().is_some());
            for samples in [numbers, histograms] {
                let groups = groups_of(&samples);
                let plain = encoder.plain(&groups, Protocol::V2).to_vec();
                let most = bound(&groups, Protocol::V2) + metadata_bytes(&metadata);
                prop_assert!(plain.len() <= most);
                let request = Request::decode(&*plain).unwrap();
                let texts: BTreeSet<_> = request.symbols.iter().collect();
                prop_assert_eq!(texts.len(), request.symbols.len());
                let mut found = request.as_v1();
                for (series, group) in found.timeseries.iter_mut().zip(&groups) {
                    let start = |timestamp: i64| match &**group.series.name() {
                        "b" | "c_x" => timestamp.saturating_sub(5_000),
                        _ => 0,
                    };
                    for histogram in &mut series.histograms {
                        prop_assert_eq!(histogram.start_timestamp, start(histogram.timestamp));
                        histogram.start_timestamp = 0;
                    }
                }
                prop_assert_eq!(with_bits(&found), with_bits(&by_messages(&groups)));
                for (series, group) in request.timeseries.iter().zip(&groups) {
                    let told = series.metadata.map(|Metadata { r#type, help_ref, unit_ref }| {
                        (r#type, request.text(help_ref), request.text(unit_ref))
                    });
                    let (expected, window) = match &**group.series.name() {
                        "a" => (Some((2, "What a is", "seconds")), 0),
                        "b" => (Some((1, "", "seconds")), 5_000),
                        "c_x" => (Some((3, "What c is", "")), 5_000),
                        _ => (None, 0),
                    };
                    prop_assert_eq!(told, expected);
                    for sample in &series.samples {
                        let start = if window == 0 {
                            0
                        } else {
                            sample.timestamp.saturating_sub(window)
                        };
                        prop_assert_eq!(sample.start_timestamp, start);
                    }
                }
            }
        }
    }
}

#[test]
fn numbers_and_histograms_of_a_series_are_two_series_in_2_0() {
    let groups = groups_of(&[
        sample("a", &[("b", "c")], 10, 1.0),
        sample("a", &[("b", "c")], 20, histogram()),
    ]);
    let mut encoder = RequestEncoder::new(Arc::default());
    let request = Request::decode(encoder.plain(&groups, Protocol::V2)).unwrap();
    let kinds: Vec<_> = request
        .timeseries
        .iter()
        .map(|series| (series.samples.len(), series.histograms.len()))
        .collect();
    assert_eq!(kinds, [(1, 0), (0, 1)]);
    assert_eq!(
        request.timeseries[0].labels_refs,
        request.timeseries[1].labels_refs
    );
}

#[test]
fn sizes_are_bounded_closely() {
    let labels = [("model", "Helion"), ("vin", &"x".repeat(300))];
    let samples: Vec<_> = (0..50)
        .map(|n| sample("vehicles_in_motion", &labels, 1_730_621_750_000 + n, 0.5))
        .collect();
    let groups = groups_of(&samples);
    let mut encoder = RequestEncoder::new(Arc::default());
    for (protocol, slack) in [(Protocol::V1, 5), (Protocol::V2, 700)] {
        let exact = encoder.plain(&groups, protocol).len();
        let bound = bound(&groups, protocol);
        assert!(exact <= bound && bound <= exact + slack, "{exact} {bound}");
    }
}

#[test]
fn a_body_is_snappy_and_counted() {
    let groups = groups_of(&[
        sample("a", &[], 1, 1.0),
        sample("b", &[], 1, histogram()),
        sample("a", &[], 2, 1.0),
    ]);
    let mut encoder = RequestEncoder::new(Arc::default());
    for protocol in [Protocol::V1, Protocol::V2] {
        let body = encoder.encode(&groups, protocol).unwrap();
        assert_eq!((body.samples, body.histograms), (2, 1));
        assert_eq!(body.protocol, protocol);
        let plain = snap::raw::Decoder::new()
            .decompress_vec(&body.bytes)
            .unwrap();
        assert_eq!(plain, encoder.plain(&groups, protocol));
    }
}

/// Compares with a file, or writes it anew with `UPDATE=1`. Another language's generated code reads
/// these files in `tests/it/wire.rs`.
fn golden(name: &str, found: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/wire")
        .join(name);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, found).unwrap();
    }
    assert_eq!(
        fs::read(&path).unwrap(),
        found,
        "{name}; UPDATE=1 writes it"
    );
}

#[test]
fn requests_are_those_of_the_files() {
    let spans = NativeHistogram {
        schema: -1,
        positive: vec![(-3, 4), (-2, 1), (7, 2)],
        negative: vec![(0, 1), (1, 3)],
        count: 12,
        sum: f64::from_bits(STALE),
        ..histogram()
    };
    let labels = [
        ("Region", "Île-de-France"),
        ("model", "Helion"),
        ("車両", "🚗 \"1\"\n"),
    ];
    let samples = [
        sample("speed_kmh", &labels, 1_730_621_750_000, 52.5),
        sample(
            "speed_kmh",
            &labels,
            1_730_621_755_000,
            f64::from_bits(STALE),
        ),
        sample("speed_kmh", &[("model", "Helion")], -1, f64::NEG_INFINITY),
        sample("speed_kmh", &[("model", "Helion")], 0, f64::INFINITY),
        sample("speed_kmh", &[("model", "Helion")], 1, -0.0),
        sample("trips", &[], i64::MIN, 0.0),
        sample(
            "trips",
            &[],
            1_730_621_755_000,
            f64::from_bits(0x7ff8_0000_0000_0001),
        ),
        sample(
            "delay_seconds",
            &[("model", "Helion")],
            1_730_621_755_000,
            histogram(),
        ),
        sample(
            "delay_seconds",
            &[("model", "Solara")],
            1_730_621_755_000,
            spans,
        ),
        sample("load_bucket", &[("le", "+Inf")], 1_730_621_755_000, 3.0),
        sample(
            "unheard_of",
            &[("long", &"x".repeat(200))],
            1_730_621_755_000,
            1e-300,
        ),
    ];
    let mut metadata = MetricsMetadata::default();
    let metric = |name: &str, metric_type, help, unit| {
        MetricMetadata::new(name.into(), metric_type, help, unit, Some(5_000))
    };
    metadata.add(
        metric("speed_kmh", MetricType::Gauge, "Vitesse, à peu près", "kmh"),
        &[],
    );
    metadata.add(metric("trips", MetricType::Counter, "Trips begun", ""), &[]);
    metadata.add(
        metric("delay_seconds", MetricType::GaugeHistogram, "", "seconds"),
        &[],
    );
    metadata.add(
        metric("load", MetricType::Histogram, "Load", ""),
        &["_bucket", "_sum", "_count"],
    );
    metadata.add(metric("other", MetricType::Unknown, "", ""), &[]);
    let groups = groups_of(&samples);
    let requests = metadata_sender::messages(&metadata, usize::MAX);
    let [request] = requests.as_slice() else {
        panic!("{} requests", requests.len())
    };
    golden("metadata-1.0.binpb", &request.encode_to_vec());
    let mut encoder = RequestEncoder::new(Arc::new(metadata));
    golden("samples-1.0.binpb", encoder.plain(&groups, Protocol::V1));
    golden("samples-2.0.binpb", encoder.plain(&groups, Protocol::V2));
}
