//! Where in a record, or in its envelope, a field comes from.

use std::str::FromStr;
use std::sync::Arc;

use crate::model::TopicTemplate;

/// How many keys a path may have: no deeper is a record followed.
const MAX_KEYS: usize = 128;

/// The origin of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Path {
    /// Keys from the outermost object inwards; never empty.
    Body(Vec<String>),
    /// The whole topic.
    Topic,
    /// A segment of the topic, from 0.
    TopicSegment(usize),
    /// The level of the topic that a template has a name for.
    TopicLevel(TopicLevel),
    /// The message key.
    Key,
    /// When the transport took the record, ms since the epoch.
    Timestamp,
    /// The number of the Kafka partition.
    Partition,
    /// The Kafka offset.
    Offset,
    /// A Kafka header; of several with the same name, the last one.
    Header(String),
}

/// A named level of topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicLevel {
    name: String,
    /// Where it stands, by the templates that have it, in their order.
    places: Vec<(Arc<TopicTemplate>, usize)>,
}

impl TopicLevel {
    /// A level that no template has yet.
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            places: Vec::new(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What stands there in a topic: by the first template with the name that the topic is of.
    pub(super) fn of<'t>(&self, topic: &'t [u8]) -> Option<&'t [u8]> {
        let mut places = self.places.iter();
        places.find_map(|(template, place)| template.capture(topic, *place))
    }

    fn place(&mut self, templates: &[Arc<TopicTemplate>]) {
        let places = templates.iter().filter_map(|template| {
            let place = template.find(&self.name)?;
            Some((Arc::clone(template), place))
        });
        self.places = places.collect();
    }
}

impl Path {
    /// Finds a named level of topics in the templates.
    pub(super) fn place(&mut self, templates: &[Arc<TopicTemplate>]) {
        if let Self::TopicLevel(level) = self {
            level.place(templates);
        }
    }

    /// Whether the source has to copy topic and key for it.
    pub fn needs_envelope(&self) -> bool {
        matches!(
            self,
            Self::Topic | Self::TopicSegment(_) | Self::TopicLevel(_) | Self::Key
        )
    }

    /// The header that the source has to copy for it.
    pub fn header(&self) -> Option<&str> {
        match self {
            Self::Header(name) => Some(name),
            _ => None,
        }
    }
}

/// Why a text is no path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    /// An empty path or an empty segment.
    #[error("'{0}' is not a path; write keys separated by dots, such as engine.rpm")]
    Empty(String),
    /// More keys than a record is nested.
    #[error("a path of {0} keys; at most {MAX_KEYS} can be nested")]
    TooDeep(usize),
    /// Something unknown behind an `@`.
    #[error(
        "'{0}' is unknown; an envelope has @topic, @topic[0], @topic.name, @key, @timestamp, @partition, @offset \
         and @header.NAME"
    )]
    Envelope(String),
    /// A part of the envelope where an array of the record is needed.
    #[error(
        "'{0}' is no array of the record; write its keys separated by dots, or . for the record"
    )]
    NoArray(String),
    /// The place of an item on the way to an array whose items are taken.
    #[error(
        "'{place}' is the place of an item; explode takes all items of the arrays on the way: write {right}"
    )]
    Place {
        /// The number.
        place: String,
        /// The path without places.
        right: String,
    },
    /// The records of the pipeline have nothing there.
    #[error("{0}")]
    NotThere(String),
    /// A part of the envelope where a value of the record is needed.
    #[error("'{0}' is no value of the record; write its keys separated by dots")]
    NotInRecord(String),
}

impl FromStr for Path {
    type Err = InvalidPath;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(envelope) = text.strip_prefix('@') {
            return match envelope {
                "topic" => Ok(Self::Topic),
                "key" => Ok(Self::Key),
                "timestamp" => Ok(Self::Timestamp),
                "partition" => Ok(Self::Partition),
                "offset" => Ok(Self::Offset),
                _ => match envelope.strip_prefix("header.") {
                    // A header may have any name, with dots as well.
                    Some(name) if !name.is_empty() => Ok(Self::Header(name.to_owned())),
                    _ => of_topic(envelope).ok_or_else(|| InvalidPath::Envelope(text.to_owned())),
                },
            };
        }
        let keys: Vec<_> = text.split('.').map(str::to_owned).collect();
        if keys.iter().any(String::is_empty) {
            return Err(InvalidPath::Empty(text.to_owned()));
        }
        if keys.len() > MAX_KEYS {
            return Err(InvalidPath::TooDeep(keys.len()));
        }
        Ok(Self::Body(keys))
    }
}

/// A part of the topic: `topic[1]` or `topic.name`.
fn of_topic(text: &str) -> Option<Path> {
    if let Some(name) = text.strip_prefix("topic.") {
        return (!name.is_empty()).then(|| Path::TopicLevel(TopicLevel::new(name)));
    }
    let index = text.strip_prefix("topic[")?.strip_suffix(']')?;
    Some(Path::TopicSegment(index.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_keys_and_envelopes() {
        assert_eq!("rpm".parse(), Ok(Path::Body(vec!["rpm".into()])));
        assert_eq!(
            "engine.rpm".parse(),
            Ok(Path::Body(vec!["engine".into(), "rpm".into()]))
        );
        assert_eq!("@topic".parse(), Ok(Path::Topic));
        assert_eq!("@topic[12]".parse(), Ok(Path::TopicSegment(12)));
        assert_eq!(
            "@topic.region".parse(),
            Ok(Path::TopicLevel(TopicLevel::new("region")))
        );
        assert_eq!("@key".parse(), Ok(Path::Key));
        assert_eq!("@timestamp".parse(), Ok(Path::Timestamp));
        assert_eq!("@partition".parse(), Ok(Path::Partition));
        assert_eq!("@offset".parse(), Ok(Path::Offset));
        for name in ["tenant", "ce_type", "x.y-z", "header.a"] {
            let path = format!("@header.{name}").parse();
            assert_eq!(path, Ok(Path::Header(name.to_owned())));
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in ["", ".", "a.", ".a", "a..b"] {
            assert_eq!(text.parse::<Path>(), Err(InvalidPath::Empty(text.into())));
        }
        let deep = ["a"; 129].join(".");
        assert_eq!(deep.parse::<Path>(), Err(InvalidPath::TooDeep(129)));
        for text in [
            "@",
            "@topic[]",
            "@topic[-1]",
            "@topic[1",
            "@topic.",
            "@header",
            "@header.",
        ] {
            assert_eq!(
                text.parse::<Path>(),
                Err(InvalidPath::Envelope(text.into()))
            );
        }
    }

    #[test]
    fn a_named_level_is_that_of_the_first_template_that_has_it() {
        let templates = [
            "{region}/{vehicle}/speed",
            "{region}/#",
            "x/{kind}/{vehicle}",
        ];
        let templates: Vec<_> = templates.map(|text| Arc::new(text.parse().unwrap())).into();
        for (name, topic, expected) in [
            ("region", "UK/V7/speed", Some("UK")),
            ("vehicle", "UK/V7/speed", Some("V7")),
            ("vehicle", "x/y/z", Some("z")),
            ("region", "x/y/z", Some("x")),
            ("vehicle", "UK/V7", None),
            ("colour", "UK/V7/speed", None),
        ] {
            let mut level = TopicLevel::new(name);
            assert_eq!(level.of(topic.as_bytes()), None, "no templates yet");
            level.place(&templates);
            assert_eq!(
                level.of(topic.as_bytes()),
                expected.map(str::as_bytes),
                "{topic}"
            );
        }
    }
}
