//! What the command line and the environment change in a pipeline file.

use std::path::PathBuf;

use weir::config::{self, Overrides, Pipeline, Problems};
use weir::source::Paths;

use super::{LIMIT, weir_in};
use crate::support::files::{self, repository};

const PIPELINE: &str = r#"pipeline: cars
source:
  kafka: { brokers: "${BROKERS:-127.0.0.1:9092}", topics: [a, b], group: cars }
event:
  time: { from: timestamp }
  fields: { vehicle: text, rpm: number }
metrics:
  rpm_max:
    window: { tumbling: 5s }
    by: [vehicle]
    value: max(rpm)
write:
  remote_write: { url: "http://127.0.0.1:9090/api/v1/write" }
"#;

fn load(overrides: &Overrides) -> Result<Pipeline, Problems> {
    config::load_text("cars.yaml", PIPELINE, PathBuf::new(), overrides, &|_| None)
}

fn set(settings: &[(&str, &str)]) -> Result<Pipeline, Problems> {
    let set = settings
        .iter()
        .map(|(path, value)| ((*path).into(), (*value).into()))
        .collect();
    load(&Overrides {
        set,
        ..Overrides::default()
    })
}

fn brokers(value: Option<&str>) -> Option<String> {
    let variables = |name: &str| (name == "BROKERS").then_some(value?.to_owned());
    let overrides = Overrides::default();
    let folder = PathBuf::new();
    let pipeline = config::load_text("cars.yaml", PIPELINE, folder, &overrides, &variables);
    Some(pipeline.ok()?.source.kafka?.brokers)
}

#[test]
fn a_default_serves_for_an_absent_and_for_an_empty_variable() {
    assert_eq!(brokers(None).as_deref(), Some("127.0.0.1:9092"));
    assert_eq!(brokers(Some("")).as_deref(), Some("127.0.0.1:9092"));
    assert_eq!(brokers(Some("kafka:9092")).as_deref(), Some("kafka:9092"));
}

#[test]
fn settings_replace_and_add_values() {
    let pipeline = set(&[
        ("source.kafka.topics.1", "c"),
        ("source.kafka.topics.2", "d"),
        ("metrics.rpm_max.window.tumbling", "1m"),
        ("write.remote_write.batch.samples", "10"),
        ("write.remote_write.bearer_token", "0123"),
        ("time", "{ out_of_order: 7s }"),
        ("workers", "3"),
        ("workers", "4"),
    ])
    .unwrap();
    assert_eq!(pipeline.source.kafka.unwrap().topics, ["a", "c", "d"]);
    assert_eq!(pipeline.metrics[0].windows.pane(0).length_ms(), 60_000);
    let receivers = pipeline.write.remote_write.unwrap();
    let [remote_write] = receivers.all() else {
        panic!("{receivers:?}");
    };
    assert_eq!(remote_write.batch.samples, 10);
    assert_eq!(remote_write.batch.bytes, 524_288);
    assert_eq!(remote_write.bearer_token.as_ref().unwrap().reveal(), "0123");
    assert_eq!(pipeline.time.out_of_order.as_millis(), 7_000);
    assert_eq!(pipeline.workers, Some(4));
}

#[test]
fn input_and_output_take_the_place_of_source_and_writer() {
    let overrides = Overrides {
        input: vec!["a.ndjson".to_owned(), "b.ndjson".to_owned()],
        output: Some("samples.ndjson".to_owned()),
        ..Overrides::default()
    };
    let pipeline = load(&overrides).unwrap();
    assert!(pipeline.source.kafka.is_none());
    let paths: Vec<_> = pipeline.source.file.as_ref().unwrap().path.all().collect();
    assert_eq!(paths, ["a.ndjson", "b.ndjson"]);
    assert!(pipeline.write.remote_write.is_none());
    assert_eq!(
        pipeline.write.file.unwrap().path,
        PathBuf::from("samples.ndjson")
    );
}

#[test]
fn bad_settings_are_reported_under_their_argument() {
    let cases = [
        (
            ("a..b", "1"),
            "--set a..b: 'a..b' is not a path; write keys with dots between, such as \
             write.remote_write.url",
        ),
        (
            ("pipeline.name", "x"),
            "--set pipeline.name: there is no 'name' in 'pipeline', which is neither a mapping nor \
             a list",
        ),
        (
            ("source.kafka.topics.5", "c"),
            "--set source.kafka.topics.5: there is no '5' in the list 'source.kafka.topics'; \
             write a number from 0, 2 appends",
        ),
        (
            ("workers", "[1"),
            "--set workers: invalid YAML: while parsing a flow sequence, expected ',' or ']'",
        ),
        (
            ("workers", "many"),
            "--set workers: expected a whole number, found text 'many'",
        ),
        (
            ("worker", "2"),
            "--set worker: unknown key 'worker'; did you mean 'workers'?",
        ),
        (
            ("time.out_of_order", "5"),
            "--set time.out_of_order: '5' is not a duration; write a number with a unit, such as \
             250ms, 5s, 1m30s, 2h or 1d",
        ),
        (
            ("metrics.rpm_max.value", "max(rmp)"),
            "--set metrics.rpm_max.value: unknown field 'rmp'; did you mean 'rpm'?",
        ),
        (
            ("write.remote_write.max_shards", "0"),
            "--set write.remote_write.max_shards: 'max_shards' is 0; use 1 to 1024",
        ),
        (
            ("write.file.path", "samples.ndjson"),
            "--set write.file.path: 'file' does not go with 'remote_write'; remove one of them",
        ),
        (
            ("source.kafka", ""),
            "cars.yaml:2:1: missing key in 'source': one of 'file', 'kafka', 'kinesis', 'mqtt', 'http' or 'remote_write'",
        ),
    ];
    for ((path, value), expected) in cases {
        let problems = set(&[(path, value)]).unwrap_err();
        assert_eq!(problems.to_string(), expected, "--set {path}={value}");
    }
}

