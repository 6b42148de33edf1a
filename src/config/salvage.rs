//! What can be judged of a file in spite of problems of shape: unknown keys, wrong types, missing
//! keys.
//!
//! Each such part is exchanged for a sound stand-in, so that problems of meaning elsewhere are
//! reported in the same go. Where events or lookups are unsound, the fields are not known, and
//! nothing could be said of expressions that would not mislead.

use serde_json::Value;

use super::check::check;
use super::document::{Document, Node, PathSegment};
use super::file::PipelineFile;
use super::report::Problems;

/// A pipeline in which everything is sound.
const STAND_IN: &str = r#"
pipeline: stand-in
source: { file: { path: "-" } }
event: { time: { from: time }, fields: { field: text } }
time: {}
enrich: []
derive: {}
metrics: { metric: { window: { tumbling: 1s }, value: count(*) } }
write: { file: { path: "-" } }
dead_letters: { file: stand-in }
state: {}
workers: 1
"#;

/// The sections of a file, and whether expressions can be judged where one is unsound.
const SECTIONS: [(&str, bool); 10] = [
    ("pipeline", true),
    ("source", true),
    ("event", false),
    ("time", true),
    ("enrich", false),
    ("derive", false),
    ("write", true),
    ("dead_letters", true),
    ("state", true),
    ("workers", true),
];

/// The file with stand-ins for what is unsound; nothing where that would mislead.
pub(super) fn salvage(document: &Document, schema: &Value) -> Option<PipelineFile> {
    let mut ignored = Problems::new("", STAND_IN);
    let stand_in = Document::parse(STAND_IN, &|_| None, &mut ignored)?;
    let is_sound = |path: &[PathSegment<'_>], node: &Node| {
        let mut probe = stand_in.clone();
        let mut problems = Problems::new("", STAND_IN);
        probe.replace(path, node.clone()).is_ok() && check(&probe, schema, &mut problems).is_some()
    };
    let mut sound = stand_in.clone();
    for (section, can_judge) in SECTIONS {
        let path = [section.into()];
        match document.get(&path) {
            Some(node) if is_sound(&path, node) => sound.replace(&path, node.clone()).ok()?,
            Some(_) if !can_judge => return None,
            // What may be left out has an empty stand-in.
            None if section == "event" => return None,
            Some(_) | None => {}
        }
    }
    for metric in document.get(&["metrics".into()])?.entries() {
        let path = ["metrics".into(), metric.key.as_str().into()];
        if is_sound(&path, &metric.value) {
            sound.replace(&path, metric.value.clone()).ok()?;
        }
    }
    serde_json::from_value(check(&sound, schema, &mut ignored)?).ok()
}
