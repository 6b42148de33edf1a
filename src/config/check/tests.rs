mod schemas;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::*;
use crate::model::Duration;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct File {
    /// The name.
    pipeline: String,
    #[serde(default)]
    source: Option<Source>,
    #[serde(default)]
    fields: IndexMap<String, Field>,
    #[serde(default)]
    window: Option<Window>,
    #[serde(default)]
    by: Vec<String>,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    late: Late,
    #[serde(default)]
    retry: Option<Retry>,
    #[serde(default)]
    anything: serde_json::Value,
    #[serde(default)]
    otherwise: Option<Otherwise>,
    #[serde(default)]
    paths: Option<Paths>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Source {
    /// What is read.
    #[serde(flatten)]
    kind: SourceKind,
    #[serde(default)]
    decode: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum SourceKind {
    /// A topic.
    Kafka(Kafka),
    File {
        path: String,
    },
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Kafka {
    brokers: String,
    topics: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Field {
    Type(Type),
    Detail(Detail),
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Type {
    Number,
    /// True or false.
    Boolean,
    Text,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Detail {
    #[serde(default)]
    from: Option<String>,
    #[serde(rename = "type")]
    data_type: Type,
    #[serde(default)]
    required: bool,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum Window {
    Tumbling(Duration),
    Hopping { size: Duration, every: Duration },
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Limits {
    #[serde(default)]
    shards: Option<u16>,
    #[serde(default)]
    bytes: Option<u64>,
    #[serde(default)]
    series: Option<u32>,
    #[serde(default)]
    offset: Option<i64>,
    #[serde(default)]
    share: Option<f64>,
    #[serde(default)]
    pair: Option<(u8, String)>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Late {
    #[default]
    Drop,
    Divert {
        dir: String,
    },
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Retry {
    Fixed { every: Duration },
    Growing { first: Duration, factor: f64 },
    Never,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Otherwise {
    Word(OtherwiseWord),
    Values(IndexMap<String, serde_json::Value>),
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum OtherwiseWord {
    Null,
    Drop,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Paths {
    One(String),
    Many(Vec<String>),
}

fn variables(name: &str) -> Option<String> {
    match name {
        "PORT" => Some("9092".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn run(text: &str) -> (Option<Value>, String) {
    let mut problems = Problems::new("x.yaml", text);
    let schema = schemars::schema_for!(File);
    let document = Document::parse(text, &variables, &mut problems);
    let value = document.and_then(|document| check(&document, schema.as_value(), &mut problems));
    (value, problems.to_string())
}

/// The value of one key of a file that is right.
fn value_of(key: &str, yaml: &str) -> Value {
    let (value, problems) = run(&format!("pipeline: p\n{key}: {yaml}\n"));
    assert_eq!(problems, "", "{yaml}");
    let value = value.unwrap();
    let parsed: Result<File, _> = serde_json::from_value(value.clone());
    assert!(parsed.is_ok(), "{yaml}: {parsed:?}");
    value[key].clone()
}

/// The problems of one key of a file; its line is 2.
fn problems_of(key: &str, yaml: &str) -> String {
    let (value, problems) = run(&format!("pipeline: p\n{key}: {yaml}\n"));
    assert_eq!(value, None, "{yaml}");
    problems
}

#[test]
fn converts_a_whole_file() {
    let text = "\
pipeline: connected-cars
source:
  kafka: { brokers: \"127.0.0.1:${PORT}\", topics: [vehicle-events, 5] }
  decode: json
fields:
  region: text
  kind: { from: eventType, type: text }
  speed:
    type: number
    required: true
window: { tumbling: 5s }
by:
- model
- region
limits: { shards: \"${PORT}\", share: 0.5, bytes: 18446744073709551615, pair: [1, b] }
late: { divert: { dir: ./late } }
retry: { type: growing, first: 1s, factor: 2 }
anything: { a: [1, true, ~, 'x', 0x10] }
";
    let mut problems = Problems::new("x.yaml", text);
    let document = Document::parse(text, &variables, &mut problems).unwrap();
    let file: Option<File> = read_as(&document, &mut problems);
    assert_eq!(problems.to_string(), "");
    assert_eq!(
        serde_json::to_value(file.unwrap()).unwrap(),
        json!({
            "pipeline": "connected-cars",
            "source": {
                "kafka": { "brokers": "127.0.0.1:9092", "topics": ["vehicle-events", "5"] },
                "decode": "json",
            },
            "fields": {
                "region": "text",
                "kind": { "from": "eventType", "type": "text", "required": false },
                "speed": { "from": null, "type": "number", "required": true },
            },
            "window": { "tumbling": "5s" },
            "by": ["model", "region"],
            "limits": {
                "shards": 9092, "bytes": 18_446_744_073_709_551_615_u64, "series": null,
                "offset": null, "share": 0.5, "pair": [1, "b"],
            },
            "late": { "divert": { "dir": "./late" } },
            "retry": { "type": "growing", "first": "1s", "factor": 2.0 },
            "anything": { "a": [1, true, null, "x", 16] },
            "otherwise": null,
            "paths": null,
        })
    );
}

#[test]
fn types_scalars_as_the_schema_wants_them() {
    for (yaml, expected) in [
        ("{shards: 8}", json!({"shards": 8})),
        ("{shards: +8}", json!({"shards": 8})),
        ("{shards: 0x1F}", json!({"shards": 31})),
        ("{shards: ~}", json!({"shards": null})),
        ("{shards: }", json!({"shards": null})),
        ("{shards: '${PORT}'}", json!({"shards": 9092})),
        ("{shards: \"${EMPTY}\"}", json!({"shards": null})),
        ("{shards: \"${NONE:-3}\"}", json!({"shards": 3})),
        ("{share: 1e3}", json!({"share": 1000.0})),
        ("{share: .5}", json!({"share": 0.5})),
        ("{offset: -5}", json!({"offset": -5})),
    ] {
        assert_eq!(value_of("limits", yaml), expected, "{yaml}");
    }
    assert_eq!(
        value_of(
            "by",
            "[5, 5.50, true, no, 2024-01-01, 'null', \"${PORT}\", \"${EMPTY}\", |]"
        ),
        json!([
            "5",
            "5.50",
            "true",
            "no",
            "2024-01-01",
            "null",
            "9092",
            "",
            "|"
        ])
    );
    assert_eq!(value_of("late", "drop"), json!("drop"));
    assert_eq!(value_of("otherwise", "drop"), json!("drop"));
    assert_eq!(value_of("otherwise", "'null'"), json!("null"));
    assert_eq!(
        value_of("otherwise", "{a: 5, b: x, c: null}"),
        json!({"a": 5, "b": "x", "c": null})
    );
    assert_eq!(value_of("paths", "./x"), json!("./x"));
    assert_eq!(value_of("paths", "[a, 5]"), json!(["a", "5"]));
    assert_eq!(value_of("retry", "{type: never}"), json!({"type": "never"}));
    assert_eq!(value_of("window", "~"), Value::Null);
}

#[test]
fn reports_keys_that_are_unknown_or_missing() {
    for (text, expected) in [
        (
            "pipelin: x\nwindw: {tumbling: 5s}\nmetrics: {}\n",
            "x.yaml:1:1: unknown key 'pipelin'; did you mean 'pipeline'?\n\
             x.yaml:2:1: unknown key 'windw'; did you mean 'window'?\n\
             x.yaml:3:1: unknown key 'metrics'; known keys are 'pipeline', 'source', 'fields', \
             'window', 'by', 'limits', 'late', 'retry', 'anything', 'otherwise' \
             and 'paths'",
        ),
        ("by: []\n", "x.yaml:1:1: missing key 'pipeline'"),
        ("{}\n", "x.yaml:1:1: missing key 'pipeline'"),
        (
            "- a\n",
            "x.yaml:1:1: expected a mapping with 'pipeline', found a list",
        ),
        (
            "text\n",
            "x.yaml:1:1: expected a mapping with 'pipeline', found text 'text'",
        ),
        (
            "pipeline: p\nsource:\n  kafka:\n    brokers: b\n",
            "x.yaml:3:3: missing key 'topics' in 'kafka'",
        ),
        (
            "pipeline: p\nfields:\n  a:\n    from: x\n    typ: text\n",
            "x.yaml:5:5: unknown key 'typ'; did you mean 'type'?",
        ),
    ] {
        let (value, problems) = run(text);
        assert_eq!((value, problems.as_str()), (None, expected), "{text}");
    }
}

#[test]
fn reports_wrong_types_and_values() {
    for (key, yaml, expected) in [
        ("by", "{}", "2:5: expected a list, found a mapping"),
        (
            "by",
            "model",
            "2:5: expected a list, found text 'model'; write [model]",
        ),
        ("by", "[[a]]", "2:6: expected text, found a list"),
        ("by", "[a, ~]", "2:9: expected text, found nothing"),
        ("by", "", "2:1: expected a list, found nothing"),
        (
            "limits",
            "{shards: abc}",
            "2:18: expected a whole number, found text 'abc'",
        ),
        (
            "limits",
            "{shards: 5.5}",
            "2:18: expected a whole number, found the number 5.5",
        ),
        (
            "limits",
            "{shards: '5'}",
            "2:18: expected a whole number, found text '5'; remove the quotes",
        ),
        (
            "limits",
            "{shards: 70000}",
            "2:18: expected a number of at most 65535, found 70000",
        ),
        (
            "limits",
            "{shards: -1}",
            "2:18: expected a number of at least 0, found -1",
        ),
        (
            "limits",
            "{series: 4294967296}",
            "2:18: expected a number of at most 4294967295, found 4294967296",
        ),
        (
            "limits",
            "{offset: 9223372036854775808}",
            "2:18: expected a number of at most 9223372036854775807, found 9223372036854775808",
        ),
        (
            "limits",
            "{share: .nan}",
            "2:17: expected a number, found text '.nan'",
        ),
        (
            "limits",
            "{share: 1e999}",
            "2:17: expected a number, found text '1e999'",
        ),
        (
            "limits",
            "{share: 1_000}",
            "2:17: expected a number, found text '1_000'",
        ),
        (
            "limits",
            "{share: [1]}",
            "2:17: expected a number, found a list",
        ),
        (
            "limits",
            "{pair: [1]}",
            "2:16: expected at least 2 items, found 1",
        ),
        (
            "limits",
            "{pair: [x, y, z]}",
            "2:16: expected at most 2 items, found 3\nx.yaml:2:17: expected a whole number, found text 'x'",
        ),
        (
            "fields",
            "{a: txt}",
            "2:13: expected one of 'number', 'text' or 'boolean', or a mapping with 'type', found text 'txt'; did you mean 'text'?",
        ),
        (
            "fields",
            "{a: [text]}",
            "2:13: expected one of 'number', 'text' or 'boolean', or a mapping with 'type', found a list",
        ),
        (
            "fields",
            "{a: {type: txt}}",
            "2:20: expected one of 'number', 'text' or 'boolean', found text 'txt'; did you mean 'text'?",
        ),
        (
            "fields",
            "{a: {type: text, required: yes}}",
            "2:36: expected true or false, found text 'yes'",
        ),
        (
            "pipeline2",
            "x",
            "2:1: unknown key 'pipeline2'; did you mean 'pipeline'?",
        ),
        (
            "late",
            "dorp",
            "2:7: expected 'drop' or a mapping with 'divert', found text 'dorp'; did you mean 'drop'?",
        ),
    ] {
        assert_eq!(
            problems_of(key, yaml),
            format!("x.yaml:{expected}"),
            "{key}: {yaml}"
        );
    }
}

#[test]
fn reports_within_the_alternative_that_was_meant() {
    for (key, yaml, expected) in [
        (
            "window",
            "{tumbling: 5}",
            "2:20: '5' is not a duration; write a number with a unit, such as 250ms, 5s, 1m30s, \
             2h or 1d",
        ),
        (
            "window",
            "{tumbling: [5s]}",
            "2:20: expected a duration such as 250ms, 5s or 1m30s, found a list",
        ),
        (
            "window",
            "{tumblin: 5s}",
            "2:10: unknown key 'tumblin'; did you mean 'tumbling'?",
        ),
        (
            "window",
            "{fast: 5s}",
            "2:1: missing key in 'window': one of 'tumbling' or 'hopping'\n\
             x.yaml:2:10: unknown key 'fast'; known keys are 'tumbling' and 'hopping'",
        ),
        (
            "window",
            "{}",
            "2:1: missing key in 'window': one of 'tumbling' or 'hopping'",
        ),
        (
            "window",
            "{tumbling: 5s, hopping: {size: 5s, every: 1s}}",
            "2:24: 'hopping' does not go with 'tumbling'; remove one of them",
        ),
        (
            "window",
            "{hopping: {size: 5s}}",
            "2:10: missing key 'every' in 'hopping'",
        ),
        (
            "window",
            "5s",
            "2:9: expected a mapping with one of 'tumbling' or 'hopping', found text '5s'",
        ),
        (
            "source",
            "{decode: json}",
            "2:1: missing key in 'source': one of 'kafka' or 'file'",
        ),
        (
            "source",
            "{file: {path: x}, kafka: {brokers: b, topics: []}, decod: json}",
            "2:10: 'file' does not go with 'kafka'; remove one of them\n\
             x.yaml:2:60: unknown key 'decod'; did you mean 'decode'?",
        ),
        (
            "retry",
            "{type: fixd, every: 1s}",
            "2:15: expected one of 'fixed', 'growing' or 'never', found text 'fixd'; did you mean 'fixed'?",
        ),
        (
            "retry",
            "{type: fixed, evry: 1s}",
            "2:22: unknown key 'evry'; did you mean 'every'?",
        ),
        (
            "retry",
            "{type: fixed}",
            "2:1: missing key 'every' in 'retry'",
        ),
        ("retry", "{every: 1s}", "2:1: missing key 'type' in 'retry'"),
        ("late", "{divert: {}}", "2:8: missing key 'dir' in 'divert'"),
    ] {
        assert_eq!(
            problems_of(key, yaml),
            format!("x.yaml:{expected}"),
            "{key}: {yaml}"
        );
    }
}

#[test]
fn an_unset_variable_is_reported_once() {
    assert_eq!(
        problems_of("limits", "{shards: \"${NONE}\", bytes: x}"),
        "x.yaml:2:19: the variable 'NONE' is not set; set it or give a default, ${NONE:-default}\n\
         x.yaml:2:36: expected a whole number, found text 'x'"
    );
}

#[test]
fn settings_are_checked_under_their_name() {
    let text = "pipeline: p\nsource: {file: {path: x}}\n";
    let mut problems = Problems::new("x.yaml", text);
    let mut document = Document::parse(text, &variables, &mut problems).unwrap();
    document.set("source", "{kafka: {brokers: b, topic: [t]}}", &mut problems);
    document.set("limits.shards", "many", &mut problems);
    document.set("late.divert", "{}", &mut problems);
    assert_eq!(
        check(
            &document,
            schemars::schema_for!(File).as_value(),
            &mut problems
        ),
        None
    );
    assert_eq!(
        problems.to_string(),
        "--set late.divert: missing key 'dir' in 'divert'\n\
         --set limits.shards: expected a whole number, found text 'many'\n\
         --set source: unknown key 'topic'; did you mean 'topics'?"
    );
}

#[test]
fn what_only_the_type_refuses_is_reported_at_the_beginning() {
    #[derive(Debug, JsonSchema)]
    struct Even(#[expect(dead_code, reason = "only its schema matters")] u8);
    impl<'de> Deserialize<'de> for Even {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Err(serde::de::Error::custom("3 is odd"))
        }
    }
    let mut problems = Problems::new("x.yaml", "# c\n3");
    let document = Document::parse("# c\n3", &variables, &mut problems).unwrap();
    assert!(read_as::<Even>(&document, &mut problems).is_none());
    assert_eq!(problems.to_string(), "x.yaml:2:1: 3 is odd");
}