#[test]
fn every_bad_setting_is_reported_after_the_problems_of_the_file() {
    let settings = [
        ("workers", "0"),
        ("pipelin", "x"),
        ("metrics.rpm_max.by", "vehicle"),
    ];
    let problems = set(&settings).unwrap_err();
    let lines: Vec<_> = problems
        .iter()
        .map(|problem| problem.message.clone())
        .collect();
    assert_eq!(
        lines,
        [
            "expected a list, found text 'vehicle'; write [vehicle]",
            "unknown key 'pipelin'; did you mean 'pipeline'?",
            "expected a number of at least 1, found 0",
        ]
    );
}

#[test]
fn the_program_takes_settings_and_variables() {
    let file = "connected-cars.yaml";
    let bad_setting = ["validate", file, "--set", "workers=0"];
    let found = files::run(&weir_in("pipelines", bad_setting), LIMIT).unwrap();
    assert_eq!(
        found.stderr,
        "--set workers: expected a number of at least 1, found 0\n"
    );
    assert_eq!(found.status.code(), Some(2));

    let without_value = ["run", file, "--set", "workers"];
    let found = files::run(&weir_in("pipelines", without_value), LIMIT).unwrap();
    assert!(
        found
            .stderr
            .contains("'workers' has no '='; write PATH=VALUE, such as workers=2"),
        "{}",
        found.stderr
    );
    assert_eq!(found.status.code(), Some(2));

    let mut command = weir_in("pipelines", ["validate", file]);
    command.env("REMOTE_WRITE_URL", "ftp://prometheus");
    let found = files::run(&command, LIMIT).unwrap();
    assert_eq!(
        found.stderr.lines().next(),
        Some("connected-cars.yaml:57:10: 'url' has scheme 'ftp'; use http or https"),
    );
    assert_eq!(found.status.code(), Some(2));
}

#[test]
fn one_output_cannot_serve_several_files() {
    let file = repository().join("pipelines/connected-cars.yaml");
    let file = file.to_str().unwrap();
    let arguments = ["run", file, file, "--output", "-"];
    let found = files::run(&weir_in("pipelines", arguments), LIMIT).unwrap();
    assert_eq!(
        found.stderr,
        "weir: --output and --input - serve one pipeline file only, found 2\n"
    );
    assert_eq!(found.status.code(), Some(1));
}

/// The keys of `source` that say how records are written, wherever they come from.
const OF_ALL_SOURCES: [&str; 3] = ["decode", "unwrap", "max_record_bytes"];

#[test]
fn input_takes_the_place_of_every_source() {
    let sources = [
        ("file", "{ path: events.ndjson }"),
        ("kafka", "{ brokers: k, topics: [a], group: cars }"),
        ("kinesis", "{ stream: scooters }"),
        ("mqtt", "{ url: 'mqtt://127.0.0.1', topics: [a] }"),
        ("http", "{ listen: '127.0.0.1:0' }"),
        ("remote_write", "{ listen: '127.0.0.1:0' }"),
    ];
    // A new kind must stand here as well.
    let schema = config::schema();
    let keys = schema["$defs"]["SourceSection"]["properties"].as_object();
    let keys = keys.unwrap().keys().map(String::as_str);
    let mut kinds: Vec<_> = keys.filter(|key| !OF_ALL_SOURCES.contains(key)).collect();
    kinds.sort_unstable();
    let mut listed = sources.map(|(kind, _)| kind);
    listed.sort_unstable();
    assert_eq!(kinds, listed);

    for (kind, keys) in sources {
        let mut text = PIPELINE.to_owned() + "state: { dir: state }\n";
        let (_, kafka) = PIPELINE.split_once("kafka: ").unwrap();
        let kafka = kafka.lines().next().unwrap();
        text = text.replace(&format!("kafka: {kafka}"), &format!("{kind}: {keys}"));
        let load = |overrides: &Overrides| {
            let folder = PathBuf::new();
            config::load_text("cars.yaml", &text, folder, overrides, &|_| None)
                .unwrap_or_else(|problems| panic!("{problems:#}"))
        };
        let own = load(&Overrides::default());
        assert_eq!(own.source.kind(), kind);
        let other = load(&Overrides {
            input: vec!["other.ndjson".to_owned()],
            ..Overrides::default()
        });
        let path = other.source.file.as_ref().map(|file| file.path.clone());
        assert_eq!(path, Some(Paths::Many(vec!["other.ndjson".to_owned()])));
        assert_eq!(other.source.kind(), "file");
        assert_eq!(other.format, own.format, "{kind}");
        assert!(other.state.is_none());
    }
}
