//! Where the events go, as it is written on the command line.

use std::path::PathBuf;
use std::str::FromStr;

use crate::event::Event;

/// The port of a Kafka broker, unless one is given.
const KAFKA_PORT: u16 = 9_092;
/// The port of an MQTT broker, unless one is given.
const MQTT_PORT: u16 = 1_883;
/// What a placeholder in an MQTT topic can be.
const PLACEHOLDERS: [&str; 3] = ["{region}", "{vehicle}", "{kind}"];

/// Where the events go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Standard output, one event a line: `-` or `ndjson:-`.
    Stdout,
    /// A file, one event a line: `ndjson:PATH`.
    File(PathBuf),
    /// A Kafka topic: `kafka://host:port/topic`, with several brokers `host:port,host:port`.
    Kafka {
        /// The brokers, `host:port` separated by commas.
        brokers: String,
        /// The topic.
        topic: String,
    },
    /// Topics of an MQTT broker: `mqtt://host:port/topic`.
    Mqtt {
        /// The broker's name or address.
        host: String,
        /// The broker's port.
        port: u16,
        /// The topic, perhaps with placeholders.
        topic: TopicTemplate,
    },
}

/// An MQTT topic in which `{region}`, `{vehicle}` and `{kind}` stand for those of the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicTemplate(String);

impl TopicTemplate {
    /// The topic of an event.
    pub fn of(&self, event: &Event) -> String {
        if !self.0.contains('{') {
            return self.0.clone();
        }
        self.0
            .replace("{region}", event.region.name())
            .replace("{vehicle}", &event.vehicle_id().to_string())
            .replace("{kind}", event.kind.name())
    }
}

/// Why a text is no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTarget {
    /// No known form.
    #[error(
        "'{0}' is not a target; write -, ndjson:PATH, kafka://host:port/topic or \
         mqtt://host:port/topic"
    )]
    Form(String),
    /// A file without a name.
    #[error("'ndjson:' names no file; write ndjson:PATH, or ndjson:- for standard output")]
    NoPath,
    /// An address without a topic.
    #[error("'{0}' names no topic; write it after the address, as in {0}/vehicle-events")]
    NoTopic(String),
    /// An address without a host.
    #[error("'{0}' names no host; write one before the topic, as in kafka://127.0.0.1:9092/topic")]
    NoHost(String),
    /// A port that is none.
    #[error("'{port}' in '{address}' is not a port; it must be a number from 1 to 65535")]
    Port {
        /// The text in the port's place.
        port: String,
        /// The address.
        address: String,
    },
    /// A name that Kafka refuses.
    #[error(
        "'{0}' is not a Kafka topic; it must have 1 to 249 letters, digits, dots, underscores or \
         hyphens"
    )]
    KafkaTopic(String),
    /// A topic that cannot be published to.
    #[error("'{0}' is not an MQTT topic to publish to; leave out the wildcards + and #")]
    Wildcard(String),
    /// An unknown placeholder.
    #[error("'{0}' is not a placeholder; there are {{region}}, {{vehicle}} and {{kind}}")]
    Placeholder(String),
}

impl FromStr for Target {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "-" || text == "ndjson:-" {
            return Ok(Self::Stdout);
        }
        if let Some(path) = text.strip_prefix("ndjson:") {
            if path.is_empty() {
                return Err(InvalidTarget::NoPath);
            }
            return Ok(Self::File(PathBuf::from(path)));
        }
        if let Some(rest) = text.strip_prefix("kafka://") {
            return parse_kafka(text, rest);
        }
        if let Some(rest) = text.strip_prefix("mqtt://") {
            return parse_mqtt(text, rest);
        }
        Err(InvalidTarget::Form(text.to_owned()))
    }
}

fn parse_kafka(text: &str, rest: &str) -> Result<Target, InvalidTarget> {
    let (addresses, topic) = split_topic(text, rest)?;
    let mut brokers = Vec::new();
    for address in addresses.split(',') {
        let (host, port) = split_port(text, address, KAFKA_PORT)?;
        brokers.push(format!("{host}:{port}"));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if topic.len() > 249 || !topic.chars().all(allowed) || matches!(topic, "." | "..") {
        return Err(InvalidTarget::KafkaTopic(topic.to_owned()));
    }
    Ok(Target::Kafka {
        brokers: brokers.join(","),
        topic: topic.to_owned(),
    })
}

fn parse_mqtt(text: &str, rest: &str) -> Result<Target, InvalidTarget> {
    let (address, topic) = split_topic(text, rest)?;
    let (host, port) = split_port(text, address, MQTT_PORT)?;
    Ok(Target::Mqtt {
        host: host.to_owned(),
        port,
        topic: parse_topic(topic)?,
    })
}

fn split_topic<'a>(text: &str, rest: &'a str) -> Result<(&'a str, &'a str), InvalidTarget> {
    match rest.split_once('/') {
        Some((address, topic)) if !topic.is_empty() => Ok((address, topic)),
        _ => Err(InvalidTarget::NoTopic(
            text.trim_end_matches('/').to_owned(),
        )),
    }
}

