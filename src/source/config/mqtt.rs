//! The section `source.mqtt` of a pipeline file.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Findings;
use crate::model::{Duration, Secret, SignerConfig, TopicTemplate};
use crate::source::endpoint::Endpoint;

/// The smallest and greatest seconds that MQTT's keep-alive can be.
const KEEP_ALIVE_SECS: (u64, u64) = (5, 65_535);

/// The smallest and greatest packet limits, bytes; the greatest is that of the protocol.
const PACKET_BYTES: (u32, u32) = (1_024, 268_435_455);

/// The longest name of a protocol for ALPN (RFC 7301), bytes.
const LONGEST_ALPN: usize = 255;

/// MQTT brokers. Messages are received with QoS 1 in a session that outlives a restart.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MqttConfig {
    /// Where the broker is: `mqtt://host:1883`, `mqtts://host:8883` for TLS, or `ws://host/mqtt` and
    /// `wss://host/mqtt` for a WebSocket. Several brokers are written as `brokers`.
    #[serde(default)]
    pub url: Option<String>,
    /// Several brokers, each with a session of its own. What one does not say for itself holds as it
    /// stands beside this list.
    #[serde(default)]
    pub brokers: Vec<BrokerConfig>,
    /// The version of the protocol.
    #[serde(default)]
    pub protocol: MqttProtocol,
    /// The client id, which the broker knows the session by: every instance needs its own, and the
    /// same one after a restart. `weir-` and the pipeline's name where it is left out, and after that
    /// the name of the broker where there are several.
    #[serde(default)]
    pub client_id: Option<String>,
    /// Topic filters: `fleet/+/telemetry`, `fleet/#`, `$share/weir/fleet/#`. A level can have a name,
    /// as in `fleet/{region}/{vehicle}/telemetry`, to be a field from `@topic.region`.
    #[serde(default)]
    pub topics: Vec<String>,
    /// What becomes of messages that the broker has kept for those who subscribe.
    #[serde(default)]
    pub retained: Retained,
    /// How long the broker keeps messages for us while we are away. With protocol 3.1.1 the broker
    /// decides.
    #[serde(default = "default_session_expiry")]
    pub session_expiry: Duration,
    /// After how long without messages the connection is probed.
    #[serde(default = "default_keep_alive")]
    pub keep_alive: Duration,
    /// The user name.
    #[serde(default)]
    pub username: Option<String>,
    /// The password. Better: `password_file`.
    #[serde(default)]
    pub password: Option<Secret>,
    /// A file with the password, read again for every connection; a line end at its end does not
    /// count.
    #[serde(default)]
    pub password_file: Option<String>,
    /// Certificates, for `mqtts://` and `wss://`.
    #[serde(default)]
    pub tls: Option<MqttTlsConfig>,
    /// Who signs the request for a WebSocket, for AWS IoT Core.
    #[serde(default)]
    pub sigv4: Option<SignerConfig>,
    /// The greatest packet that the broker may send, in bytes. It leaves out greater ones; with
    /// protocol 3.1.1, where it cannot be told, they are dropped by us, and those of more than four times as
    /// much are never received.
    #[serde(default = "default_max_packet_bytes")]
    pub max_packet_bytes: u32,
}

/// One of several brokers. What it does not say for itself holds as in the section around it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BrokerConfig {
    /// Its name in the state, the metrics and messages, which must stay the same.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// The client id.
    #[serde(default)]
    pub client_id: Option<String>,
    /// Topic filters.
    #[serde(default)]
    pub topics: Option<Vec<String>>,
    /// The user name. It takes the place of password and `password_file` as well.
    #[serde(default)]
    pub username: Option<String>,
    /// The password. Better: `password_file`.
    #[serde(default)]
    pub password: Option<Secret>,
    /// A file with the password.
    #[serde(default)]
    pub password_file: Option<String>,
    /// Certificates, for `mqtts://` and `wss://`.
    #[serde(default)]
    pub tls: Option<MqttTlsConfig>,
    /// Who signs the request for a WebSocket, for AWS IoT Core.
    #[serde(default)]
    pub sigv4: Option<SignerConfig>,
}

/// A version of MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum MqttProtocol {
    /// Version 5.
    #[default]
    #[serde(rename = "5")]
    Five,
    /// Version 3.1.1.
    #[serde(rename = "3.1.1")]
    Three,
}

/// What becomes of retained messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Retained {
    /// They count as any other, once for each new subscription.
    #[default]
    Use,
    /// They are left out.
    Ignore,
}

/// Certificates as PEM files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MqttTlsConfig {
    /// Certificate authorities to trust instead of the system's.
    #[serde(default)]
    pub ca_file: Option<String>,
    /// Our certificate, with its chain, where the broker asks for one.
    #[serde(default)]
    pub cert_file: Option<String>,
    /// The key of our certificate.
    #[serde(default)]
    pub key_file: Option<String>,
    /// The protocol to name in the TLS handshake (ALPN): `x-amzn-mqtt-ca` for port 443 of AWS IoT
    /// Core.
    #[serde(default)]
    pub alpn: Option<String>,
}

