//! Sparkplug B (<https://sparkplug.eclipse.org/specification/version/3.0/>): each metric of a message of
//! births or data is an event.
//!
//! A birth says the names and types of metrics and may say numbers for them. Data leaves out the types, and says
//! the numbers alone where there are any. So what births have said is kept, and goes into checkpoints: see
//! [`SparkplugState`].

mod metric;
mod state;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use prometheus::IntCounter;

use super::events::{Events, Refusal};
use super::metrics::Reason;
use super::plan::{EntryPlan, Leaves, ObjectPlan, Scalar, Wanted};
use crate::model::SplitId;
use crate::model::protobuf::{Content, Fields, Malformed};
use metric::{Metric, hand_over_properties, type_name};
use state::{Names, Said};

pub use state::{Births, SparkplugState};

/// What a topic begins with.
const NAMESPACE: &str = "spBv1.0";

/// The metric by which a death says which birth it belongs to.
const BIRTH_DEATH: &str = "bdSeq";

/// What an event is made of, by the paths of fields.
const PARTS: [(&str, Part); 16] = [
    ("name", Part::Name),
    ("value", Part::Value),
    ("number", Part::Number),
    ("boolean", Part::Boolean),
    ("text", Part::Text),
    ("timestamp", Part::Timestamp),
    ("seq", Part::Seq),
    ("alias", Part::Alias),
    ("is_historical", Part::IsHistorical),
    ("is_transient", Part::IsTransient),
    ("is_null", Part::IsNull),
    ("datatype", Part::Datatype),
    ("message", Part::Message),
    ("group", Part::Group),
    ("node", Part::Node),
    ("device", Part::Device),
];

/// A part of an event.
#[derive(Debug, Clone, Copy)]
enum Part {
    Name,
    Value,
    /// The value, where it is of this kind.
    Number,
    Boolean,
    Text,
    Timestamp,
    Seq,
    Alias,
    IsHistorical,
    IsTransient,
    IsNull,
    Datatype,
    Message,
    Group,
    Node,
    Device,
}

/// Reads messages.
#[derive(Debug)]
pub(super) struct SparkplugReader {
    /// The parts that are wanted.
    parts: Vec<(Part, EntryPlan)>,
    /// The properties that are wanted.
    properties: Option<ObjectPlan>,
    /// What the births of each split have said.
    states: BTreeMap<SplitId, Arc<SparkplugState>>,
    /// The split of the batch at hand.
    split: SplitId,
    gaps: Option<IntCounter>,
}

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    NodeBirth,
    NodeData,
    NodeDeath,
    DeviceBirth,
    DeviceData,
    DeviceDeath,
}

/// What a topic says.
#[derive(Debug)]
struct Topic<'t> {
    kind: Kind,
    /// `NBIRTH` and so on.
    name: &'t str,
    group: &'t str,
    node: &'t str,
    /// Empty for the node itself.
    device: &'t str,
}

/// What a message says of itself.
#[derive(Debug, Default)]
struct Head {
    timestamp: Option<i64>,
    seq: Option<u64>,
}

/// What a birth says of the data behind it.
#[derive(Debug)]
struct Birth {
    names: Names,
    /// What the death that belongs to it will say.
    birth_death: Option<u64>,
}

impl Birth {
    fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        let (mut said, mut birth_death) = (Said::default(), None);
        for metric in Metric::all(bytes) {
            let metric = metric?;
            let name = metric.name.unwrap_or_default();
            if name == BIRTH_DEATH {
                birth_death = metric.number();
            }
            said.add(name, metric.alias, metric.datatype);
        }
        Ok(Self {
            names: said.names(),
            birth_death,
        })
    }
}

impl SparkplugReader {
    pub(super) fn new(wanted: &[Wanted]) -> Self {
        let plan = ObjectPlan::of(wanted);
        let parts = PARTS.iter().filter_map(|(key, part)| {
            let entry = plan.entry(key, &mut 0)?;
            Some((*part, entry.clone()))
        });
        let properties = plan.entry("properties", &mut 0);
        Self {
            parts: parts.collect(),
            properties: properties.and_then(|entry| entry.object.clone()),
            states: BTreeMap::new(),
            split: SplitId(0),
            gaps: None,
        }
    }

    /// A batch of a split comes next; messages that are missing are counted in `gaps`.
    pub(super) fn begin(&mut self, split: SplitId, gaps: &IntCounter) {
        self.split = split;
        if self.gaps.is_none() {
            self.gaps = Some(gaps.clone());
        }
    }

    /// What is known of a split.
    pub(super) fn state(&self, split: SplitId) -> Option<Arc<SparkplugState>> {
        self.states.get(&split).cloned()
    }

