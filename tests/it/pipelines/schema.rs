//! The JSON Schema: printed, kept under `docs/`, and described key by key in the reference.

use serde_json::Value;
use weir::config;

use super::LIMIT;
use crate::markdown::{hold_to_file, page, rows};
use crate::support::files::{self, repository, weir};

/// A key that a pipeline file can have.
#[derive(Debug, PartialEq, Eq)]
struct Key {
    /// Its path: `*` stands for a name of the user's choice, `[]` for an item of a list.
    path: String,
    /// `required`, the default, or `–` where leaving it out has a meaning of its own.
    default: String,
}

/// A walk over the schema.
struct Walk<'s> {
    root: &'s Value,
    keys: Vec<Key>,
    undescribed: Vec<String>,
}

impl<'s> Walk<'s> {
    fn new(root: &'s Value) -> Self {
        let mut walk = Self {
            root,
            keys: Vec::new(),
            undescribed: Vec::new(),
        };
        walk.visit(root, "");
        walk
    }

    fn visit(&mut self, schema: &'s Value, path: &str) {
        if let Some(reference) = schema["$ref"].as_str() {
            let target = self.root.pointer(reference.trim_start_matches('#'));
            self.visit(target.unwrap_or(&Value::Null), path);
        }
        for alternatives in ["anyOf", "oneOf"] {
            let all = schema[alternatives].as_array();
            for alternative in all.into_iter().flatten() {
                // One of something or a list of them: the keys are the same.
                let item = alternative.pointer("/items/$ref");
                let is_item = |other: &Value| item.is_some() && other.get("$ref") == item;
                if !all.is_some_and(|all| all.iter().any(is_item)) {
                    self.visit(alternative, path);
                }
            }
        }
        if schema["items"].is_object() {
            self.visit(&schema["items"], &format!("{path}[]"));
        }
        if schema["additionalProperties"].is_object() {
            self.visit(&schema["additionalProperties"], &format!("{path}.*"));
        }
        let required = schema["required"].as_array();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            let is_required = required.is_some_and(|all| all.iter().any(|key| key == name));
            let default = if is_required {
                "required".to_owned()
            } else {
                default_of(property)
            };
            // The key that names an alternative is described by the alternatives.
            let is_tag = property.get("const").is_some();
            if !is_tag && property["description"].as_str().is_none_or(str::is_empty) {
                self.undescribed.push(path.clone());
            }
            let key = Key {
                path: path.clone(),
                default,
            };
            // Several alternatives may have the same key.
            if !self.keys.contains(&key) {
                self.keys.push(key);
            }
            self.visit(property, &path);
        }
    }
}

fn default_of(property: &Value) -> String {
    match &property["default"] {
        Value::Null | Value::Array(_) | Value::Object(_) => "–".to_owned(),
        Value::String(text) if text.is_empty() => "–".to_owned(),
        Value::String(text) => format!("`{text}`"),
        other => format!("`{other}`"),
    }
}

#[test]
fn the_printed_schema_is_the_one_under_docs() {
    let printed = files::run(&weir(["schema"]), LIMIT).unwrap();
    assert_eq!(printed.stderr, "");
    assert_eq!(printed.status.code(), Some(0));
    assert_eq!(
        serde_json::from_str::<Value>(&printed.stdout).unwrap(),
        config::schema()
    );
    let path = repository().join("docs/pipeline.schema.json");
    hold_to_file(&path, &printed.stdout).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn every_key_of_the_schema_has_a_description() {
    let schema = config::schema();
    assert_eq!(Walk::new(&schema).undescribed, Vec::<String>::new());
}

#[test]
fn the_reference_describes_every_key_with_its_default_and_no_other() {
    let schema = config::schema();
    let mut expected = Walk::new(&schema).keys;
    assert!(expected.len() > 60, "{expected:?}");
    let page = page("pipeline-file.md").unwrap();
    let mut documented = Vec::new();
    for row in rows(&page, &["Key", "Type", "Default", "Meaning"]).unwrap() {
        let path = row.code(0).to_owned();
        assert_ne!(
            row.cell(3),
            "",
            "line {} says nothing about {path}",
            row.line
        );
        documented.push(Key {
            path,
            default: row.cell(2).to_owned(),
        });
    }
    expected.sort_by(|a, b| a.path.cmp(&b.path));
    documented.sort_by(|a, b| a.path.cmp(&b.path));
    // Only what differs: all of them would fill pages.
    let beside = |all: &[Key], known: &[Key]| -> Vec<String> {
        let others = all.iter().filter(|key| !known.contains(key));
        others.map(|key| format!("{key:?}")).collect()
    };
    assert_eq!(
        beside(&expected, &documented),
        [""; 0],
        "not in the document"
    );
    assert_eq!(beside(&documented, &expected), [""; 0], "not in the schema");
    assert_eq!(
        documented.len(),
        expected.len(),
        "a key is documented twice"
    );
}

/// The keys of the section that are kinds of sources are those that are a section themselves, and not of
/// how records are written.
#[test]
fn the_reference_names_all_sources() {
    let schema = config::schema();
    let sources = &schema["$defs"]["SourceSection"]["properties"];
    let is_source = |property: &Value| {
        let alternatives = property["anyOf"].as_array();
        alternatives.is_some_and(|all| all.iter().any(|one| one["type"] == "null"))
    };
    let mut expected: Vec<_> = sources
        .as_object()
        .unwrap()
        .iter()
        .filter(|(_, property)| is_source(property))
        .map(|(name, _)| name.as_str())
        .collect();
    expected.sort_unstable();
    assert!(expected.contains(&"kinesis"), "{expected:?}");

    let page = page("pipeline-file.md").unwrap();
    let sentence = page
        .lines()
        .skip_while(|line| !line.starts_with("## `source`"))
        .find(|line| line.starts_with("Exactly one of "))
        .unwrap();
    let mut named: Vec<_> = sentence.split('`').skip(1).step_by(2).collect();
    named.sort_unstable();
    assert_eq!(named, expected, "{sentence}");
}

#[test]
fn nobody_has_to_read_it_to_the_end() -> std::io::Result<()> {
    let (reader, writer) = std::io::pipe()?;
    // As `weir schema | head` does it.
    drop(reader);
    let output = weir(["schema"]).stdout(writer).output()?;
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*told), (Some(0), ""));
    let full = std::fs::File::options().write(true).open("/dev/full")?;
    let output = weir(["schema"]).stdout(full).output()?;
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("standard output cannot be written"), "{told}");
    Ok(())
}
