//! Arbitrary text as a pipeline file: it loads, or its problems can be shown, each within the text.

#![no_main]

use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use weir::config::{Overrides, Pipeline, Problems, load_text};
use weir::decode::{DecodeMetrics, Decoder};
use weir::telemetry::Registry;

fn variable(name: &str) -> Option<String> {
    match name {
        "TEXT" => Some("127.0.0.1:9092".to_owned()),
        "YAML" => Some("[a, {b: \"c\"}] # é".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn overrides() -> [Overrides; 2] {
    let set = [
        ("write.remote_write.url", "http://127.0.0.1:1/api/v1/write"),
        ("metrics.vehicles.window.tumbling", "10s"),
        ("enrich.0.add", "[model]"),
    ];
    let set = set
        .map(|(path, value)| (path.to_owned(), value.to_owned()))
        .to_vec();
    let input = vec!["-".to_owned()];
    [
        Overrides::default(),
        Overrides {
            set,
            input,
            output: Some("-".to_owned()),
        },
    ]
}

fn check_problems(problems: &Problems, text: &str) {
    assert!(!problems.is_empty(), "refused without a reason");
    let plain = format!("{problems}");
    assert_eq!(
        plain.lines().count(),
        problems.len(),
        "a line a problem:\n{plain}"
    );
    assert!(!format!("{problems:#}").is_empty());
    // YAML knows more line breaks than Rust's lines().
    let lines = text
        .split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'])
        .count();
    for problem in problems.iter() {
        let (line, column) = (problem.place.line(), problem.place.column());
        assert!(
            line.is_none_or(|line| (1..=lines + 1).contains(&line)),
            "{problem:?}"
        );
        assert!(column.is_none_or(|column| column >= 1), "{problem:?}");
    }
}

/// What loads can be built: the stages refuse nothing that validation lets through.
fn check_pipeline(pipeline: &Pipeline) {
    let metrics = DecodeMetrics::new(&Registry::new(&pipeline.name));
    let max_ahead_ms = pipeline.time.max_ahead.as_signed_millis();
    let decoder = Decoder::build(&pipeline.format, &pipeline.event, max_ahead_ms, metrics);
    let schema = decoder.expect("the paths were validated").schema();
    assert!(pipeline.schema.fields().starts_with(schema.fields()));
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for overrides in overrides() {
        match load_text("fuzz.yaml", text, PathBuf::new(), &overrides, &variable) {
            Ok(pipeline) => check_pipeline(&pipeline),
            Err(problems) => check_problems(&problems, text),
        }
    }
});
