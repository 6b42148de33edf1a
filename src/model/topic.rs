//! Topic filters of MQTT whose levels may have names: `fleet/{region}/{vehicle}/telemetry`.

use std::str::FromStr;

use memchr::memchr;

/// What a shared subscription begins with, before the name of its group.
const SHARED: &str = "$share/";

/// A topic filter. A level `{name}` stands for one level of the topic as `+` does, a last level
/// `{name...}` for all the rest as `#` does, and what stands there in a topic has that name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicTemplate {
    filter: String,
    levels: Vec<Level>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Level {
    Literal(String),
    /// Any one level.
    One(Option<String>),
    /// All that is left, which may be nothing. It is the last.
    Rest(Option<String>),
}

/// Why a text is no topic filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTopic {
    /// A wildcard in the wrong place, nothing at all, or too much.
    #[error("'{0}' is not a topic filter; '+' stands for one whole level and '#' for all the rest")]
    Filter(String),
    /// The name of the group of a shared subscription.
    #[error("'{0}' is not a shared subscription; write it as $share/group/filter")]
    Shared(String),
    /// Braces without a name.
    #[error(
        "'{level}' in '{filter}' names no level; write {{vehicle}} for a whole level, or \
         {{rest...}} for all the rest"
    )]
    Name {
        /// The level.
        level: String,
        /// The filter that has it.
        filter: String,
    },
    /// Two levels of one name.
    #[error("'{filter}' has two levels named '{name}'")]
    Twice {
        /// Their name.
        name: String,
        /// The filter that has them.
        filter: String,
    },
}

impl FromStr for TopicTemplate {
    type Err = InvalidTopic;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidTopic::Filter(text.to_owned());
        if text.len() > usize::from(u16::MAX) || text.contains('\0') {
            return Err(invalid());
        }
        let (prefix, topic) = split_share(text)?;
        if topic.is_empty() {
            return Err(invalid());
        }
        let mut template = Self {
            filter: prefix.to_owned(),
            levels: Vec::new(),
        };
        let last = topic.split('/').count() - 1;
        for (index, part) in topic.split('/').enumerate() {
            let level = Level::parse(part, text)?;
            if matches!(level, Level::Rest(_)) && index != last {
                return Err(invalid());
            }
            if let Some(name) = level.name().filter(|name| template.find(name).is_some()) {
                return Err(InvalidTopic::Twice {
                    name: name.to_owned(),
                    filter: text.to_owned(),
                });
            }
            if index > 0 {
                template.filter.push('/');
            }
            template.filter.push_str(match &level {
                Level::Literal(text) => text,
                Level::One(_) => "+",
                Level::Rest(_) => "#",
            });
            template.levels.push(level);
        }
        Ok(template)
    }
}

/// `$share/group/`, where there is such a thing, and the rest.
fn split_share(text: &str) -> Result<(&str, &str), InvalidTopic> {
    let Some(rest) = text.strip_prefix(SHARED) else {
        return Ok(("", text));
    };
    let shared = rest.split_once('/').filter(|(group, filter)| {
        !group.is_empty() && !group.contains(['+', '#', '{', '}']) && !filter.is_empty()
    });
    let Some((_, filter)) = shared else {
        return Err(InvalidTopic::Shared(text.to_owned()));
    };
    Ok(text.split_at(text.len() - filter.len()))
}

impl Level {
    fn parse(part: &str, filter: &str) -> Result<Self, InvalidTopic> {
        match part {
            "+" => return Ok(Self::One(None)),
            "#" => return Ok(Self::Rest(None)),
            _ => {}
        }
        if part.contains(['{', '}']) {
            let inner = part
                .strip_prefix('{')
                .and_then(|part| part.strip_suffix('}'));
            let rest = inner.and_then(|inner| inner.strip_suffix("..."));
            return match (inner, rest) {
                (_, Some(name)) if is_name(name) => Ok(Self::Rest(Some(name.to_owned()))),
                (Some(name), None) if is_name(name) => Ok(Self::One(Some(name.to_owned()))),
                _ => Err(InvalidTopic::Name {
                    level: part.to_owned(),
                    filter: filter.to_owned(),
                }),
            };
        }
        if part.contains(['+', '#']) {
            return Err(InvalidTopic::Filter(filter.to_owned()));
        }
        Ok(Self::Literal(part.to_owned()))
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Literal(_) => None,
            Self::One(name) | Self::Rest(name) => name.as_deref(),
        }
    }
}

