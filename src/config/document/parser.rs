//! YAML to a tree of nodes.

use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span};

use super::node::{Entry, Kind, Node, Scalar, Style};
use crate::config::report::{Lines, Place, Problems};

/// No sensible file is deeper; the tree is walked by recursion.
const MAX_LEVELS: usize = 64;
/// Aliases can make a small file enormous ("billion laughs").
const MAX_NODES: usize = 100_000;

/// What is parsed: a file, or an argument of the command line.
#[derive(Debug)]
pub(super) enum Origin<'a> {
    /// A file with these lines.
    File(&'a Lines),
    /// An argument with this name.
    Argument(Arc<str>),
}

impl Origin<'_> {
    fn at(&self, mark: Marker, width: usize) -> Place {
        match self {
            Self::File(_) => Place::File {
                line: mark.line(),
                column: mark.col() + 1,
                width,
            },
            Self::Argument(name) => Place::Argument(Arc::clone(name)),
        }
    }

    fn scalar(&self, span: Span) -> Place {
        let width = match self {
            Self::File(lines) if span.start.line() != span.end.line() => {
                lines.width_from(span.start.line(), span.start.col() + 1)
            }
            _ => span.end.col().saturating_sub(span.start.col()).max(1),
        };
        self.at(span.start, width)
    }
}

/// Parses one document. What is wrong is reported; `None` where no tree came of it.
pub(super) fn parse(text: &str, origin: &Origin<'_>, problems: &mut Problems) -> Option<Node> {
    let mut builder = Builder {
        origin,
        problems,
        open: Vec::new(),
        anchors: HashMap::new(),
        nodes: 0,
        root: None,
    };
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => match builder.event(event, span) {
                Progress::More => {}
                Progress::Done => break,
                Progress::Failed => return None,
            },
            Err(error) => {
                let message = syntax_message(&error, origin);
                problems.add(origin.at(*error.marker(), 1), message);
                return None;
            }
        }
    }
    if builder.root.is_none() {
        problems.add(
            origin.at(Marker::new(0, 1, 0), 1),
            "there is nothing but comments in it",
        );
        return None;
    }
    builder.root
}

fn too_deep() -> String {
    format!("nested deeper than {MAX_LEVELS} levels; write it flatter")
}

fn syntax_message(error: &ScanError, origin: &Origin<'_>) -> String {
    // The parser has a limit of its own for flow style, which it looks far ahead in.
    if error.info() == "recursion limit exceeded" {
        return too_deep();
    }
    let line = match origin {
        Origin::File(lines) => lines.get(error.marker().line()).unwrap_or_default(),
        Origin::Argument(_) => "",
    };
    let hint = if error.info().contains("tab") || line.contains('\t') {
        "; write spaces instead of tabs"
    } else if line.contains("${") {
        "; put quotes around a value with ${…} that stands within { } or [ ]"
    } else {
        HINTS
            .iter()
            .find(|(part, _)| error.info().contains(part))
            .map_or("", |(_, hint)| hint)
    };
    format!("invalid YAML: {}{hint}", error.info())
}

/// What lies behind the parser's words most often.
const HINTS: [(&str, &str); 4] = [
    (
        "illegal placement of ':'",
        "; a bracket before it may be left open",
    ),
    (
        "mapping values are not allowed",
        "; put quotes around a text that holds ': '",
    ),
    (
        "invalid trailing content",
        "; put quotes around a text that begins with a quote",
    ),
    (
        "simple key expect ':'",
        "; the line before it may be a key without ':'",
    ),
];

enum Progress {
    More,
    Done,
    Failed,
}

/// A collection that has begun and not ended.
struct Open {
    kind: OpenKind,
    place: Place,
    anchor: usize,
}

enum OpenKind {
    Sequence(Vec<Node>),
    Mapping {
        entries: Vec<Entry>,
        places: HashMap<String, Place>,
        key: Key,
    },
}

/// The key that waits for its value.
enum Key {
    /// The next node is a key.
    Next,
    /// The next node is the value of this key.
    Text(String, Place),
    /// The next node is the value of a key that was reported.
    Invalid,
}