fn default_session_expiry() -> Duration {
    Duration::from_secs(3_600)
}

fn default_keep_alive() -> Duration {
    Duration::from_secs(30)
}

/// A record of the default greatest size, and room for its topic and properties.
fn default_max_packet_bytes() -> u32 {
    (1_024 + 64) * 1_024
}

impl MqttConfig {
    /// The settings of each broker with its name, which is none where there is only `url`. Each has
    /// its `url` and no `brokers`.
    pub fn each(&self) -> Vec<(Option<&str>, Self)> {
        if self.brokers.is_empty() {
            return vec![(None, self.clone())];
        }
        let settings = |broker: &BrokerConfig| self.of_broker(broker);
        self.brokers
            .iter()
            .map(|broker| (Some(broker.name.as_str()), settings(broker)))
            .collect()
    }

    fn of_broker(&self, broker: &BrokerConfig) -> Self {
        let endpoint = broker.url.parse::<Endpoint>();
        let (speaks_tls, is_web) = endpoint.map_or((true, true), |endpoint| {
            (endpoint.tls, endpoint.path.is_some())
        });
        let mut settings = Self {
            url: Some(broker.url.clone()),
            brokers: Vec::new(),
            ..self.clone()
        };
        settings.client_id = broker.client_id.clone().or(settings.client_id);
        settings.topics = broker.topics.clone().unwrap_or(settings.topics);
        if broker.username.is_some() || broker.password.is_some() || broker.password_file.is_some()
        {
            settings.username = broker.username.clone();
            settings.password = broker.password.clone();
            settings.password_file = broker.password_file.clone();
        }
        // What holds for all of them is of no use to those that speak plainly.
        let tls = settings.tls.take().filter(|_| speaks_tls);
        settings.tls = broker.tls.clone().or(tls);
        let sigv4 = settings.sigv4.take().filter(|_| speaks_tls && is_web);
        settings.sigv4 = broker.sigv4.clone().or(sigv4);
        settings
    }

    /// The topics of all brokers, each once.
    pub fn templates(&self) -> Vec<TopicTemplate> {
        let mut all: Vec<TopicTemplate> = Vec::new();
        for (_, settings) in self.each() {
            let topics = settings
                .topics
                .iter()
                .filter_map(|topic| topic.parse().ok());
            for template in topics {
                if !all.contains(&template) {
                    all.push(template);
                }
            }
        }
        all
    }

    /// Whether some of the topics are a shared subscription.
    pub fn is_shared(&self) -> bool {
        let all = self.each();
        let mut topics = all.iter().flat_map(|(_, settings)| &settings.topics);
        topics.any(|topic| topic.starts_with("$share/"))
    }

    pub(super) fn check(&self, found: &mut Findings) {
        let before = found.0.len();
        self.check_brokers(found);
        self.check_numbers(found);
        if self.brokers.is_empty() {
            self.check_broker(&["mqtt"], found);
            return;
        }
        for (number, broker) in self.brokers.iter().enumerate() {
            let number = number.to_string();
            let at = ["mqtt", "brokers", &number];
            self.of_broker(broker).check_broker(&at, found);
        }
        if found.0.len() == before {
            self.check_sessions(found);
        }
    }

    /// Checks which brokers there are.
    fn check_brokers(&self, found: &mut Findings) {
        match (&self.url, self.brokers.is_empty()) {
            (None, true) => found.add(
                &["mqtt", "url"],
                "is missing; write mqtt://host:1883, or several brokers as brokers",
            ),
            (Some(_), false) => found.add(
                &["mqtt", "url"],
                "'url' does not go with 'brokers'; make it one of them",
            ),
            _ => {}
        }
        let mut names: BTreeMap<&str, usize> = BTreeMap::new();
        for (number, broker) in self.brokers.iter().enumerate() {
            let name = broker.name.as_str();
            let index = number.to_string();
            let at = ["mqtt", "brokers", &index, "name"];
            if !is_broker_name(name) {
                let message = format!(
                    "'{name}' is not a name of a broker; use letters, digits, '_' and '-', at most \
                     64"
                );
                found.add(&at, message);
            } else if names.insert(name, number).is_some() {
                found.add(
                    &at,
                    format!("'{name}' is there twice; every broker has its own"),
                );
            }
        }
    }

    /// Two sessions of one client id at one broker would throw each other out for ever.
    fn check_sessions(&self, found: &mut Findings) {
        let mut sessions: BTreeMap<(String, String), &str> = BTreeMap::new();
        for (number, broker) in self.brokers.iter().enumerate() {
            let settings = self.of_broker(broker);
            let (Some(client_id), Ok(endpoint)) =
                (settings.client_id, broker.url.parse::<Endpoint>())
            else {
                continue;
            };
            let session = (endpoint.to_string(), client_id);
            if let Some(other) = sessions.get(&session) {
                let (_, client_id) = &session;
                let message = format!(
                    "'{client_id}' is that of broker '{other}' as well, at the same address; every \
                     session needs its own"
                );
                let number = number.to_string();
                found.add(&["mqtt", "brokers", &number, "client_id"], message);
                continue;
            }
            sessions.insert(session, &broker.name);
        }
    }

