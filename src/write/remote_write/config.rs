//! The `remote_write` section of a pipeline file as it is written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::auth::prometheus_region;
use crate::model::{BackoffLimits, Duration, Secret};
use crate::write::config::{DEFAULT_RECEIVER, Problem};
use crate::write::receiver_folders::folder_of;
use crate::write::relabel::{self, RelabelConfig, Relabelling};

use super::connection::authentication::config::{
    self as authentication, BasicAuth, OAuth2Config, SigV4Config, TlsSettings,
};
use super::limits::{AMP_REQUEST_BYTES, LimitsConfig, ReceiverLimits};
use super::protocol::ProtocolChoice;

/// A receiver that asks for more patience than this is asked again sooner.
const MAX_RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(300);

/// Headers that the protocol and the connection set themselves.
const OWN_HEADERS: [&str; 9] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "retry-attempt",
    "transfer-encoding",
    "user-agent",
    "x-prometheus-remote-write-version",
];

/// The snappy block format and the receivers have limits; none accepts more than this.
const MAX_BATCH_BYTES: usize = 32 << 20;

/// More connections than this to one receiver is a slip of the pen.
const MAX_SHARDS: usize = 1024;

/// So many parts of the series for each shard that there may be. Where a number of shards does not divide
/// them, some have one part more than others: a quarter more to do at worst.
const PARTITIONS_PER_SHARD: usize = 4;

/// Samples to a Prometheus Remote-Write receiver.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoteWriteConfig {
    /// What the receiver is called in metrics, in the log and in the folder of the state. Where there are
    /// several, each needs a name; a single one is called default.
    pub name: Option<String>,
    /// The receiver's address, such as http://127.0.0.1:9090/api/v1/write.
    pub url: String,
    /// Which protocol the receiver is spoken to in: 1.0, 2.0, or auto, which asks it.
    #[serde(default)]
    pub protocol: ProtocolChoice,
    /// How often the receiver is told the type, help and unit of each metric by 1.0; 0s is never. By 2.0
    /// it is with every series.
    #[serde(default = "default_metadata_interval")]
    pub metadata_interval: Duration,
    /// Sends a user name and a password.
    pub basic_auth: Option<BasicAuth>,
    /// Sends a bearer token.
    pub bearer_token: Option<Secret>,
    /// Sends the bearer token in this file, which is read again for every request.
    pub bearer_token_file: Option<PathBuf>,
    /// Sends a token of an OAuth 2.0 authorization server.
    pub oauth2: Option<OAuth2Config>,
    /// Signs requests for Amazon Managed Prometheus.
    pub sigv4: Option<SigV4Config>,
    /// Certificates for https.
    pub tls_config: Option<TlsSettings>,
    /// A proxy for all requests, in place of those that the environment names.
    pub proxy_url: Option<String>,
    /// Sends the proxy a user name and a password.
    pub proxy_auth: Option<BasicAuth>,
    /// The tenant of a receiver that has several: the header X-Scope-OrgID.
    pub tenant: Option<String>,
    /// Further headers; those of the protocol cannot be overridden.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// Labels that every series gets that does not have them, before relabelling.
    #[serde(default)]
    pub external_labels: BTreeMap<String, String>,
    /// Which series the receiver gets, and with which labels: the steps of relabelling, one after the
    /// other.
    #[serde(default)]
    pub write_relabel_configs: Vec<RelabelConfig>,
    /// How many requests may be in flight at least. 1 to 1024.
    #[serde(default = "default_min_shards")]
    pub min_shards: usize,
    /// How many requests may be in flight at most. In between it is as many as the receiver's delay asks
    /// for. 1 to 1024.
    #[serde(default = "default_max_shards")]
    pub max_shards: usize,
    /// When a request is full.
    #[serde(default)]
    pub batch: BatchConfig,
    /// How many bytes of samples may wait before the pipeline is held up. Each part of the series has an
    /// equal share.
    #[serde(default = "default_queue_bytes")]
    pub queue_bytes: usize,
    /// How long a request may take.
    #[serde(default = "default_timeout")]
    pub timeout: Duration,
    /// How long to wait before a request is repeated.
    #[serde(default)]
    pub backoff: BackoffConfig,
    /// What kind of receiver it is, which decides what it is known to refuse. Where it is left out: amp
    /// at an address of Amazon Managed Service for Prometheus, else generic.
    pub receiver: Option<ReceiverKind>,
    /// What the receiver takes, where that is not what its kind takes. Samples beyond it are not sent.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// What becomes of a request that the receiver refuses because of what is in it. Where it is left
    /// out: isolate, if that is safe.
    pub on_rejected: Option<OnRejected>,
    /// What happens when so much waits for the receiver that there is no room for more. Where it is left
    /// out: wait, and where there are several receivers, drop_oldest.
    pub on_throttle_limit: Option<OnThrottleLimit>,
    /// Where samples are kept that the receiver does not take.
    #[serde(default)]
    pub rejected: RejectedConfig,
    /// With checkpoints: whether what is sent is on the disk before. Without it a power cut, but not
    /// the end of the process, may lead to samples out of order.
    #[serde(default = "default_journal_sync")]
    pub journal_sync: bool,
}

