//! The keys of `from` that make a lookup a partial one: the service that is asked, and how.

use std::num::NonZeroU32;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::config::{LookupConfig, Mode};
use super::super::from::Problem;
use super::super::http_client::check_header;
use super::http::KEY;
use super::postgres;
use crate::auth::is_region;
use crate::model::{Duration, Secret};

/// A service that answers `GET` with a JSON object for each key, or with 404.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpService {
    /// The URL, with `{key}` where the key stands; it is percent-encoded there.
    pub url: String,
    /// Further headers; their values are never logged.
    #[serde(default)]
    pub headers: IndexMap<String, Secret>,
    /// How long one request may take.
    #[serde(default = "default_timeout")]
    pub timeout: Duration,
}

/// A PostgreSQL database.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresService {
    /// The database: `postgres://user:password@host:5432/database`.
    pub url: Secret,
    /// The statement with the key as `$1`, which is a text; the columns are known by their names.
    pub query: String,
    /// TLS, which is then required; without it the connection is plain.
    #[serde(default)]
    pub tls: Option<PostgresTls>,
    /// How long one query may take, the connection included.
    #[serde(default = "default_timeout")]
    pub timeout: Duration,
}

/// TLS to PostgreSQL.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresTls {
    /// Certificate authorities as a PEM file, to trust instead of the system's.
    #[serde(default)]
    pub ca_file: Option<String>,
}

/// A DynamoDB table whose partition key is a string, and which has no sort key.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DynamoDbService {
    /// The table.
    pub table: String,
    /// The attribute that is its partition key.
    pub key: String,
    /// The region; that of `AWS_REGION` or `AWS_DEFAULT_REGION` where it is left out.
    #[serde(default)]
    pub region: Option<String>,
    /// Another address than that of the region, such as a VPC endpoint.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// How long one request may take.
    #[serde(default = "default_timeout")]
    pub timeout: Duration,
}

/// What is kept of the answers.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CacheConfig {
    /// How many keys are kept.
    pub max_keys: NonZeroU32,
    /// How long an answer is used before the service is asked again.
    pub ttl: Duration,
    /// How long a key counts as one that the service does not know.
    pub miss_ttl: Duration,
    /// How long a key whose request has failed is not asked again.
    pub failure_ttl: Duration,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            max_keys: NonZeroU32::MIN.saturating_add(99_999),
            ttl: Duration::from_secs(600),
            miss_ttl: Duration::from_secs(60),
            failure_ttl: Duration::from_secs(1),
        }
    }
}

/// How often and when a failed request is repeated.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetryConfig {
    /// How often a key is asked for at most, the first time included.
    pub attempts: NonZeroU32,
    /// The longest wait before the second attempt; it doubles with each further one.
    pub backoff: Duration,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            attempts: NonZeroU32::MIN.saturating_add(2),
            backoff: Duration::from_millis(100),
        }
    }
}

