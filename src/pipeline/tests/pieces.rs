//! Batches of more events than are decoded at once.

use super::bench::{Bench, START_MS, Setup, batch, decoding_pipeline, event};
use super::service::Service;
use crate::decode::DecodeMetrics;
use crate::model::{Clock, Interner};
use crate::pipeline::worker::batch::{Preparation, Undecoded};
use crate::pipeline::worker::splits::Splits;
use crate::telemetry::Registry;

/// The items of an array are the events.
const ARRAYS: &str = "{ format: json, explode: . }";

/// A record of so many events of a vehicle.
fn many(count: usize, vehicle: &str) -> String {
    many_at(0, count, vehicle)
}

/// The same of a time, in ms after [`START_MS`].
fn many_at(millis: i64, count: usize, vehicle: &str) -> String {
    let event = format!(r#"{{"t":{},"vehicle":"{vehicle}"}}"#, START_MS + millis);
    format!("[{}]", vec![event; count].join(","))
}

#[test]
fn each_piece_says_the_positions_of_its_own_records() {
    let pipeline = decoding_pipeline(ARRAYS);
    let registry = Registry::new("test");
    let metrics = DecodeMetrics::new(&registry);
    let clock = Clock::Fixed(START_MS);
    let mut preparation = Preparation::build(&pipeline, Vec::new(), metrics, None, &clock).unwrap();
    let (mut splits, mut interner) = (Splits::new(0), Interner::new());
    let counts = [10_000, 6_383, 0, 1, 10_000, 10_000, 3, 0];
    let records = counts.map(|count| many(count, "V1"));
    let mut rest = Some(Undecoded::from(batch(0, 70, &records)));
    let mut pieces = Vec::new();
    while let Some(records) = rest.take() {
        let (prepared, more) = preparation.begin(records, &mut splits, &mut interner);
        let (first, last) = prepared.positions.unwrap();
        let of_rows = &prepared.batch.positions;
        assert!(
            of_rows
                .iter()
                .all(|position| (first..=last).contains(position))
        );
        pieces.push((first, last, of_rows.len()));
        rest = more;
    }
    assert_eq!(pieces, [(70, 73, 16_384), (74, 75, 20_000), (76, 77, 3)]);
}

/// A pipeline that asks a service for the model of each vehicle.
fn looking_up(service: &Service, time: &'static str) -> Bench {
    let url = service.url();
    Setup {
        metrics: "
  m: { window: { tumbling: 1s }, by: [model], value: count(*) }",
        decode: ARRAYS,
        time,
        enrich: format!(
            "[{{ lookup: vehicles, key: vehicle, from: {{ http: {{ url: '{url}', timeout: 60s }} }},
                 add: [model], otherwise: {{ model: unknown }} }}]"
        ),
        ..Setup::default()
    }
    .start()
}

#[test]
fn the_rest_of_a_batch_is_not_decoded_while_its_beginning_waits() {
    let service = Service::start();
    service.knows(&[("V1", r#"{"model":"Helion"}"#)]);
    service.hold("V3");
    let bench = looking_up(&service, Setup::default().time);
    bench.assign(&[0, 1]);
    let all = ["V1", "V1", "V3", "V1", "V1"].map(|vehicle| many(10_000, vehicle));
    bench.records(0, 0, &all);
    bench.records(0, 5, &[many(7, "V1")]);
    bench.await_metric("weir_events_total{split=\"split/0\",pipeline=\"test\"} 40000");
    bench.await_metric("weir_lookup_parked_batches{lookup=\"vehicles\",pipeline=\"test\"} 1");
    bench.records(1, 0, &[format!("[{}]", event(0, "V1", "UK", 1.0))]);
    bench.await_metric("weir_events_total{split=\"split/1\",pipeline=\"test\"} 1");
    assert_eq!(
        bench.metric("weir_events_total"),
        40_001.0,
        "four records and one"
    );
    service.release();
    let (finished, mut samples) = bench.end();
    samples.sort();
    assert_eq!(samples, ["m{Helion} @1000=40008", "m{unknown} @1000=10000"]);
    assert_eq!((finished.status.events, finished.status.late), (50_008, 0));
}

#[test]
fn the_rest_of_a_batch_has_its_turn_also_where_that_of_another_split_waits_for_answers() {
    let service = Service::start();
    service.knows(&[("V1", r#"{"model":"Helion"}"#)]);
    service.hold("V3");
    let time = "out_of_order: 0s, idle_after: 10s, max_ahead: 1h, max_drift: 1s";
    let bench = looking_up(&service, time);
    bench.assign(&[0, 1]);
    bench.records(0, 0, &[many(1, "V1")]);
    bench.await_metric("weir_events_total{split=\"split/0\",pipeline=\"test\"} 1");
    // The second split runs ahead, so that what comes of it waits until the first one has caught up, which is
    // with the beginning of its batch.
    bench.records(1, 0, &[many_at(5_000, 1, "V1")]);
    bench.await_metric("weir_events_total{split=\"split/1\",pipeline=\"test\"} 1");
    for (split, vehicle) in [(1, "V3"), (0, "V1")] {
        let record = many_at(5_000, 10_000, vehicle);
        bench.records(split, 1, &[record.clone(), record.clone(), record]);
    }
    bench.await_metric("weir_lookup_parked_batches{lookup=\"vehicles\",pipeline=\"test\"} 1");
    bench.await_metric("weir_events_total{split=\"split/0\",pipeline=\"test\"} 30001");
    service.release();
    let (finished, mut samples) = bench.end();
    samples.sort();
    let expected = [
        "m{Helion} @1000=1",
        "m{Helion} @6000=30001",
        "m{unknown} @6000=30000",
    ];
    assert_eq!(samples, expected);
    assert_eq!(finished.status.late, 0);
}

#[test]
fn all_pieces_are_counted_before_the_end_and_letters_quote_their_records() {
    let bench = Setup {
        decode: ARRAYS,
        divert: true,
        workers: 2,
        ..Setup::default()
    }
    .start();
    bench.assign(&[0, 1]);
    let mut all = vec![many(10_000, "V1"); 7];
    all.push("{".to_owned());
    all.insert(3, "7".to_owned());
    bench.records(0, 0, &all);
    bench.records(1, 0, &[many(3, "V2")]);
    bench.records(0, 9, &[many(2, "V1")]);
    for reason in ["not_an_array", "malformed_json"] {
        bench.await_metric(&format!(
            "weir_dead_letters_total{{reason=\"{reason}\",pipeline=\"test\"}} 1"
        ));
    }
    let letters = bench.letters();
    let found = letters
        .iter()
        .map(|letter| (letter["position"].as_u64(), letter["record"].as_str()));
    assert_eq!(
        found.collect::<Vec<_>>(),
        [(Some(3), Some("7")), (Some(8), Some("{"))]
    );
    let (finished, samples) = bench.end();
    assert_eq!(samples, ["m{} @1000=70005"]);
    assert_eq!(finished.status.events, 70_005);
}