/// Kinds of receivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReceiverKind {
    /// Any that follows the specification.
    #[default]
    Generic,
    /// Prometheus itself.
    Prometheus,
    /// Cortex.
    Cortex,
    /// Grafana Mimir, and Grafana Cloud.
    Mimir,
    /// Amazon Managed Service for Prometheus.
    Amp,
    /// Thanos Receive.
    Thanos,
    /// VictoriaMetrics.
    Victoriametrics,
}

/// What becomes of a request that is refused because of what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnRejected {
    /// It is sent again in pieces, until only the samples are left that are to blame.
    Isolate,
    /// All of it is dropped, and counted.
    Drop,
    /// The pipeline fails.
    Fail,
}

/// What happens when so much waits for the receiver that there is no room for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnThrottleLimit {
    /// The pipeline waits, and with it its sources and its other receivers.
    Wait,
    /// The samples that have waited longest are dropped, and counted.
    DropOldest,
}

/// Where samples are kept that the receiver does not take.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RejectedConfig {
    /// The folder. Where it is left out: rejected below state.dir; and without that they are only
    /// counted and logged.
    pub dir: Option<PathBuf>,
    /// How many bytes may be there; the oldest go first.
    pub max_bytes: u64,
}

impl Default for RejectedConfig {
    fn default() -> Self {
        Self {
            dir: None,
            max_bytes: 64 << 20,
        }
    }
}

/// When a request is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BatchConfig {
    /// At so many samples.
    pub samples: usize,
    /// At so many bytes, before compression.
    pub bytes: usize,
    /// When its first sample has waited so long.
    pub deadline: Duration,
    /// Before a series would have more samples than this in it; 0 is any number. With one, a request
    /// that is repeated is never out of order against itself.
    pub samples_per_series: usize,
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self {
            samples: 2_000,
            bytes: 512 << 10,
            deadline: Duration::from_secs(1),
            samples_per_series: 1,
        }
    }
}

/// How long to wait before a request is repeated: a random time below a bound that doubles with
/// every attempt. A receiver's Retry-After takes its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BackoffConfig {
    /// The first bound.
    pub min: Duration,
    /// The last bound.
    pub max: Duration,
}

impl BackoffConfig {
    /// How long waits may be.
    pub(super) fn limits(&self) -> BackoffLimits {
        BackoffLimits {
            min: self.min.to_std(),
            max: self.max.to_std(),
            max_retry_after: MAX_RETRY_AFTER,
        }
    }
}

impl Default for BackoffConfig {
    fn default() -> Self {
        Self {
            min: Duration::from_millis(30),
            max: Duration::from_secs(5),
        }
    }
}

fn default_min_shards() -> usize {
    1
}

fn default_max_shards() -> usize {
    8
}