/// The service of a partial lookup.
#[derive(Debug, Clone, Copy)]
pub(super) enum Service<'a> {
    Http(&'a HttpService),
    Postgres(&'a PostgresService),
    DynamoDb(&'a DynamoDbService),
}

fn default_timeout() -> Duration {
    Duration::from_secs(2)
}

/// How many requests are in flight at most, where nothing is said.
pub(super) const DEFAULT_IN_FLIGHT: NonZeroU32 = NonZeroU32::MIN.saturating_add(31);

impl LookupConfig {
    /// Whether a service is asked for each key.
    pub fn is_partial(&self) -> bool {
        self.service().is_some()
    }

    pub(super) fn service(&self) -> Option<Service<'_>> {
        let from = &self.from;
        if let Some(http) = &from.http {
            return Some(Service::Http(http));
        }
        if let Some(postgres) = &from.postgres {
            return Some(Service::Postgres(postgres));
        }
        from.dynamodb.as_ref().map(Service::DynamoDb)
    }

    /// What the types cannot check of a partial lookup, or of one that should be one, with the keys
    /// below the lookup that lead to it.
    pub fn check_partial(&self) -> Vec<Problem> {
        let mut found = Problems::default();
        match (self.mode, self.is_partial()) {
            (Some(Mode::Full), true) => found.add(
                &["mode"],
                "is full, but http, postgres and dynamodb are asked key by key; \
                 use partial, or leave it out",
            ),
            (Some(Mode::Partial), false) => found.add(
                &["mode"],
                "is partial, which needs http, postgres or dynamodb in 'from'",
            ),
            _ => {}
        }
        let Some(service) = self.service() else {
            self.check_table(&mut found);
            return found.0;
        };
        self.check_no_table(&mut found);
        if self
            .from
            .cache
            .is_some_and(|cache| cache.ttl.as_millis() == 0)
        {
            found.add(&["from", "cache", "ttl"], "must be longer than 0s");
        }
        match service {
            Service::Http(http) => http.check(&mut found),
            Service::Postgres(postgres) => postgres.check(&mut found),
            Service::DynamoDb(dynamodb) => dynamodb.check(&mut found),
        }
        found.0
    }

    /// A service has no use for what belongs to a table.
    fn check_no_table(&self, found: &mut Problems) {
        let from = &self.from;
        for (key, is_given) in [
            ("key", from.key.is_some()),
            ("valid", from.valid.is_some()),
            ("headers", !from.headers.is_empty()),
            ("s3", from.s3.is_some()),
            ("refresh", from.refresh.is_some()),
            ("start_timeout", from.start_timeout.is_some()),
            ("max_bytes", from.max_bytes.is_some()),
            ("timeout", from.timeout.is_some()),
        ] {
            if is_given {
                let message = "belongs to a table, not to http, postgres or dynamodb; remove it";
                found.add(&["from", key], format!("'{key}' {message}"));
            }
        }
    }

    /// A table in memory has no use for what belongs to a service.
    fn check_table(&self, found: &mut Problems) {
        let from = &self.from;
        for (key, is_given) in [
            ("cache", from.cache.is_some()),
            ("max_in_flight", from.max_in_flight.is_some()),
            ("retry", from.retry.is_some()),
        ] {
            if is_given {
                found.add(&["from", key], "needs http, postgres or dynamodb beside it");
            }
        }
    }
}

#[derive(Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, path: &[&str], message: impl Into<String>) {
        let path = path.iter().map(|key| (*key).to_owned()).collect();
        self.0.push((path, message.into()));
    }

    fn check_timeout(&mut self, service: &str, timeout: Duration) {
        if timeout.as_millis() == 0 {
            self.add(&["from", service, "timeout"], "must be longer than 0s");
        }
    }

    fn check_url(&mut self, path: &[&str], text: &str) {
        match reqwest::Url::parse(text) {
            Err(error) => self.add(
                path,
                format!("is not a URL: {error}; write http://host:port/path or https://…"),
            ),
            Ok(url) if url.scheme() != "http" && url.scheme() != "https" => self.add(
                path,
                format!("has scheme '{}'; use http or https", url.scheme()),
            ),
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                self.add(path, "carries credentials; put them into a header")
            }
            Ok(_) => {}
        }
    }
}

impl HttpService {
    fn check(&self, found: &mut Problems) {
        if self.url.contains(KEY) {
            found.check_url(&["from", "http", "url"], &self.url.replace(KEY, "key"));
        } else {
            let message = format!("must say with {KEY} where the key stands");
            found.add(&["from", "http", "url"], message);
        }
        for (name, value) in &self.headers {
            if let Some(message) = check_header(name, value) {
                found.add(&["from", "http", "headers", name], message);
            }
        }
        found.check_timeout("http", self.timeout);
    }
}

impl PostgresService {
    fn check(&self, found: &mut Problems) {
        if let Err(message) = postgres::settings(self) {
            found.add(&["from", "postgres", "url"], message);
        }
        if !self.query.contains("$1") {
            let message = "must use the key, which is $1";
            found.add(&["from", "postgres", "query"], message);
        }
        found.check_timeout("postgres", self.timeout);
    }
}

impl DynamoDbService {
    fn check(&self, found: &mut Problems) {
        for (key, value) in [("table", &self.table), ("key", &self.key)] {
            if value.is_empty() {
                found.add(&["from", "dynamodb", key], "must not be empty");
            }
        }
        if let Some(endpoint) = &self.endpoint {
            found.check_url(&["from", "dynamodb", "endpoint"], endpoint);
        }
        if let Some(region) = &self.region
            && !is_region(region)
        {
            let message = format!("'{region}' is not a region; write one such as eu-central-1");
            found.add(&["from", "dynamodb", "region"], message);
        }
        found.check_timeout("dynamodb", self.timeout);
    }
}
