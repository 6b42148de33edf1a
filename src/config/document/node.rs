//! The tree of a YAML document, each node with its place.

use crate::config::report::Place;

/// A value of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// What it is.
    pub(crate) kind: Kind,
    /// Where it begins: a block scalar (`|`, `>`) in its first line, an empty value at its key.
    pub(crate) place: Place,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Values by key, in the file's order; no key stands twice.
    Mapping(Vec<Entry>),
    /// Values in order.
    Sequence(Vec<Node>),
    /// A text that may stand for a number, a truth value or nothing.
    Scalar(Scalar),
    /// A scalar with a variable that could not be replaced, which has been reported.
    Unresolved,
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The key.
    pub(crate) key: String,
    /// Where the key stands.
    pub(crate) key_place: Place,
    /// The value.
    pub(crate) value: Node,
}

/// A scalar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scalar {
    /// Its text, without quotes and escapes, with its variables replaced.
    pub(crate) text: String,
    /// How it was written.
    pub(crate) style: Style,
    /// Whether a variable was replaced in it.
    pub(crate) substituted: bool,
}

/// How a scalar is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Without quotes.
    Plain,
    /// In `'`.
    SingleQuoted,
    /// In `"`.
    DoubleQuoted,
    /// A block after `|`.
    Literal,
    /// A block after `>`.
    Folded,
}

impl Node {
    /// The value of a key, where this is a mapping that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// A key with its value, where this is a mapping that has it.
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The keys with their values; none where this is no mapping.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Mapping(entries) => entries,
            _ => &[],
        }
    }

    /// The scalar, where this is one.
    pub(crate) fn as_scalar(&self) -> Option<&Scalar> {
        match &self.kind {
            Kind::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// How many nodes there are from here down, and on how many levels.
    pub(super) fn size(&self) -> Size {
        let mut size = Size {
            nodes: 1,
            levels: 1,
        };
        match &self.kind {
            Kind::Mapping(entries) => entries.iter().for_each(|entry| size.add(&entry.value)),
            Kind::Sequence(items) => items.iter().for_each(|item| size.add(item)),
            Kind::Scalar(_) | Kind::Unresolved => {}
        }
        size
    }
}

/// How large a tree is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) nodes: usize,
    pub(super) levels: usize,
}

impl Size {
    fn add(&mut self, child: &Node) {
        let size = child.size();
        self.nodes += size.nodes;
        self.levels = self.levels.max(size.levels + 1);
    }
}

impl Scalar {
    /// Whether the text may stand for something other than text: it has no quotes, or its text is
    /// that of a variable.
    pub(crate) fn is_plain(&self) -> bool {
        self.style == Style::Plain || self.substituted
    }

    /// Whether this stands for nothing: no text at all, `~` or `null` without quotes.
    pub(crate) fn is_null(&self) -> bool {
        self.is_plain() && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }
}
