//! Partial lookups: batches wait for answers, workers do not.

use std::time::{Duration, Instant};

use super::bench::{Bench, Setup, event, split, until};
use super::service::Service;
use crate::model::SplitId;
use crate::source::SourceEvent;
use crate::telemetry::Registry;

/// Counts events by model in windows of a second, and sums their batteries.
const BY_MODEL: &str = "
  m: { window: { tumbling: 1s }, by: [model], value: count(*) }
  kwh: { window: { tumbling: 1s }, by: [model], value: sum(kwh) }";

const COUNTED: &str = "
  m: { window: { tumbling: 1s }, by: [model], value: count(*) }";

const POLARA: &str = r#"{"model":"Polara","rating":{"kwh":60}}"#;
const HELION: &str = r#"{"model":"Helion","rating":{"kwh":50.5}}"#;

/// A lookup of vehicles at a service. `more` goes into `from`.
fn vehicles(service: &Service, more: &str) -> String {
    format!(
        "{{ lookup: vehicles, key: vehicle,
            from: {{ http: {{ url: '{}', timeout: 60s }}, retry: {{ backoff: 1ms }}{more} }},
            add: [model, {{ column: rating.kwh, as: kwh, type: number }}],
            otherwise: {{ model: unknown }} }}",
        service.url()
    )
}

fn setup(service: &Service, more: &str) -> Setup {
    Setup {
        metrics: COUNTED,
        enrich: format!("[{}]", vehicles(service, more)),
        ..Setup::default()
    }
}

/// Events of some vehicles at a time.
fn seen(millis: i64, vehicles: &[&str]) -> Vec<String> {
    let vehicles = vehicles.iter();
    vehicles
        .map(|vehicle| event(millis, vehicle, "UK", 1.0))
        .collect()
}

fn await_parked(bench: &Bench, batches: usize) {
    bench.await_metric(&format!(
        "weir_lookup_parked_batches{{lookup=\"vehicles\",pipeline=\"test\"}} {batches}"
    ));
}

fn requests(result: &str, count: usize) -> String {
    format!(
        "weir_lookup_requests_total{{lookup=\"vehicles\",result=\"{result}\",pipeline=\"test\"}} {count}"
    )
}

/// A value of a metric of the lookup.
fn value(bench: &Bench, name: &str) -> u64 {
    let text = Registry::text([bench.running.registry()]);
    let start = format!("weir_lookup_{name}{{lookup=\"vehicles\",pipeline=\"test\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&start));
    line.unwrap().parse().unwrap()
}

#[test]
fn events_get_what_the_service_knows_of_their_keys() {
    let service = Service::start();
    service.knows(&[("V1", HELION), ("V2", POLARA), ("a/b c", POLARA)]);
    let setup = Setup {
        metrics: BY_MODEL,
        workers: 2,
        ..setup(&service, "")
    };
    let bench = setup.start();
    bench.assign(&[0, 1]);
    for position in 0..3 {
        let records = seen(100, &["V1", "V2", "V1", "V9", "a/b c", ""]);
        bench.records(0, position * 10, &records);
        bench.records(1, position * 10, &records);
    }
    let keys_in_cache = "weir_lookup_cache_keys{lookup=\"vehicles\",pipeline=\"test\"} 4";
    bench.await_metric(keys_in_cache);
    bench.await_metric(&requests("ok", 3));
    bench.await_metric(&requests("miss", 1));
    let (finished, mut samples) = bench.end();
    samples.sort();
    assert_eq!(
        samples,
        [
            "kwh{Helion} @1000=606",
            "kwh{Polara} @1000=720",
            "m{Helion} @1000=12",
            "m{Polara} @1000=12",
            "m{unknown} @1000=12",
        ]
    );
    assert_eq!(finished.status.events, 36);
    let asked = service.asked();
    assert_eq!(asked, ["V1", "V2", "V9", "a/b c"], "each key once");
}

#[test]
fn headers_are_sent() {
    let service = Service::start();
    let url = service.url();
    let enrich = format!(
        "[{{ lookup: vehicles, key: vehicle, mode: partial, add: [model],
             from: {{ http: {{ url: '{url}', headers: {{ Authorization: Bearer t }} }} }} }}]"
    );
    let bench = Setup {
        metrics: COUNTED,
        enrich,
        ..Setup::default()
    }
    .start();
    bench.assign(&[0]);
    bench.records(0, 0, &seen(100, &["V1"]));
    let (_, samples) = bench.end();
    assert_eq!(samples, ["m{} @1000=1"]);
    assert_eq!(service.tokens(), ["Bearer t"]);
}