    /// Checks what belongs to one broker, which stands at a place of the section.
    fn check_broker(&self, at: &[&str], found: &mut Findings) {
        let under = |keys: &[&'static str]| [at, keys].concat();
        let url = self.url.as_deref().unwrap_or_default();
        let endpoint = url.parse::<Endpoint>();
        if let (Some(_), Err(error)) = (&self.url, &endpoint) {
            found.add(&under(&["url"]), error.to_string());
        }
        let endpoint = endpoint.ok();
        if self.tls.is_some() && endpoint.as_ref().is_some_and(|endpoint| !endpoint.tls) {
            let message = format!("'{url}' speaks no TLS; write mqtts:// or wss://");
            found.add(&under(&["tls"]), message);
        }
        if let Some(client_id) = &self.client_id {
            found.not_blank(&under(&["client_id"]), client_id, "a name of your choice");
        }
        self.check_topics(at, found);
        self.check_credentials(at, found);
        if let Some(signer) = &self.sigv4 {
            found.signer(&under(&["sigv4"]), signer);
            if self.username.is_some() {
                let message = "'username' does not go with 'sigv4'; the signature says who we are";
                found.add(&under(&["username"]), message);
            }
            if endpoint.is_some_and(|endpoint| !endpoint.tls || endpoint.path.is_none()) {
                let message = format!("'{url}' is no WebSocket with TLS; write wss://");
                found.add(&under(&["sigv4"]), message);
            }
        }
    }

    fn check_topics(&self, at: &[&str], found: &mut Findings) {
        let at = [at, &["topics"]].concat();
        let topics: Vec<_> = self.topics.iter().map(String::as_str).collect();
        found.distinct(&at, &topics, "a list of topic filters");
        let mut filters: BTreeMap<String, &str> = BTreeMap::new();
        for topic in topics {
            match topic.parse::<TopicTemplate>() {
                Err(error) => found.add(&at, error.to_string()),
                Ok(template) => {
                    let filter = template.filter().to_owned();
                    let other = filters.insert(filter, topic);
                    if let Some(other) = other.filter(|other| *other != topic) {
                        let message = format!(
                            "'{topic}' and '{other}' are one filter to the broker; leave out one of \
                             them"
                        );
                        found.add(&at, message);
                    }
                }
            }
        }
    }

    fn check_numbers(&self, found: &mut Findings) {
        let expiry = self.session_expiry;
        if expiry < Duration::from_secs(1) || expiry.as_millis() / 1_000 >= u64::from(u32::MAX) {
            let message = format!(
                "{expiry} is out of range; at least 1s, or messages are lost at every reconnect"
            );
            found.add(&["mqtt", "session_expiry"], message);
        } else if self.protocol == MqttProtocol::Three && expiry != default_session_expiry() {
            let message = "is unknown to protocol 3.1.1: the broker decides how long it keeps a \
                           session";
            found.add(&["mqtt", "session_expiry"], message);
        }
        let (least, most) = KEEP_ALIVE_SECS;
        let keep_alive = self.keep_alive;
        if keep_alive < Duration::from_secs(least) || keep_alive > Duration::from_secs(most) {
            let message = format!("{keep_alive} is out of range; from {least}s to {most}s");
            found.add(&["mqtt", "keep_alive"], message);
        }
        let (least, most) = PACKET_BYTES;
        if !(least..=most).contains(&self.max_packet_bytes) {
            let message = format!(
                "{} is out of range; from {least} to {most}",
                self.max_packet_bytes
            );
            found.add(&["mqtt", "max_packet_bytes"], message);
        }
    }

    fn check_credentials(&self, at: &[&str], found: &mut Findings) {
        let under = |keys: &[&'static str]| [at, keys].concat();
        if self.password.is_some() && self.password_file.is_some() {
            found.add(
                &under(&["password"]),
                "is given twice; write it or password_file, not both",
            );
        }
        let has_password = self.password.is_some() || self.password_file.is_some();
        if has_password && self.username.is_none() {
            found.add(&under(&["username"]), "is missing; a password needs one");
        }
        let Some(tls) = &self.tls else { return };
        match (&tls.cert_file, &tls.key_file) {
            (Some(_), None) => found.add(
                &under(&["tls", "key_file"]),
                "is missing; cert_file needs it",
            ),
            (None, Some(_)) => found.add(
                &under(&["tls", "cert_file"]),
                "is missing; key_file needs it",
            ),
            _ => {}
        }
        if let Some(alpn) = &tls.alpn
            && !(1..=LONGEST_ALPN).contains(&alpn.len())
        {
            let message = format!("'{alpn}' is not the name of a protocol; write x-amzn-mqtt-ca");
            found.add(&under(&["tls", "alpn"]), message);
        }
    }
}

/// A name that can be part of a folder's and of a client id.
fn is_broker_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    (1..=64).contains(&name.len()) && name.chars().all(allowed)
}
