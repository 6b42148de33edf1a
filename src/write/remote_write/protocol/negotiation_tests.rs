//! The whole sender against receivers that understand 2.0, or do not.

use std::sync::Arc;

use serde_json::json;

use crate::model::Sample;
use crate::telemetry::Registry;
use crate::write::metadata::{MetricMetadata, MetricType, MetricsMetadata};
use crate::write::remote_write::receiver::{Fault, Received, Understands};
use crate::write::remote_write::tests::{Bench, counts, points, up};
use crate::write::testing::{histogram, sample};

const BOTH: Understands = Understands::Both { less: 0 };

fn versions(received: &[Received]) -> Vec<&str> {
    let received = received.iter();
    received
        .map(|one| {
            let header = &one.headers["x-prometheus-remote-write-version"];
            header.to_str().unwrap()
        })
        .collect()
}

/// Three requests, one behind the other.
fn send_three(
    bench: &Bench,
    understands: Understands,
    faults: Vec<Option<Fault>>,
    protocol: &str,
) -> ((u64, u64, u64), Vec<Received>) {
    let receiver = bench.receiver(faults);
    receiver.understand(understands);
    let settings = json!({"protocol": protocol, "max_shards": 1, "batch": {"samples": 1}});
    let writer = bench.writer(&receiver.url, 1, settings);
    writer.handle().send(0, (1..=3).map(up).collect()).unwrap();
    (counts(&writer.finish(None)), receiver.received())
}

#[test]
fn a_receiver_of_1_0_gets_the_samples_of_the_probe_again() {
    for understands in [
        Understands::Only1,
        Understands::Only1Refusing(415),
        Understands::Only1Refusing(400),
        Understands::Only1Refusing(404),
    ] {
        let bench = Bench::new();
        let (counts, received) = send_three(&bench, understands, vec![], "auto");
        assert_eq!(counts, (3, 0, 0), "{understands:?}");
        assert_eq!(versions(&received), ["2.0.0", "0.1.0", "0.1.0", "0.1.0"]);
        let attempts = received.iter().map(|one| one.headers.get("retry-attempt"));
        assert_eq!(attempts.flatten().count(), 0);
        let taken = points(&received[1..]);
        let times: Vec<_> = taken.iter().map(|(_, points)| points[0].0).collect();
        assert_eq!(times, [1, 2, 3]);
        assert!(
            bench.metric("weir_remote_write_protocol{pipeline=\"test\",receiver=\"default\"} 1")
        );
        assert!(
            bench.metric("weir_samples_retried_total{pipeline=\"test\",receiver=\"default\"} 0")
        );
    }
}

#[test]
fn a_receiver_of_2_0_is_spoken_to_in_2_0() {
    for protocol in ["auto", "2.0"] {
        let bench = Bench::new();
        let (counts, received) = send_three(&bench, BOTH, vec![], protocol);
        assert_eq!(counts, (3, 0, 0));
        assert_eq!(versions(&received), ["2.0.0"; 3]);
        for (time, one) in (1..).zip(&received) {
            assert_eq!(
                one.headers["content-type"],
                "application/x-protobuf;proto=io.prometheus.write.v2.Request"
            );
            assert_eq!(points(std::slice::from_ref(one))[0].1, [(time, 1.0)]);
        }
        assert!(
            bench.metric("weir_remote_write_protocol{pipeline=\"test\",receiver=\"default\"} 2")
        );
    }
}

#[test]
fn a_refusal_by_a_receiver_of_2_0_is_about_the_samples() {
    let bench = Bench::new();
    let faults = vec![Some(Fault::Status(400)), None, Some(Fault::Status(400))];
    let (counts, received) = send_three(&bench, BOTH, faults, "auto");
    assert_eq!(counts, (1, 2, 0));
    assert_eq!(versions(&received), ["2.0.0"; 3]);
    assert!(bench.metric("weir_remote_write_unwritten_total{kind=\"sample\",pipeline=\"test\",receiver=\"default\"} 2"));
}

#[test]
fn a_probe_that_meets_a_fault_is_repeated_in_1_0() {
    let bench = Bench::new();
    let (counts, received) = send_three(&bench, BOTH, vec![Some(Fault::Reset)], "auto");
    assert_eq!(counts, (3, 0, 0));
    assert_eq!(versions(&received), ["2.0.0", "0.1.0", "2.0.0", "2.0.0"]);
}