/// Letters, digits and `_`, a letter or `_` first.
fn is_name(text: &str) -> bool {
    let mut letters = text.chars();
    letters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

impl TopicTemplate {
    /// What is subscribed to: wildcards in the place of names.
    pub fn filter(&self) -> &str {
        &self.filter
    }

    /// Whether it is a shared subscription.
    pub fn is_shared(&self) -> bool {
        self.filter.starts_with(SHARED)
    }

    /// The names of its levels, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.levels.iter().filter_map(Level::name)
    }

    /// The place of the level with a name, for [`capture`](Self::capture).
    pub fn find(&self, name: &str) -> Option<usize> {
        self.levels
            .iter()
            .position(|level| level.name() == Some(name))
    }

    /// What stands at a place of a topic: of a last `{name...}`, all the rest. Nothing where the
    /// topic is not one of this filter.
    pub fn capture<'t>(&self, topic: &'t [u8], place: usize) -> Option<&'t [u8]> {
        self.follow(topic, place)?
    }

    /// Whether a topic is one of this filter.
    pub fn matches(&self, topic: &[u8]) -> bool {
        self.follow(topic, usize::MAX).is_some()
    }

    /// What stands at a place, if anything, of a topic that is one of this filter.
    fn follow<'t>(&self, topic: &'t [u8], place: usize) -> Option<Option<&'t [u8]>> {
        // Topics of the broker's own are not meant by a wildcard at the beginning.
        let is_own = topic.starts_with(b"$");
        if is_own && !matches!(self.levels.first(), Some(Level::Literal(_))) {
            return None;
        }
        let mut captured = None;
        let mut left = Some(topic);
        for (index, level) in self.levels.iter().enumerate() {
            if let Level::Rest(_) = level {
                return Some(if index == place { left } else { captured });
            }
            let here = left?;
            let part;
            (part, left) = match memchr(b'/', here) {
                Some(end) => (here.get(..end)?, here.get(end + 1..)),
                None => (here, None),
            };
            if let Level::Literal(text) = level
                && text.as_bytes() != part
            {
                return None;
            }
            if index == place {
                captured = Some(part);
            }
        }
        left.is_none().then_some(captured)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn template(text: &str) -> TopicTemplate {
        text.parse().unwrap()
    }

    /// What a name stands for in a topic.
    fn value<'t>(text: &str, name: &str, topic: &'t str) -> Option<&'t str> {
        let template = template(text);
        let place = template.find(name).unwrap();
        let captured = template.capture(topic.as_bytes(), place)?;
        Some(std::str::from_utf8(captured).unwrap())
    }

    #[test]
    fn names_are_wildcards_to_the_broker() {
        for (text, filter, names) in [
            (
                "fleet/{region}/{vehicle}/telemetry",
                "fleet/+/+/telemetry",
                "region vehicle",
            ),
            ("{a}/+/{rest...}", "+/+/#", "a rest"),
            ("$share/weir/fleet/{v}/#", "$share/weir/fleet/+/#", "v"),
            ("fleet/#", "fleet/#", ""),
            ("/", "/", ""),
            ("#", "#", ""),
            ("$SYS/broker/{what}", "$SYS/broker/+", "what"),
        ] {
            let template = template(text);
            assert_eq!(template.filter(), filter);
            assert_eq!(template.names().collect::<Vec<_>>().join(" "), names);
        }
    }

    #[test]
    fn a_name_stands_for_what_is_in_the_topic() {
        let fleet = "fleet/{region}/{vehicle}/telemetry";
        assert_eq!(value(fleet, "region", "fleet/UK/V7/telemetry"), Some("UK"));
        assert_eq!(value(fleet, "vehicle", "fleet/UK/V7/telemetry"), Some("V7"));
        assert_eq!(value(fleet, "vehicle", "fleet/UK//telemetry"), Some(""));
        for other in [
            "fleet/UK/V7",
            "fleet/UK/V7/status",
            "fleet/UK/V7/telemetry/more",
            "trucks/UK/V7/telemetry",
            "",
        ] {
            assert_eq!(value(fleet, "region", other), None, "{other}");
        }
        let shared = "$share/weir/fleet/{region}/#";
        assert_eq!(value(shared, "region", "fleet/UK/V7/x"), Some("UK"));
        assert_eq!(value(shared, "region", "fleet/UK"), Some("UK"));
    }

    #[test]
    fn a_filter_matches_its_topics() {
        for (filter, topic, expected) in [
            ("fleet/{region}/#", "fleet/UK/V7/x", true),
            ("fleet/{region}/#", "fleet/UK", true),
            ("fleet/{region}/#", "fleet", false),
            ("$share/weir/fleet/+", "fleet/UK", true),
            ("fleet/+", "fleet/UK/V7", false),
            ("#", "a", true),
            ("#", "$SYS/uptime", false),
            ("a", "", false),
        ] {
            let matches = template(filter).matches(topic.as_bytes());
            assert_eq!(matches, expected, "{filter} {topic}");
        }
    }

    #[test]
    fn the_last_name_can_stand_for_all_the_rest() {
        let all = "fleet/{region}/{rest...}";
        assert_eq!(value(all, "rest", "fleet/UK/V7/a/b"), Some("V7/a/b"));
        assert_eq!(value(all, "rest", "fleet/UK/"), Some(""));
        assert_eq!(value(all, "rest", "fleet/UK"), None);
        assert_eq!(value(all, "region", "fleet/UK"), Some("UK"));
        assert_eq!(value("{all...}", "all", "a/b"), Some("a/b"));
        assert_eq!(value("{all...}", "all", "$SYS/uptime"), None);
        assert_eq!(
            value("$SYS/{what...}", "what", "$SYS/uptime"),
            Some("uptime")
        );
    }

    #[test]
    fn what_is_no_filter_is_told() {
        for (text, message) in [
            (
                "fleet/a#",
                "'fleet/a#' is not a topic filter; '+' stands for one whole level and '#' for all \
                 the rest",
            ),
            (
                "fleet/#/a",
                "'fleet/#/a' is not a topic filter; '+' stands for one whole level and '#' for all \
                 the rest",
            ),
            (
                "",
                "'' is not a topic filter; '+' stands for one whole level and '#' for all the rest",
            ),
            (
                "fleet/v{id}",
                "'v{id}' in 'fleet/v{id}' names no level; write {vehicle} for a whole level, or \
                 {rest...} for all the rest",
            ),
            (
                "fleet/{}",
                "'{}' in 'fleet/{}' names no level; write {vehicle} for a whole level, or \
                 {rest...} for all the rest",
            ),
            ("{a}/{a}", "'{a}/{a}' has two levels named 'a'"),
            (
                "$share/weir",
                "'$share/weir' is not a shared subscription; write it as $share/group/filter",
            ),
            (
                "$share/we+ir/a",
                "'$share/we+ir/a' is not a shared subscription; write it as $share/group/filter",
            ),
        ] {
            let error = text.parse::<TopicTemplate>().unwrap_err();
            assert_eq!(error.to_string(), message);
        }
        for text in [
            "{rest...}/a",
            "{1a}/b",
            "{a b}",
            "{a",
            "a}",
            "{...}",
            "a\0b",
        ] {
            assert!(text.parse::<TopicTemplate>().is_err(), "{text}");
        }
    }

    /// Whether a topic is one of a filter, and what stands at each level, by the words of the
    /// standard.
    fn naive(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            ([], []) | (["#"], _) => true,
            (["+", filter @ ..], [_, topic @ ..]) => naive(filter, topic),
            ([literal, filter @ ..], [level, topic @ ..]) => {
                literal == level && naive(filter, topic)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn anything_is_a_filter_or_is_told(text: String, topic: Vec<u8>) {
            if let Ok(template) = text.parse::<TopicTemplate>() {
                let names: Vec<_> = template.names().map(str::to_owned).collect();
                for name in names {
                    let place = template.find(&name).unwrap();
                    if let Some(part) = template.capture(&topic, place) {
                        prop_assert!(part.len() <= topic.len());
                    }
                }
            }
        }

        #[test]
        fn captures_what_the_standard_matches(
            levels in proptest::collection::vec(0_usize..4, 1..5),
            has_rest: bool,
            topic in proptest::collection::vec("[ab]{0,1}", 1..7),
        ) {
            let mut parts: Vec<String> = levels
                .iter()
                .enumerate()
                .map(|(index, kind)| match kind {
                    0 => "a".to_owned(),
                    1 => "b".to_owned(),
                    2 => "+".to_owned(),
                    _ => format!("{{l{index}}}"),
                })
                .collect();
            if has_rest {
                parts.push("{rest...}".to_owned());
            }
            let template = template(&parts.join("/"));
            let filter: Vec<_> = template.filter().split('/').collect();
            let levels: Vec<_> = topic.iter().map(String::as_str).collect();
            let matches = naive(&filter, &levels);
            let text = topic.join("/");
            for (index, part) in parts.iter().enumerate() {
                let Some(name) = part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) else {
                    continue;
                };
                let expected = match name.strip_suffix("...") {
                    _ if !matches => None,
                    Some(_) if index < levels.len() => Some(levels[index..].join("/")),
                    Some(_) => None,
                    None => Some(levels[index].to_owned()),
                };
                let place = template.find(name.trim_end_matches('.')).unwrap();
                let captured = template.capture(text.as_bytes(), place);
                let captured = captured.map(|part| String::from_utf8_lossy(part).into_owned());
                prop_assert_eq!(captured, expected);
            }
        }
    }
}