    /// A split goes on with what was known of it; nothing where it is somebody else's.
    pub(super) fn set_state(&mut self, split: SplitId, state: Option<Arc<SparkplugState>>) {
        match state {
            Some(state) => self.states.insert(split, state),
            None => self.states.remove(&split),
        };
    }

    /// Hands over the events of a message.
    ///
    /// # Errors
    /// It is broken as a whole, or its topic is none of Sparkplug B.
    pub(super) fn read(&mut self, bytes: &[u8], events: &mut Events<'_>) -> Result<(), Refusal> {
        let topic = std::str::from_utf8(events.topic())
            .map_err(|error| (Reason::InvalidUtf8, format!("the topic: {error}")))?;
        let Some(topic) = Topic::parse(topic)? else {
            // Commands, and the states of hosts: nothing that was measured.
            return Ok(());
        };
        let key = format!("{}/{}", topic.group, topic.node);
        let head = Head::read(bytes).inspect_err(|_| self.head_refused(&topic, &key))?;
        let taken = match topic.kind {
            Kind::NodeBirth | Kind::DeviceBirth => self.birth(bytes, &head, &topic, &key, events),
            Kind::NodeData | Kind::DeviceData => self.data(bytes, &head, &topic, &key, events),
            Kind::NodeDeath => {
                let birth_death = birth_death(bytes)?;
                self.change().node_death(&key, birth_death);
                return Ok(());
            }
            Kind::DeviceDeath => {
                self.change().device_death(&key, topic.device);
                Ok(())
            }
        };
        // A node's birth begins the sequence. A message that is refused has come, and is not missing.
        if topic.kind != Kind::NodeBirth
            && let Some(seq) = head.seq
            && self.change().is_gap(&key, seq)
            && let Some(gaps) = &self.gaps
        {
            gaps.inc();
        }
        taken
    }

    fn change(&mut self) -> &mut SparkplugState {
        Arc::make_mut(self.states.entry(self.split).or_default())
    }

    /// The number of a message cannot be read: whether one is missing before the next cannot be told.
    fn head_refused(&mut self, topic: &Topic<'_>, key: &str) {
        self.birth_refused(topic, key);
        if self.states.contains_key(&self.split) && topic.kind != Kind::NodeDeath {
            self.change().forget_sequence(key);
        }
    }

    /// A message cannot be read: if it was a birth, what an earlier one has said is true no more.
    fn birth_refused(&mut self, topic: &Topic<'_>, key: &str) {
        if !self.states.contains_key(&self.split) {
            return;
        }
        match topic.kind {
            Kind::NodeBirth => self.change().node_death(key, None),
            Kind::DeviceBirth => self.change().device_death(key, topic.device),
            _ => {}
        }
    }

    fn birth(
        &mut self,
        bytes: &[u8],
        head: &Head,
        topic: &Topic<'_>,
        key: &str,
        events: &mut Events<'_>,
    ) -> Result<(), Refusal> {
        let Birth { names, birth_death } =
            Birth::read(bytes).inspect_err(|_| self.birth_refused(topic, key))?;
        let state = self.change();
        let taken = match topic.kind {
            Kind::NodeBirth => state.node_birth(key, head.seq, birth_death, names),
            _ => state.device_birth(key, topic.device, names),
        };
        taken.map_err(|message| (Reason::TooManyNames, message))?;
        // The names hold, also where an event of the birth is refused.
        for metric in Metric::all(bytes) {
            let metric = metric?;
            let name = metric.name.unwrap_or_default();
            self.event(&metric, name, metric.datatype, head, topic, events)?;
        }
        Ok(())
    }

    fn data(
        &mut self,
        bytes: &[u8],
        head: &Head,
        topic: &Topic<'_>,
        key: &str,
        events: &mut Events<'_>,
    ) -> Result<(), Refusal> {
        let names = self
            .states
            .get(&self.split)
            .and_then(|state| state.names(key, topic.device));
        for metric in Metric::all(bytes) {
            let metric = metric?;
            let alias = metric.alias;
            let aliased = alias.and_then(|alias| names.as_ref()?.aliased(alias));
            // A name that data says itself holds.
            let own = metric.name.filter(|name| !name.is_empty());
            let Some(name) = own.or_else(|| aliased.map(|aliased| &*aliased.name)) else {
                let detail = match alias {
                    Some(alias) => format!(
                        "alias {alias} of {key}{}{}: no birth has said its name",
                        if topic.device.is_empty() { "" } else { "/" },
                        topic.device
                    ),
                    None => "a metric without a name and an alias".to_owned(),
                };
                events.refuse(Reason::UnknownAlias, detail)?;
                continue;
            };
            let named = names.as_ref().and_then(|names| names.named(own?));
            let born = named.or(aliased).map(|born| born.datatype);
            let datatype = metric.datatype.or(born);
            self.event(&metric, name, datatype, head, topic, events)?;
        }
        Ok(())
    }