#[test]
fn what_a_receiver_has_not_written_is_counted_and_not_repeated() {
    let bench = Bench::new();
    let (counts, received) = send_three(&bench, Understands::Both { less: 1 }, vec![], "2.0");
    assert_eq!((counts, received.len()), ((3, 0, 0), 3));
    assert!(bench.metric("weir_remote_write_unwritten_total{kind=\"sample\",pipeline=\"test\",receiver=\"default\"} 3"));
}

#[test]
fn with_2_0_alone_nothing_is_given_to_a_receiver_that_would_lose_it() {
    let bench = Bench::new();
    let mut receiver = bench.receiver(vec![]);
    let settings = json!({"protocol": "2.0", "max_shards": 1});
    let writer = bench.writer(&receiver.url, 1, settings);
    writer.handle().send(0, vec![up(1)]).unwrap();
    for _ in 0..3 {
        receiver.arrivals.blocking_recv().unwrap();
    }
    receiver.understand(BOTH);
    assert_eq!(counts(&writer.finish(None)), (1, 0, 0));
    let received = receiver.received();
    assert!(received.len() > 3);
    let (_, points) = &points(&received[received.len() - 1..])[0];
    assert_eq!(points, &[(1, 1.0)]);
}

fn told() -> Arc<MetricsMetadata> {
    let mut metadata = MetricsMetadata::default();
    let metric = |name: &str, metric_type, unit| {
        MetricMetadata::new(name.into(), metric_type, "What it is", unit, Some(5_000))
    };
    metadata.add(metric("up", MetricType::Gauge, ""), &[]);
    metadata.add(metric("trips", MetricType::Counter, "trips"), &[]);
    metadata.add(
        metric("delay", MetricType::Histogram, "seconds"),
        &["_bucket"],
    );
    Arc::new(metadata)
}

fn of_each_kind() -> Vec<Sample> {
    vec![
        up(10_000),
        sample("trips", &[], 10_000, 7.0),
        sample("delay_bucket", &[("le", "+Inf")], 10_000, 1.0),
        sample("up", &[("b", "c")], 10_000, histogram()),
    ]
}

