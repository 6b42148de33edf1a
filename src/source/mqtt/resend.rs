//! Messages that are published to their topics again.

use std::fmt;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::super::SourceError;
use super::super::config::MqttConfig;
use super::super::endpoint::{Endpoint, InvalidEndpoint};
use super::super::resend::{Resent, ResentRecord, Unsent};
use super::broker::names;
use super::client::{Events, Incoming, Requests};
use super::failure::Failure;
use super::options::Connecting;
use crate::model::{Clock, TopicTemplate};

/// How long a message may be on its way, with the connection before it.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Publishes messages with QoS 1, one after the other.
pub(in crate::source) struct MqttResend {
    runtime: Runtime,
    links: Vec<Link>,
}

/// The way to a broker.
struct Link {
    /// Its name in messages: `mqtt 127.0.0.1:1883`.
    name: String,
    connecting: Connecting,
    /// What the pipeline takes from it.
    templates: Vec<TopicTemplate>,
    /// Once something was published.
    open: Option<(Requests, Events)>,
}

impl fmt::Debug for MqttResend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.links.iter().map(|link| &link.name).collect();
        f.debug_struct("MqttResend")
            .field("links", &names)
            .finish_non_exhaustive()
    }
}

impl MqttResend {
    /// Checks the settings; does not connect yet.
    ///
    /// # Errors
    /// A URL is none, or a file cannot be read.
    pub(in crate::source) fn new(config: &MqttConfig, pipeline: &str) -> Result<Self, SourceError> {
        let brokers = config.each().into_iter();
        let links = brokers.map(|(label, settings)| Link::new(label, settings, pipeline));
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime =
            runtime.map_err(|error| SourceError::new("mqtt", format!("cannot start: {error}")))?;
        Ok(Self {
            runtime,
            links: links.collect::<Result<_, _>>()?,
        })
    }

    /// Publishes messages in their order, until a broker does not answer. Of several brokers, the first is
    /// taken from which the pipeline would get the topic.
    pub(in crate::source) fn send(&mut self, records: &[ResentRecord]) -> Resent {
        let mut resent = Resent::default();
        for (number, record) in records.iter().enumerate() {
            let sent = match self.links.iter_mut().find(|link| link.takes(record)) {
                Some(link) => self.runtime.block_on(link.send(record)),
                None => {
                    let topic = String::from_utf8_lossy(&record.topic);
                    let message = format!("the pipeline takes nothing from topic '{topic}'");
                    Err(Unsent::Refused(message))
                }
            };
            if !resent.note(number, sent) {
                break;
            }
        }
        resent
    }
}

impl Link {
    fn new(label: Option<&str>, settings: MqttConfig, pipeline: &str) -> Result<Self, SourceError> {
        let url = settings.url.as_deref().unwrap_or_default();
        let endpoint: Endpoint = url
            .parse()
            .map_err(|error: InvalidEndpoint| SourceError::new("mqtt", error.to_string()))?;
        let (name, derived) = names(label, &endpoint, pipeline);
        // Beside the session of the pipeline, which must go on.
        let client_id = settings.client_id.clone().unwrap_or(derived) + "-replay";
        let topics = settings.topics.iter();
        let templates = topics.filter_map(|topic| topic.parse().ok()).collect();
        let connecting = Connecting::new(settings, endpoint, client_id, 1, Clock::System);
        connecting
            .options()
            .map_err(|message| SourceError::new(&name, message))?;
        Ok(Self {
            name,
            connecting,
            templates,
            open: None,
        })
    }

    fn takes(&self, record: &ResentRecord) -> bool {
        let mut templates = self.templates.iter();
        templates.any(|template| template.matches(&record.topic))
    }

    async fn send(&mut self, record: &ResentRecord) -> Result<(), Unsent> {
        let published = timeout(TIMEOUT, self.publish(record)).await;
        let silence = |_| Err(Unsent::Failed(format!("no answer within {TIMEOUT:?}")));
        published
            .unwrap_or_else(silence)
            .map_err(|error| match error {
                Unsent::Failed(message) => Unsent::Failed(format!("{}: {message}", self.name)),
                refused => refused,
            })
    }

    async fn publish(&mut self, record: &ResentRecord) -> Result<(), Unsent> {
        let topic = std::str::from_utf8(&record.topic);
        let topic = topic.map_err(|error| Unsent::Refused(error.to_string()))?;
        let (requests, events) = match &mut self.open {
            Some(open) => open,
            None => {
                let options = self.connecting.fresh(0).await?;
                self.open.insert(options.for_publishing().client())
            }
        };
        requests.publish(topic, record.bytes.clone())?;
        loop {
            if let Incoming::Acknowledged(answer) = events.poll().await.map_err(told)? {
                return answer;
            }
        }
    }
}

fn told(failure: Failure) -> String {
    match failure {
        Failure::Refused { reason, .. } => format!("the broker refuses us: {reason}"),
        Failure::TooLarge(bytes) => format!("the broker has sent a packet of {bytes} bytes"),
        Failure::Lost(words) => words,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_topic_that_is_not_subscribed_to_any_more_holds_up_no_other() {
        let config = serde_json::json!({ "url": "mqtt://127.0.0.1:1", "topics": ["fleet/#"] });
        let config: MqttConfig = serde_json::from_value(config).unwrap();
        let mut resend = MqttResend::new(&config, "cars").unwrap();
        let records = ["vans/1", "vans/2", "fleet/1", "vans/3"].map(|topic| ResentRecord {
            id: String::new(),
            topic: topic.as_bytes().to_vec(),
            key: Vec::new(),
            headers: BTreeMap::new(),
            timestamp_ms: None,
            bytes: b"{}".to_vec(),
        });
        let resent = resend.send(&records);
        assert_eq!(resent.acknowledged, [0; 0]);
        let refused = ["vans/1", "vans/2"]
            .map(|topic| format!("the pipeline takes nothing from topic '{topic}'"));
        assert_eq!(
            resent.refused,
            refused.into_iter().enumerate().collect::<Vec<_>>()
        );
        // Nobody listens there: the way is closed for those behind it, too.
        let error = resent.error.unwrap();
        assert!(error.starts_with("mqtt 127.0.0.1:1: "), "{error}");
    }
}