    fn event(
        &self,
        metric: &Metric<'_>,
        name: &str,
        datatype: Option<u32>,
        head: &Head,
        topic: &Topic<'_>,
        events: &mut Events<'_>,
    ) -> Result<(), Refusal> {
        let value = metric.value(datatype)?;
        let text = |text| Scalar::Text(Cow::Borrowed(text));
        let only = |is_kind: bool| match is_kind {
            true => value.clone(),
            false => Scalar::Null,
        };
        for (part, entry) in &self.parts {
            let found = match part {
                Part::Name => Some(text(name)),
                Part::Value => Some(value.clone()),
                Part::Number => {
                    let is_number = matches!(value, Scalar::Integer(_) | Scalar::Number(_));
                    Some(only(is_number))
                }
                Part::Boolean => Some(only(matches!(value, Scalar::Boolean(_)))),
                Part::Text => Some(only(matches!(value, Scalar::Text(_)))),
                Part::Timestamp => {
                    let timestamp = metric.timestamp.or(head.timestamp);
                    timestamp.map(|ms| Scalar::Time { raw: ms, ms })
                }
                Part::Seq => whole(head.seq),
                Part::Alias => whole(metric.alias),
                Part::IsHistorical => Some(Scalar::Boolean(metric.is_historical)),
                Part::IsTransient => Some(Scalar::Boolean(metric.is_transient)),
                Part::IsNull => Some(Scalar::Boolean(metric.is_null)),
                Part::Datatype => datatype.and_then(type_name).map(text),
                Part::Message => Some(text(topic.name)),
                Part::Group => Some(text(topic.group)),
                Part::Node => Some(text(topic.node)),
                Part::Device if topic.device.is_empty() => None,
                Part::Device => Some(text(topic.device)),
            };
            if let Some(found) = found {
                entry.hand_over(&found, events);
            }
        }
        if let (Some(wanted), Some(properties)) = (&self.properties, metric.properties) {
            hand_over_properties(properties, wanted, events as &mut dyn Leaves, 0)?;
        }
        events.end()
    }
}

fn whole(number: Option<u64>) -> Option<Scalar<'static>> {
    let number = i64::try_from(number?).ok()?;
    Some(Scalar::Integer(number))
}

impl<'t> Topic<'t> {
    /// Nothing for messages that measure nothing.
    fn parse(topic: &'t str) -> Result<Option<Self>, Refusal> {
        let parts: Vec<_> = topic.split('/').collect();
        let (group, name, node, device) = match parts.as_slice() {
            [NAMESPACE, "STATE", ..] => return Ok(None),
            [NAMESPACE, group, name, node] => (*group, *name, *node, ""),
            [NAMESPACE, group, name, node, device] if !device.is_empty() => {
                (*group, *name, *node, *device)
            }
            _ => {
                return Err(broken(format!(
                    "the topic '{topic}' is none of Sparkplug B"
                )));
            }
        };
        let kind = match (name, device.is_empty()) {
            ("NBIRTH", true) => Kind::NodeBirth,
            ("NDATA", true) => Kind::NodeData,
            ("NDEATH", true) => Kind::NodeDeath,
            ("DBIRTH", false) => Kind::DeviceBirth,
            ("DDATA", false) => Kind::DeviceData,
            ("DDEATH", false) => Kind::DeviceDeath,
            ("NCMD", true) | ("DCMD", false) => return Ok(None),
            _ => {
                return Err(broken(format!(
                    "the topic '{topic}' is none of Sparkplug B"
                )));
            }
        };
        Ok(Some(Self {
            kind,
            name,
            group,
            node,
            device,
        }))
    }
}

fn broken(message: impl Into<String>) -> Refusal {
    (Reason::Malformed, message.into())
}

fn malformed(error: Malformed) -> Refusal {
    broken(error.to_string())
}

impl Head {
    fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        let mut head = Self::default();
        for field in Fields::of(bytes) {
            match field.map_err(malformed)? {
                (1, Content::Varint(ms)) => head.timestamp = i64::try_from(ms).ok(),
                (3, Content::Varint(seq)) => head.seq = Some(seq),
                _ => {}
            }
        }
        Ok(head)
    }
}

/// Which birth a death belongs to.
fn birth_death(bytes: &[u8]) -> Result<Option<u64>, Refusal> {
    for metric in Metric::all(bytes) {
        let metric = metric?;
        if metric.name == Some(BIRTH_DEATH) {
            return Ok(metric.number());
        }
    }
    Ok(None)
}