/// The types of the metadata in each request, and how many series it has.
fn metadata_of(received: &[Received]) -> Vec<(Vec<(&str, i32)>, usize)> {
    let received = received.iter();
    received
        .map(|one| {
            let metadata = one.request.metadata.iter();
            let types = metadata.map(|one| (one.metric_family_name.as_str(), one.r#type));
            (types.collect(), one.request.timeseries.len())
        })
        .collect()
}

#[test]
fn metadata_goes_out_in_requests_of_its_own_by_1_0() {
    let all = vec![("up", 2), ("trips", 1), ("delay", 3)];
    for (protocol, interval, expected) in [
        ("1.0", "1h", vec![(vec![], 4), (all.clone(), 0)]),
        ("1.0", "0s", vec![(vec![], 4)]),
        (
            "auto",
            "1h",
            vec![(vec![], 0), (vec![], 4), (all.clone(), 0)],
        ),
    ] {
        let bench = Bench {
            metadata: told(),
            ..Bench::new()
        };
        let receiver = bench.receiver(vec![]);
        let settings =
            json!({"protocol": protocol, "metadata_interval": interval, "max_shards": 1});
        let writer = bench.writer(&receiver.url, 1, settings);
        writer.handle().send(0, of_each_kind()).unwrap();
        assert_eq!(counts(&writer.finish(None)), (4, 0, 0));
        let received = receiver.received();
        assert_eq!(metadata_of(&received), expected, "{protocol} {interval}");
        let told = if interval == "0s" { 0 } else { 3 };
        assert!(bench.metric(&format!(
            "weir_remote_write_metadata_total{{pipeline=\"test\",receiver=\"default\"}} {told}"
        )));
        if let Some(trips) = received
            .last()
            .and_then(|last| last.request.metadata.get(1))
        {
            assert_eq!((&*trips.help, &*trips.unit), ("What it is", "trips"));
        }
    }
}

#[test]
fn metadata_comes_again_after_a_while() {
    let bench = Bench {
        metadata: told(),
        ..Bench::new()
    };
    let receiver = bench.receiver(vec![]);
    let settings = json!({"metadata_interval": "1ms", "max_shards": 1, "batch": {"samples": 1}});
    let writer = bench.writer(&receiver.url, 1, settings);
    writer
        .handle()
        .send(0, (1..=100).map(up).collect())
        .unwrap();
    assert_eq!(counts(&writer.finish(None)), (100, 0, 0));
    let received = receiver.received();
    let tellings = received
        .iter()
        .filter(|one| !one.request.metadata.is_empty());
    assert!((2..=100).contains(&tellings.count()));
}

#[test]
fn a_receiver_that_refuses_metadata_keeps_its_samples() {
    let bench = Bench {
        metadata: told(),
        ..Bench::new()
    };
    let receiver = bench.receiver(vec![None, Some(Fault::Status(400))]);
    let settings = json!({"max_shards": 1, "batch": {"samples": 1}});
    let writer = bench.writer(&receiver.url, 1, settings);
    writer.handle().send(0, (1..=3).map(up).collect()).unwrap();
    assert_eq!(counts(&writer.finish(None)), (3, 0, 0));
    let sizes: Vec<_> = metadata_of(&receiver.received())
        .into_iter()
        .map(|(metadata, series)| (metadata.len(), series))
        .collect();
    assert_eq!(sizes, [(0, 1), (3, 0), (0, 1), (0, 1)]);
    assert!(bench.metric(
        "weir_remote_write_metadata_failed_total{pipeline=\"test\",receiver=\"default\"} 3"
    ));
}

#[test]
fn metadata_is_in_every_series_by_2_0() {
    let bench = Bench {
        metadata: told(),
        ..Bench::new()
    };
    let receiver = bench.receiver(vec![]);
    receiver.understand(BOTH);
    let settings = json!({"protocol": "2.0", "max_shards": 1});
    let writer = bench.writer(&receiver.url, 1, settings);
    writer.handle().send(0, of_each_kind()).unwrap();
    assert_eq!(counts(&writer.finish(None)), (4, 0, 0));
    let received = receiver.received();
    let [one] = received.as_slice() else {
        panic!("{} requests", received.len())
    };
    let request = one.v2.as_ref().unwrap();
    let series: Vec<_> = request
        .timeseries
        .iter()
        .map(|series| {
            let metadata = series.metadata.unwrap();
            let starts = series.samples.iter().map(|sample| sample.start_timestamp);
            let hists = series.histograms.iter().map(|one| one.start_timestamp);
            (
                request.text(series.labels_refs[1]),
                metadata.r#type,
                request.text(metadata.help_ref),
                request.text(metadata.unit_ref),
                starts.chain(hists).collect::<Vec<_>>(),
            )
        })
        .collect();
    assert_eq!(
        series,
        [
            ("up", 2, "What it is", "", vec![0]),
            ("trips", 1, "What it is", "trips", vec![5_000]),
            ("delay_bucket", 3, "What it is", "seconds", vec![5_000]),
            ("up", 2, "What it is", "", vec![0]),
        ]
    );
    assert!(Registry::text([&bench.registry]).contains("weir_remote_write_metadata_total"));
}

#[test]
fn too_many_texts_are_left_out_of_requests_of_2_0() {
    let long = "x".repeat(900);
    let mut metadata = MetricsMetadata::default();
    for number in 0..10 {
        let name = format!("m{number}").into();
        metadata.add(
            MetricMetadata::new(name, MetricType::Gauge, &long, "", None),
            &[],
        );
    }
    for (bytes, has_help) in [(40_000, true), (30_000, false)] {
        let bench = Bench {
            metadata: Arc::new(metadata.clone()),
            ..Bench::new()
        };
        let receiver = bench.receiver(vec![]);
        receiver.understand(BOTH);
        let settings = json!({
            "protocol": "2.0",
            "max_shards": 1,
            "batch": {"bytes": bytes, "deadline": "1h"},
        });
        let writer = bench.writer(&receiver.url, 1, settings);
        let series = (0..600).map(|number| {
            let name = format!("m{}", number % 10);
            sample(&name, &[("n", &"y".repeat(number))], 1, 1.0)
        });
        writer.handle().send(0, series.collect()).unwrap();
        assert_eq!(counts(&writer.finish(None)), (600, 0, 0));
        for received in receiver.received() {
            let request = received.v2.unwrap();
            assert!(prost::Message::encoded_len(&request) <= bytes);
            for series in &request.timeseries {
                let help = request.text(series.metadata.unwrap().help_ref);
                assert_eq!(!help.is_empty(), has_help);
            }
        }
    }
}
