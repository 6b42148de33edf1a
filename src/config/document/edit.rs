//! Changes to a document from outside of its file: `--set path=value`, another source.

use super::node::{Entry, Kind, Node};
use super::{Document, PathSegment};
use crate::config::report::{Place, Problems};

/// Why there is no place for a value at a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidPath {
    /// A segment is empty.
    #[error("'{0}' is not a path; write keys with dots between, such as write.remote_write.url")]
    Malformed(String),
    /// The path leads through a text or a number.
    #[error("there is no '{key}' in '{parent}', which is neither a mapping nor a list")]
    Scalar {
        /// What the path leads through.
        parent: String,
        /// What was looked for in it.
        key: String,
    },
    /// The path leads through a list, past its end or by something other than a number.
    #[error("there is no '{key}' in the list '{parent}'; write a number from 0, {length} appends")]
    Item {
        /// The list.
        parent: String,
        /// What was looked for in it.
        key: String,
        /// How many items the list has.
        length: usize,
    },
}

impl Document {
    /// Sets the value at a path of keys with dots between (`write.remote_write.url`, `topics.0`) to
    /// the YAML `text`, as `--set` does. Mappings on the way are made where they are missing. What
    /// is wrong is reported as `--set path: message`.
    pub(crate) fn set(&mut self, path: &str, text: &str, problems: &mut Problems) {
        let name = format!("--set {path}");
        let Some(node) = Node::from_argument(&name, text, problems) else {
            return;
        };
        let place = node.place.clone();
        if path.split('.').any(str::is_empty) {
            problems.add(place, InvalidPath::Malformed(path.to_owned()).to_string());
            return;
        }
        let segments: Vec<_> = path.split('.').map(PathSegment::Key).collect();
        if let Err(error) = self.replace(&segments, node) {
            problems.add(place, error.to_string());
        }
    }

    /// Puts a node in the place of what is at a path, or adds it. Mappings on the way are made
    /// where they are missing. In a list a key may be a number as well.
    ///
    /// # Errors
    /// A path that leads through a text or past the end of a list; the document is as it was.
    pub(crate) fn replace(
        &mut self,
        path: &[PathSegment<'_>],
        node: Node,
    ) -> Result<(), InvalidPath> {
        check(&self.root, path)?;
        let place = node.place.clone();
        let mut slot = &mut self.root;
        for (depth, segment) in path.iter().enumerate() {
            let parent = parent_name(path, depth);
            slot = enter(slot, segment, &place).ok_or_else(|| InvalidPath::Scalar {
                parent,
                key: segment.to_string(),
            })?;
        }
        *slot = node;
        Ok(())
    }

    /// Takes out what is at a path, with its key; `None` where there is nothing, and for the
    /// document itself.
    pub(crate) fn remove(&mut self, path: &[PathSegment<'_>]) -> Option<Node> {
        let (last, parents) = path.split_last()?;
        let mut parent = &mut self.root;
        for segment in parents {
            parent = existing(parent, segment)?;
        }
        match (&mut parent.kind, last) {
            (Kind::Mapping(entries), PathSegment::Key(key)) => {
                let index = entries.iter().position(|entry| entry.key == *key)?;
                Some(entries.remove(index).value)
            }
            (Kind::Sequence(items), PathSegment::Index(index)) if *index < items.len() => {
                Some(items.remove(*index))
            }
            _ => None,
        }
    }
}

/// Whether a value can be put at a path, so that a failure leaves nothing half made.
fn check(root: &Node, path: &[PathSegment<'_>]) -> Result<(), InvalidPath> {
    let mut node = root;
    for (depth, segment) in path.iter().enumerate() {
        let parent = parent_name(path, depth);
        match &node.kind {
            Kind::Mapping(_) => match node.get(&segment.to_string()) {
                Some(value) => node = value,
                None => return Ok(()),
            },
            Kind::Sequence(items) => {
                let length = items.len();
                let key = segment.to_string();
                match index_of(segment) {
                    Some(index) if index == length => return Ok(()),
                    Some(index) if index < length => match items.get(index) {
                        Some(item) => node = item,
                        None => {
                            return Err(InvalidPath::Item {
                                parent,
                                key,
                                length,
                            });
                        }
                    },
                    _ => {
                        return Err(InvalidPath::Item {
                            parent,
                            key,
                            length,
                        });
                    }
                }
            }
            Kind::Scalar(scalar) if scalar.is_null() => return Ok(()),
            Kind::Scalar(_) | Kind::Unresolved => {
                return Err(InvalidPath::Scalar {
                    parent,
                    key: segment.to_string(),
                });
            }
        }
    }
    Ok(())
}

/// The name of what a segment is looked for in.
fn parent_name(path: &[PathSegment<'_>], depth: usize) -> String {
    let names: Vec<_> = path.iter().take(depth).map(ToString::to_string).collect();
    names.join(".")
}

fn index_of(segment: &PathSegment<'_>) -> Option<usize> {
    match segment {
        PathSegment::Index(index) => Some(*index),
        PathSegment::Key(key) => key.parse().ok(),
    }
}

fn existing<'n>(node: &'n mut Node, segment: &PathSegment<'_>) -> Option<&'n mut Node> {
    match (&mut node.kind, segment) {
        (Kind::Mapping(entries), PathSegment::Key(key)) => entries
            .iter_mut()
            .find(|entry| entry.key == *key)
            .map(|entry| &mut entry.value),
        (Kind::Sequence(items), segment) => items.get_mut(index_of(segment)?),
        _ => None,
    }
}

/// What a segment leads to, made where it is missing.
fn enter<'n>(node: &'n mut Node, segment: &PathSegment<'_>, place: &Place) -> Option<&'n mut Node> {
    if node.as_scalar().is_some_and(super::Scalar::is_null) {
        node.kind = Kind::Mapping(Vec::new());
    }
    let new = || Node {
        kind: Kind::Mapping(Vec::new()),
        place: place.clone(),
    };
    match &mut node.kind {
        Kind::Mapping(entries) => {
            let key = segment.to_string();
            let index = match entries.iter().position(|entry| entry.key == key) {
                Some(index) => index,
                None => {
                    entries.push(Entry {
                        key,
                        key_place: place.clone(),
                        value: new(),
                    });
                    entries.len() - 1
                }
            };
            entries.get_mut(index).map(|entry| &mut entry.value)
        }
        Kind::Sequence(items) => {
            let index = index_of(segment)?;
            if index == items.len() {
                items.push(new());
            }
            items.get_mut(index)
        }
        Kind::Scalar(_) | Kind::Unresolved => None,
    }
}