fn default_metadata_interval() -> Duration {
    Duration::from_secs(60)
}

fn default_queue_bytes() -> usize {
    16 << 20
}

fn default_timeout() -> Duration {
    Duration::from_secs(30)
}

fn default_journal_sync() -> bool {
    true
}

impl RemoteWriteConfig {
    /// What becomes of a request that is refused. To send pieces of it again is safe where the receiver
    /// has taken nothing of it, and where no series has two samples in it: a receiver that has taken
    /// the others would refuse the earlier one of two then.
    pub(super) fn on_rejected(&self) -> OnRejected {
        self.on_rejected.unwrap_or(
            match self.receiver_kind() == ReceiverKind::Prometheus
                || self.batch.samples_per_series == 1
            {
                true => OnRejected::Isolate,
                false => OnRejected::Drop,
            },
        )
    }

    /// What happens when there is no room for more. A receiver that is away must not hold up the others.
    pub(super) fn on_throttle_limit(&self, is_one_of_several: bool) -> OnThrottleLimit {
        self.on_throttle_limit.unwrap_or(match is_one_of_several {
            true => OnThrottleLimit::DropOldest,
            false => OnThrottleLimit::Wait,
        })
    }

    /// What the receiver is called.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(DEFAULT_RECEIVER)
    }

    /// How the receiver's series are relabelled.
    ///
    /// # Errors
    /// The first problem of the labels that are added and of the steps.
    pub fn relabelling(&self) -> Result<Relabelling, Problem> {
        Relabelling::build(&self.external_labels, &self.write_relabel_configs)
    }

    /// Where the receiver has its own below the folder of the state.
    pub(in crate::write) fn folder(&self, state: &Path) -> PathBuf {
        folder_of(state, self.name())
    }

    /// Where samples are kept that the receiver does not take, if anywhere; `state` is the folder of the
    /// state.
    pub fn rejected_folder(&self, state: Option<&Path>) -> Option<PathBuf> {
        let below = || Some(self.folder(state?).join("rejected"));
        self.rejected.dir.clone().or_else(below)
    }

    /// What kind of receiver it is.
    pub fn receiver_kind(&self) -> ReceiverKind {
        let url = Url::parse(&self.url).ok();
        let host = url.as_ref().and_then(Url::host_str);
        self.receiver
            .unwrap_or(match host.and_then(prometheus_region) {
                Some(_) => ReceiverKind::Amp,
                None => ReceiverKind::Generic,
            })
    }

    /// What it takes.
    pub fn receiver_limits(&self) -> ReceiverLimits {
        ReceiverLimits::new(self.receiver_kind(), &self.limits)
    }

    /// Into how many parts the series are divided. With several for each shard, every number of shards has
    /// about the same to do; where the number stays, one each is enough.
    pub(super) fn partitions(&self) -> usize {
        match self.min_shards == self.max_shards {
            true => self.max_shards,
            false => self.max_shards.saturating_mul(PARTITIONS_PER_SHARD),
        }
    }

    /// The address without credentials and query, for messages.
    pub fn receiver_name(&self) -> String {
        match Url::parse(&self.url) {
            Ok(url) => format!("{}{}", url.origin().ascii_serialization(), url.path()),
            Err(_) => "the receiver".to_owned(),
        }
    }

    /// What the types cannot check, with the keys below this section that lead to it.
    pub fn validate(&self) -> Vec<Problem> {
        let mut found = Problems::default();
        if let Some(name) = self.name.as_deref().filter(|name| !is_name(name)) {
            found.add(
                &["name"],
                format!("is '{name}'; use letters, digits, '-' and '_'"),
            );
        }
        found.check_url(&["url"], &self.url, "basic_auth");
        authentication::check(self, &mut found);
        let problems = relabel::validate(&self.external_labels, &self.write_relabel_configs);
        found.0.extend(problems);
        self.check_headers(&mut found);
        self.check_numbers(&mut found);
        found.0
    }

    fn check_headers(&self, found: &mut Problems) {
        for (name, value) in &self.headers {
            let path = ["headers", name.as_str()];
            let Ok(parsed) = HeaderName::from_bytes(name.as_bytes()) else {
                found.add(
                    &path,
                    format!("'{name}' is no header name; use letters, digits and hyphens"),
                );
                continue;
            };
            if OWN_HEADERS.contains(&parsed.as_str()) {
                found.add(
                    &path,
                    format!("'{name}' belongs to the protocol; remove it"),
                );
            }
            if !is_header_value(value.reveal()) {
                found.add(&path, "holds characters that a header cannot carry");
            }
        }
    }

    fn check_numbers(&self, found: &mut Problems) {
        for (key, shards) in [
            ("min_shards", self.min_shards),
            ("max_shards", self.max_shards),
        ] {
            if shards == 0 || shards > MAX_SHARDS {
                found.add(&[key], format!("is {shards}; use 1 to {MAX_SHARDS}"));
            }
        }
        if self.min_shards > self.max_shards && (1..=MAX_SHARDS).contains(&self.max_shards) {
            found.add(
                &["min_shards"],
                format!(
                    "is {}, which is more than max_shards, {}; use at most max_shards",
                    self.min_shards, self.max_shards
                ),
            );
        }
        if self.batch.samples == 0 {
            found.add(&["batch", "samples"], "is 0; use at least 1, such as 2000");
        }
        if self.batch.bytes == 0 || self.batch.bytes > MAX_BATCH_BYTES {
            found.add(
                &["batch", "bytes"],
                format!(
                    "is {}; use 1 to {MAX_BATCH_BYTES}, such as 524288",
                    self.batch.bytes
                ),
            );
        }
        if self.receiver_kind() == ReceiverKind::Amp && self.batch.bytes > AMP_REQUEST_BYTES {
            found.add(
                &["batch", "bytes"],
                format!(
                    "is {}, and Amazon Managed Prometheus takes requests of up to {AMP_REQUEST_BYTES}; \
                     use fewer, such as 524288",
                    self.batch.bytes
                ),
            );
        }
        if self.queue_bytes == 0 {
            found.add(&["queue_bytes"], "is 0; use at least 1, such as 16777216");
        }
        if self.timeout.as_millis() == 0 {
            found.add(&["timeout"], "is 0s; use at least 1ms, such as 30s");
        }
        if self.backoff.min.as_millis() == 0 {
            found.add(&["backoff", "min"], "is 0s; use at least 1ms, such as 30ms");
        }
        if self.backoff.min > self.backoff.max {
            found.add(
                &["backoff", "min"],
                format!(
                    "is {}, which is more than max, {}; use at most max",
                    self.backoff.min, self.backoff.max
                ),
            );
        }
    }
}

/// Whether it can be the name of a folder on every system.
fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    !text.is_empty() && text.chars().all(allowed)
}

fn is_header_value(text: &str) -> bool {
    HeaderValue::from_str(text).is_ok()
}

/// What is wrong, in the order in which it was found.
#[derive(Default)]
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    pub(super) fn add(&mut self, path: &[&str], message: impl Into<String>) {
        self.0.push((
            path.iter().map(|&key| key.to_owned()).collect(),
            message.into(),
        ));
    }

    /// Checks an address over HTTP; what it may not carry belongs into the key `login`.
    pub(super) fn check_url(&mut self, path: &[&str], text: &str, login: &str) {
        let url = match Url::parse(text) {
            Ok(url) => url,
            Err(error) => {
                let message =
                    format!("is not a URL: {error}; write http://host:port/path or https://…");
                return self.add(path, message);
            }
        };
        if !url.username().is_empty() || url.password().is_some() {
            self.add(path, format!("carries credentials; put them into {login}"));
        }
        if url.scheme() != "http" && url.scheme() != "https" {
            self.add(
                path,
                format!("has scheme '{}'; use http or https", url.scheme()),
            );
        }
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