#[test]
fn what_may_pass_is_repeated_and_nothing_else() {
    let service = Service::start();
    service.knows(&[
        ("V1", HELION),
        ("V2", POLARA),
        ("V3", POLARA),
        ("V4", POLARA),
    ]);
    service.fails("V1", 500, None);
    service.fails("V1", 408, None);
    service.fails("V2", 429, Some(1));
    service.fails("V3", 403, None);
    for _ in 0..3 {
        service.fails("V4", 503, None);
    }
    let begun = Instant::now();
    let bench = setup(&service, ", cache: { failure_ttl: 0s }").start();
    bench.assign(&[0]);
    bench.records(0, 0, &seen(100, &["V1", "V2", "V3", "V4"]));
    bench.await_metric(&requests("ok", 2));
    bench.await_metric(&requests("failed", 2));
    await_parked(&bench, 0);
    assert_eq!(value(&bench, "retries_total"), 5);
    let waited = begun.elapsed() >= Duration::from_secs(1);
    assert!(waited, "the service has asked for a second");
    // A failure holds for the batch that it struck.
    bench.records(0, 4, &seen(200, &["V3", "V4"]));
    let (finished, samples) = bench.end();
    assert_eq!(
        samples,
        [
            "m{Helion} @1000=1",
            "m{Polara} @1000=3",
            "m{unknown} @1000=2"
        ]
    );
    assert_eq!(finished.status.late, 0);
    let asked = service.asked();
    let times = |key| asked.iter().filter(|asked| *asked == key).count();
    assert_eq!(["V1", "V2", "V3", "V4"].map(times), [3, 2, 2, 4]);
}

#[test]
fn a_service_that_does_not_answer_is_given_up() {
    let service = Service::start();
    service.knows(&[("V1", HELION)]);
    service.hold("V1");
    let enrich = vehicles(&service, "").replace("60s", "50ms");
    let bench = Setup {
        metrics: COUNTED,
        enrich: format!("[{enrich}]"),
        ..Setup::default()
    }
    .start();
    bench.assign(&[0]);
    bench.records(0, 0, &seen(100, &["V1"]));
    bench.await_metric(&requests("failed", 1));
    assert_eq!(value(&bench, "retries_total"), 2);
    let (_, samples) = bench.end();
    assert_eq!(samples, ["m{unknown} @1000=1"]);
}