fn split_port<'a>(
    text: &str,
    address: &'a str,
    default: u16,
) -> Result<(&'a str, u16), InvalidTarget> {
    // A colon inside the brackets of an IPv6 address begins no port.
    let after_host = address.rfind(']').map_or(0, |bracket| bracket + 1);
    let (host, port) = match address.rfind(':').filter(|colon| *colon >= after_host) {
        Some(colon) => (address.get(..colon), address.get(colon + 1..)),
        None => (Some(address), None),
    };
    let host = host.unwrap_or_default();
    if host.is_empty() {
        return Err(InvalidTarget::NoHost(text.to_owned()));
    }
    let Some(port) = port else {
        return Ok((host, default));
    };
    match port.parse() {
        Ok(number) if number != 0 => Ok((host, number)),
        _ => Err(InvalidTarget::Port {
            port: port.to_owned(),
            address: address.to_owned(),
        }),
    }
}

fn parse_topic(topic: &str) -> Result<TopicTemplate, InvalidTarget> {
    if topic.contains(['+', '#']) {
        return Err(InvalidTarget::Wildcard(topic.to_owned()));
    }
    let mut rest = topic;
    while let Some(start) = rest.find('{') {
        let tail = rest.get(start..).unwrap_or_default();
        let (placeholder, after) = match tail.find('}') {
            Some(end) => tail.split_at(end + 1),
            None => (tail, ""),
        };
        if !PLACEHOLDERS.contains(&placeholder) {
            return Err(InvalidTarget::Placeholder(placeholder.to_owned()));
        }
        rest = after;
    }
    Ok(TopicTemplate(topic.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Kind;
    use crate::region::Region;

    fn kafka(brokers: &str, topic: &str) -> Target {
        Target::Kafka {
            brokers: brokers.to_owned(),
            topic: topic.to_owned(),
        }
    }

    fn mqtt(host: &str, port: u16, topic: &str) -> Target {
        Target::Mqtt {
            host: host.to_owned(),
            port,
            topic: TopicTemplate(topic.to_owned()),
        }
    }

    #[test]
    fn reads_every_form() {
        let cases = [
            ("-", Target::Stdout),
            ("ndjson:-", Target::Stdout),
            (
                "ndjson:events.ndjson",
                Target::File(PathBuf::from("events.ndjson")),
            ),
            ("ndjson:/a b/c", Target::File(PathBuf::from("/a b/c"))),
            (
                "kafka://127.0.0.1:9093/vehicle-events",
                kafka("127.0.0.1:9093", "vehicle-events"),
            ),
            ("kafka://a,b:1,[::1]:2/t", kafka("a:9092,b:1,[::1]:2", "t")),
            ("mqtt://broker/fleet", mqtt("broker", 1_883, "fleet")),
            ("mqtt://[::1]/fleet", mqtt("[::1]", 1_883, "fleet")),
            (
                "mqtt://b:1884/f/{region}/{vehicle}",
                mqtt("b", 1_884, "f/{region}/{vehicle}"),
            ),
        ];
        for (text, target) in cases {
            assert_eq!(text.parse(), Ok(target), "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let cases = [
            (
                "events.ndjson",
                "'events.ndjson' is not a target; write -, ndjson:PATH, kafka://host:port/topic \
                 or mqtt://host:port/topic",
            ),
            (
                "ndjson:",
                "'ndjson:' names no file; write ndjson:PATH, or ndjson:- for standard output",
            ),
            (
                "kafka://h:1/",
                "'kafka://h:1' names no topic; write it after the address, as in \
                 kafka://h:1/vehicle-events",
            ),
            (
                "mqtt://h",
                "'mqtt://h' names no topic; write it after the address, as in \
                 mqtt://h/vehicle-events",
            ),
            (
                "kafka:///t",
                "'kafka:///t' names no host; write one before the topic, as in \
                 kafka://127.0.0.1:9092/topic",
            ),
            (
                "kafka://a:1,b:x/t",
                "'x' in 'b:x' is not a port; it must be a number from 1 to 65535",
            ),
            (
                "mqtt://a:0/t",
                "'0' in 'a:0' is not a port; it must be a number from 1 to 65535",
            ),
            (
                "mqtt://a:/t",
                "'' in 'a:' is not a port; it must be a number from 1 to 65535",
            ),
            (
                "kafka://a/b/c",
                "'b/c' is not a Kafka topic; it must have 1 to 249 letters, digits, dots, \
                 underscores or hyphens",
            ),
            (
                "mqtt://a/fleet/#",
                "'fleet/#' is not an MQTT topic to publish to; leave out the wildcards + and #",
            ),
            (
                "mqtt://a/{regoin}",
                "'{regoin}' is not a placeholder; there are {region}, {vehicle} and {kind}",
            ),
            (
                "mqtt://a/{kind",
                "'{kind' is not a placeholder; there are {region}, {vehicle} and {kind}",
            ),
        ];
        for (text, message) in cases {
            assert_eq!(text.parse::<Target>().unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn fills_the_placeholders_of_a_topic() {
        let event = Event {
            kind: Kind::Warnings,
            vehicle: 7,
            region: Region::NewZealand,
            timestamp_ms: 0,
            measurement: 0,
            emission_ms: 0,
        };
        let topic = parse_topic("a/{region}/{vehicle}/{kind}").unwrap();
        assert_eq!(topic.of(&event), "a/New Zealand/V0000000007/WARNINGS");
        assert_eq!(parse_topic("plain").unwrap().of(&event), "plain");
    }
}