struct Builder<'a> {
    origin: &'a Origin<'a>,
    problems: &'a mut Problems,
    open: Vec<Open>,
    /// The nodes with an anchor that are complete, by the parser's number of the anchor.
    anchors: HashMap<usize, Node>,
    nodes: usize,
    root: Option<Node>,
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, span: Span) -> Progress {
        match event {
            Event::Nothing | Event::StreamStart | Event::DocumentEnd => Progress::More,
            Event::StreamEnd => Progress::Done,
            Event::DocumentStart(_) => {
                if self.root.is_none() {
                    return Progress::More;
                }
                let message = "a second document begins here; write one document a file";
                self.problems.add(self.origin.at(span.start, 1), message);
                Progress::Done
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.check_tag(tag.as_deref(), span);
                let style = match style {
                    ScalarStyle::Plain => Style::Plain,
                    ScalarStyle::SingleQuoted => Style::SingleQuoted,
                    ScalarStyle::DoubleQuoted => Style::DoubleQuoted,
                    ScalarStyle::Literal => Style::Literal,
                    ScalarStyle::Folded => Style::Folded,
                };
                let place = self.origin.scalar(span);
                let scalar = Scalar {
                    text: text.into_owned(),
                    style,
                    substituted: false,
                };
                self.complete(
                    Node {
                        kind: Kind::Scalar(scalar),
                        place,
                    },
                    anchor,
                )
            }
            Event::SequenceStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), span);
                self.begin(OpenKind::Sequence(Vec::new()), span, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), span);
                let kind = OpenKind::Mapping {
                    entries: Vec::new(),
                    places: HashMap::new(),
                    key: Key::Next,
                };
                self.begin(kind, span, anchor)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else {
                    return Progress::More;
                };
                let kind = match open.kind {
                    OpenKind::Sequence(items) => Kind::Sequence(items),
                    OpenKind::Mapping { entries, .. } => Kind::Mapping(entries),
                };
                self.complete(
                    Node {
                        kind,
                        place: open.place,
                    },
                    open.anchor,
                )
            }
            Event::Alias(anchor) => self.alias(anchor, span),
        }
    }

    fn begin(&mut self, kind: OpenKind, span: Span, anchor: usize) -> Progress {
        let place = self.origin.at(span.start, 1);
        if self.open.len() >= MAX_LEVELS {
            return self.too_deep(place);
        }
        self.open.push(Open {
            kind,
            place,
            anchor,
        });
        Progress::More
    }

    fn too_deep(&mut self, place: Place) -> Progress {
        self.problems.add(place, too_deep());
        Progress::Failed
    }

    fn complete(&mut self, node: Node, anchor: usize) -> Progress {
        if !self.count(1, &node.place) {
            return Progress::Failed;
        }
        if anchor > 0 {
            // A copy of an anchored node costs as much as an alias.
            if !self.count(node.size().nodes, &node.place) {
                return Progress::Failed;
            }
            self.anchors.insert(anchor, node.clone());
        }
        self.attach(node);
        Progress::More
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Progress {
        let place = self.origin.scalar(span);
        let Some(node) = self.anchors.get(&anchor).cloned() else {
            self.problems.add(
                place,
                "this alias stands within its own anchor; move it out",
            );
            return Progress::Failed;
        };
        let size = node.size();
        if self.open.len() + size.levels > MAX_LEVELS {
            return self.too_deep(place);
        }
        if !self.count(size.nodes, &place) {
            return Progress::Failed;
        }
        self.attach(node);
        Progress::More
    }

    fn count(&mut self, nodes: usize, place: &Place) -> bool {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            let message = format!("more than {MAX_NODES} values, those of aliases included");
            self.problems.add(place.clone(), message);
        }
        self.nodes <= MAX_NODES
    }

    fn check_tag(&mut self, tag: Option<&saphyr_parser::Tag>, span: Span) {
        let Some(tag) = tag else { return };
        let name = if tag.is_yaml_core_schema() {
            format!("!!{}", tag.suffix)
        } else {
            format!("!{}", tag.suffix)
        };
        let message =
            format!("the tag '{name}' has no meaning here; remove it, and put quotes around text");
        self.problems.add(self.origin.at(span.start, 1), message);
    }

    fn attach(&mut self, node: Node) {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        let (entries, places, key) = match &mut open.kind {
            OpenKind::Sequence(items) => return items.push(node),
            OpenKind::Mapping {
                entries,
                places,
                key,
            } => (entries, places, key),
        };
        match std::mem::replace(key, Key::Next) {
            Key::Next => *key = read_key(node, places, self.problems),
            Key::Invalid => {}
            Key::Text(text, key_place) => {
                let mut value = node;
                // The parser puts an empty value wherever it noticed that there is none.
                if value
                    .as_scalar()
                    .is_some_and(|scalar| scalar.text.is_empty() && scalar.style == Style::Plain)
                {
                    value.place = key_place.clone();
                }
                entries.push(Entry {
                    key: text,
                    key_place,
                    value,
                });
            }
        }
    }
}

fn read_key(node: Node, places: &mut HashMap<String, Place>, problems: &mut Problems) -> Key {
    let Kind::Scalar(scalar) = node.kind else {
        problems.add(
            node.place,
            "a mapping or a list cannot be a key; write a text",
        );
        return Key::Invalid;
    };
    if scalar.text.is_empty() {
        problems.add(node.place, "a key is missing before ':'");
        return Key::Invalid;
    }
    if scalar.style == Style::Plain && scalar.text == "<<" {
        problems.add(
            node.place,
            "'<<' is not supported; write the keys out, or use an alias",
        );
        return Key::Invalid;
    }
    if let Some(first) = places.get(&scalar.text) {
        let line = first
            .line()
            .map(|line| format!(", first on line {line}"))
            .unwrap_or_default();
        problems.add(
            node.place,
            format!("key '{}' is given twice{line}", scalar.text),
        );
        return Key::Invalid;
    }
    places.insert(scalar.text.clone(), node.place.clone());
    Key::Text(scalar.text, node.place)
}