#[test]
fn an_answer_of_another_type_is_no_answer() {
    let service = Service::start();
    service.knows(&[
        ("V1", r#"{"model":"Helion","rating":{"kwh":"much"}}"#),
        ("V2", r#"["Helion"]"#),
        ("V3", "Helion"),
        ("V4", r#"{"model":7}"#),
    ]);
    let bench = setup(&service, "").start();
    bench.assign(&[0]);
    bench.records(0, 0, &seen(100, &["V1", "V2", "V3", "V4"]));
    let (_, samples) = bench.end();
    assert_eq!(samples, ["m{7} @1000=1", "m{unknown} @1000=3"]);
    assert_eq!(
        service.asked(),
        ["V1", "V2", "V3", "V4"],
        "none is repeated"
    );
}

#[test]
fn unknown_keys_are_dropped_where_the_file_says_so() {
    let service = Service::start();
    service.knows(&[("V1", HELION)]);
    let enrich = vehicles(&service, "").replace("{ model: unknown }", "drop");
    let bench = Setup {
        metrics: COUNTED,
        enrich: format!("[{enrich}]"),
        ..Setup::default()
    }
    .start();
    bench.assign(&[0]);
    bench.records(0, 0, &seen(100, &["V9", "V1", "V9"]));
    bench.await_metric("weir_lookup_dropped_total{lookup=\"vehicles\",pipeline=\"test\"} 2");
    bench.records(0, 3, &seen(200, &["V1", "V9"]));
    let (_, samples) = bench.end();
    assert_eq!(samples, ["m{Helion} @1000=2"]);
    assert_eq!(service.asked(), ["V1", "V9"]);
}

#[test]
fn requests_in_flight_are_bounded_over_all_workers() {
    let service = Service::start();
    let keys: Vec<_> = (0..20).map(|key| format!("V{key}")).collect();
    keys.iter().for_each(|key| service.hold(key));
    let setup = Setup {
        workers: 2,
        ..setup(&service, ", max_in_flight: 3")
    };
    let bench = setup.start();
    bench.assign(&[0, 1]);
    let keys: Vec<_> = keys.iter().map(String::as_str).collect();
    bench.records(0, 0, &seen(100, &keys[..10]));
    bench.records(1, 0, &seen(100, &keys[5..]));
    await_parked(&bench, 2);
    assert!(until(|| service.in_flight() == 3));
    assert_eq!(value(&bench, "in_flight"), 3);
    service.release();
    let (_, samples) = bench.end();
    assert_eq!(samples, ["m{unknown} @1000=25"]);
    assert_eq!((service.most_in_flight(), service.asked().len()), (3, 20));
}

#[test]
fn a_split_goes_on_while_another_one_waits_and_windows_stay_open() {
    let service = Service::start();
    service.knows(&[("V1", HELION), ("V2", POLARA)]);
    service.hold("V1");
    let bench = setup(&service, "").start();
    bench.assign(&[0, 1]);
    bench.records(0, 0, &seen(100, &["V1"]));
    await_parked(&bench, 1);
    // Behind it in its split: had it overtaken, the first would be late.
    bench.records(0, 1, &seen(5_000, &["V2"]));
    bench.records(1, 0, &seen(200, &["V2"]));
    bench.records(1, 1, &seen(6_000, &["V2"]));
    bench.await_metric("weir_open_windows{metric=\"m\",pipeline=\"test\"} 2");
    await_parked(&bench, 1);
    assert!(!bench.has_written());
    service.release();
    let first = ["m{Helion} @1000=1", "m{Polara} @1000=1"];
    assert_eq!(bench.await_samples(2), first);
    let (finished, samples) = bench.end();
    assert_eq!(samples[2..], ["m{Polara} @6000=1", "m{Polara} @7000=1"]);
    assert_eq!(finished.status.late, 0);
}

/// A split that was idle when its events came must not find its window closed because they waited.
#[test]
fn an_idle_split_holds_back_the_watermark_while_its_events_wait() {
    let service = Service::start();
    service.knows(&[("V1", HELION), ("V2", POLARA)]);
    let bench = setup(&service, "").start();
    bench.assign(&[0, 1]);
    bench.records(0, 0, &seen(100, &["V2"]));
    bench.records(1, 0, &seen(100, &["V2"]));
    bench.idle(0, 1);
    service.hold("V1");
    bench.records(0, 1, &seen(150, &["V1"]));
    await_parked(&bench, 1);
    bench.say(SourceEvent::Idle(SplitId(0)));
    bench.records(1, 1, &seen(5_000, &["V2"]));
    bench.await_metric("weir_open_windows{metric=\"m\",pipeline=\"test\"} 2");
    bench.await_metric("weir_splits{state=\"active\",pipeline=\"test\"} 2");
    assert!(!bench.has_written());
    service.release();
    let first = ["m{Helion} @1000=1", "m{Polara} @1000=2"];
    assert_eq!(bench.await_samples(2), first);
    bench.await_metric("weir_splits{state=\"idle\",pipeline=\"test\"} 1");
    let (finished, _) = bench.end();
    assert_eq!(finished.status.late, 0);
}

#[test]
fn a_worker_takes_no_more_than_it_may_let_wait() {
    let service = Service::start();
    let keys: Vec<_> = (10..40).map(|key| format!("V{key}")).collect();
    keys.iter().for_each(|key| service.hold(key));
    let bench = setup(&service, ", max_in_flight: 100").start();
    bench.assign(&[0]);
    for (position, key) in (0..).zip(&keys) {
        bench.records(0, position, &seen(position as i64 * 100, &[key]));
    }
    await_parked(&bench, 8);
    assert!(until(|| service.asked().len() == 8));
    let inbox = || {
        let text = Registry::text([bench.running.registry()]);
        let mut lines = text.lines();
        let line = lines.find(|line| line.starts_with("weir_inbox_bytes{"));
        let (_, bytes) = line.unwrap().rsplit_once(' ').unwrap();
        bytes.parse::<usize>().unwrap()
    };
    // The inbox is full and one more is on its way: nothing is taken out of it.
    let record = seen(100, &["V10"])[0].len();
    assert!(until(|| inbox() >= 4 * record));
    assert_eq!(service.asked(), keys[..8]);
    service.release();
    let (finished, samples) = bench.end();
    assert_eq!(
        samples,
        [
            "m{unknown} @1000=10",
            "m{unknown} @2000=10",
            "m{unknown} @3000=10"
        ]
    );
    assert_eq!(finished.status.late, 0);
}

#[test]
fn a_lookup_may_need_what_an_earlier_one_has_added() {
    let service = Service::start();
    service.knows(&[
        ("V1", r#"{"model":"Helion","depot":"D1"}"#),
        ("V2", r#"{"model":"Polara","depot":"D2"}"#),
        ("D1", r#"{"city":"Leeds"}"#),
        ("D2", r#"{"city":"Hull"}"#),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("cities.csv");
    std::fs::write(&table, "city,country\nLeeds,UK\nHull,England\n").unwrap();
    let (url, table) = (service.url(), table.display());
    let from = format!("from: {{ http: {{ url: '{url}', timeout: 60s }} }}");
    let setup = || Setup {
        metrics: "
  m: { window: { tumbling: 1s }, by: [model, city, place], value: count(*) }",
        enrich: format!(
            "
  - {{ lookup: vehicles, key: vehicle, {from}, add: [model, depot] }}
  - {{ lookup: depots, key: depot, {from}, add: [city] }}
  - {{ lookup: cities, key: city, from: {{ csv: '{table}', key: city }}, add: [country] }}
derive: {{ place: \"COALESCE(country, 'nowhere')\" }}"
        ),
        ..Setup::default()
    };
    let bench = setup().start();
    bench.assign(&[0]);
    service.hold("D1");
    bench.records(0, 0, &seen(100, &["V1", "V2", "V9"]));
    bench.await_metric("weir_lookup_parked_batches{lookup=\"depots\",pipeline=\"test\"} 1");
    await_parked(&bench, 0);
    bench.records(0, 3, &seen(100, &["V2", "V1"]));
    service.release();
    let (_, mut samples) = bench.end();
    samples.sort();
    assert_eq!(
        samples,
        [
            "m{Hull,Polara,England} @1000=2",
            "m{Leeds,Helion,UK} @1000=2",
            "m{nowhere} @1000=1"
        ]
    );
    assert_eq!(service.asked(), ["D1", "D2", "V1", "V2", "V9"]);
}

#[test]
fn the_input_ends_behind_what_waits() {
    let service = Service::start();
    service.knows(&[("V1", HELION), ("V2", POLARA)]);
    let setup = Setup {
        workers: 2,
        ..setup(&service, "")
    };
    let mut bench = setup.start();
    bench.assign(&[0, 1]);
    bench.records(0, 0, &seen(3_000, &["V2"]));
    bench.records(1, 0, &seen(3_000, &["V2"]));
    assert!(until(|| bench.running.status().watermark_ms.is_some()));
    service.hold("V1");
    bench.records(0, 1, &seen(3_100, &["V1"]));
    await_parked(&bench, 1);
    bench.end_source();
    // The other worker has come to its end, before which both were told.
    assert!(until(|| bench.running.status().watermark_ms.is_none()));
    assert!(!bench.has_written() && !bench.running.is_finished());
    service.release();
    let (finished, samples) = bench.end();
    assert_eq!(samples, ["m{Helion} @4000=1", "m{Polara} @4000=2"]);
    assert!(finished.error.is_none(), "{finished:?}");
}

#[test]
fn a_revocation_waits_for_the_events_before_it() {
    let service = Service::start();
    service.knows(&[("V1", HELION), ("V2", POLARA)]);
    service.hold("V1");
    let bench = setup(&service, "").start();
    bench.assign(&[0]);
    bench.records(0, 0, &seen(100, &["V1"]));
    await_parked(&bench, 1);
    bench.records(0, 1, &seen(200, &["V2"]));
    bench.say(SourceEvent::Revoked(SplitId(0)));
    bench.say(SourceEvent::Assigned(split(0)));
    // The second of them is read again, and does not count again.
    bench.records(0, 1, &seen(200, &["V2", "V2"]));
    service.release();
    let (finished, samples) = bench.end();
    assert_eq!(samples, ["m{Helion} @1000=1", "m{Polara} @1000=2"]);
    assert_eq!(finished.status.late, 0);
}

#[test]
fn a_stop_lets_go_of_what_will_be_read_again() {
    let service = Service::start();
    service.hold("V1");
    let bench = setup(&service, "").start();
    bench.assign(&[0]);
    bench.records(0, 0, &seen(100, &["V1"]));
    await_parked(&bench, 1);
    let (finished, samples) = bench.stop(Duration::from_secs(60));
    assert_eq!(samples, Vec::<String>::new());
    assert!(finished.error.is_none(), "{finished:?}");
}

/// What cannot be read again is written at a stop, with what is known by then.
#[test]
fn a_stop_does_not_wait_for_answers_beyond_its_deadline() {
    let service = Service::start();
    service.knows(&[("V1", HELION), ("V2", POLARA)]);
    service.hold("V1");
    let setup = Setup {
        replayable: false,
        ..setup(&service, "")
    };
    let bench = setup.start();
    bench.assign(&[0]);
    bench.records(0, 0, &seen(100, &["V1", "V2"]));
    await_parked(&bench, 1);
    let (finished, samples) = bench.stop(Duration::from_secs(10));
    assert_eq!(samples, ["m{Polara} @1000=1", "m{unknown} @1000=1"]);
    assert!(finished.error.is_none(), "{finished:?}");
}

/// An answer is used for as long as it holds; after that the service is asked again.
#[test]
fn what_has_expired_is_asked_for_again() {
    let service = Service::start();
    service.knows(&[("V1", HELION)]);
    let bench = setup(&service, ", cache: { ttl: 1ms, miss_ttl: 0s }").start();
    bench.assign(&[0]);
    bench.records(0, 0, &seen(100, &["V1", "V9"]));
    bench.await_metric(&requests("ok", 1));
    bench.await_metric(&requests("miss", 1));
    await_parked(&bench, 0);
    service.knows(&[("V1", POLARA), ("V9", POLARA)]);
    let mut position = 2;
    assert!(until(|| {
        bench.records(0, position, &seen(100, &["V9"]));
        bench.records(0, position + 1, &seen(100, &["V1"]));
        position += 2;
        let asked = service.asked();
        asked.iter().filter(|key| *key == "V1").count() > 1
    }));
    let (_, samples) = bench.end();
    assert_eq!(samples.len(), 3, "{samples:?}");
    assert!(samples[1].starts_with("m{Polara}"), "{samples:?}");
    assert_eq!(samples[2], "m{unknown} @1000=1");
}

#[test]
fn rows_of_batches_that_waited_find_their_records() {
    let service = Service::start();
    let held = ["V3", "V4"];
    held.iter().for_each(|key| service.hold(key));
    let bench = Setup {
        divert: true,
        ..setup(&service, "")
    }
    .start();
    bench.assign(&[0]);
    bench.records(0, 0, &seen(3_000, &["V1"]));
    bench.await_metric(&requests("miss", 1));
    let late = |vehicle| event(100, vehicle, "UK", 1.0);
    let broken = ["{", "{["].map(str::to_owned);
    bench.records(0, 1, &[broken[0].clone(), late("V3"), late("V1")]);
    bench.records(0, 4, &[late("V4"), broken[1].clone()]);
    await_parked(&bench, 2);
    assert!(bench.letters().is_empty(), "not before their batches");
    service.release();
    for (reason, count) in [("late", 3), ("malformed_json", 2)] {
        bench.await_metric(&format!(
            "weir_dead_letters_total{{reason=\"{reason}\",pipeline=\"test\"}} {count}"
        ));
    }
    let letters = bench.letters();
    let mut found: Vec<_> = letters
        .iter()
        .map(|letter| {
            let text = |name: &str| letter[name].as_str().unwrap().to_owned();
            (
                letter["position"].as_u64().unwrap(),
                text("reason"),
                text("record"),
            )
        })
        .collect();
    found.sort();
    let [first, second] = broken;
    let expected = [
        (1, "malformed_json", first),
        (2, "late", late("V3")),
        (3, "late", late("V1")),
        (4, "late", late("V4")),
        (5, "malformed_json", second),
    ];
    let expected = expected.map(|(position, reason, record)| (position, reason.to_owned(), record));
    assert_eq!(found, expected);
    let (_, samples) = bench.end();
    assert_eq!(samples, ["m{unknown} @4000=1"]);
}
