//! The `from` section of a lookup: where its table is and how it is written, or which service knows.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::http_client::check_header;
use super::location::Location;
use super::partial::{CacheConfig, DynamoDbService, HttpService, PostgresService, RetryConfig};
use crate::model::{Duration, Secret};

/// Where the values of a lookup come from: exactly one of `csv`, `json`, `ndjson` and `geojson` says
/// where a table is, or `http`, `postgres` or `dynamodb` which service is asked.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TableSource {
    /// A CSV table with a header line: a path, `http://…`, `https://…` or `s3://bucket/key`.
    #[serde(default)]
    pub csv: Option<String>,
    /// A JSON array of objects, or an object of objects by their keys; a location as for `csv`.
    #[serde(default)]
    pub json: Option<String>,
    /// A JSON object a line; a location as for `csv`.
    #[serde(default)]
    pub ndjson: Option<String>,
    /// Zones as a GeoJSON feature collection (RFC 7946); a location as for `csv`.
    #[serde(default)]
    pub geojson: Option<String>,
    /// A service that answers over HTTP with JSON.
    #[serde(default)]
    pub http: Option<HttpService>,
    /// A PostgreSQL database.
    #[serde(default)]
    pub postgres: Option<PostgresService>,
    /// A DynamoDB table.
    #[serde(default)]
    pub dynamodb: Option<DynamoDbService>,
    /// The table's key column. Only a JSON object of objects and zones do without.
    #[serde(default)]
    pub key: Option<String>,
    /// The columns that say from when to when a row is valid. A key may then have several rows.
    #[serde(default)]
    pub valid: Option<ValidConfig>,
    /// How often to look whether the table has changed; each minute where it is left out. A broken
    /// table keeps the old one in use.
    #[serde(default)]
    pub refresh: Option<Duration>,
    /// How long to repeat the first load of a table that is not a file before the start fails; 30 s
    /// where it is left out.
    #[serde(default)]
    pub start_timeout: Option<Duration>,
    /// A larger table is refused, in bytes; 1 GiB where it is left out.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub max_bytes: Option<u64>,
    /// How long a server may take for the whole table, and to connect; 30 s where it is left out.
    #[serde(default)]
    pub timeout: Option<Duration>,
    /// Headers of the request, over HTTP.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// How S3 is reached, beside the environment.
    #[serde(default)]
    pub s3: Option<S3Config>,
    /// What is kept of a service's answers.
    #[serde(default)]
    pub cache: Option<CacheConfig>,
    /// How many requests to a service may wait for their answer at a time; 32 where it is left out.
    #[serde(default)]
    pub max_in_flight: Option<NonZeroU32>,
    /// How often and when a failed request to a service is repeated.
    #[serde(default)]
    pub retry: Option<RetryConfig>,
}

/// The columns that say from when to when a row is valid.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ValidConfig {
    /// The column with the time from which the row is valid; empty is since ever.
    pub from: String,
    /// The column with the time from which the row is valid no more; empty is for ever.
    pub to: String,
    /// How the times are written.
    #[serde(default)]
    pub unit: ValidUnit,
}

/// How the times of a row's validity are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ValidUnit {
    /// Milliseconds since the epoch.
    Ms,
    /// Seconds since the epoch.
    S,
    /// Text such as `2024-11-03T08:15:49Z`.
    #[default]
    Rfc3339,
    /// Text such as `2024-11-03`: the day's beginning, UTC.
    Date,
}

/// How S3 is reached. Credentials come from the environment only.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct S3Config {
    /// The region; AWS_REGION where it is left out.
    #[serde(default)]
    pub region: Option<String>,
    /// The address of a server that speaks S3; that of AWS where it is left out.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Whether the endpoint may be reached without TLS.
    #[serde(default)]
    pub allow_http: bool,
}

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TableFormat {
    Csv,
    Json,
    Ndjson,
    Geojson,
}

/// What is wrong, with the keys below `from` that lead to it.
pub type Problem = (Vec<String>, String);

impl TableSource {
    /// The formats by their keys, with the location where it is given.
    pub fn locations(&self) -> [(&'static str, Option<&String>); 4] {
        [
            ("csv", self.csv.as_ref()),
            ("json", self.json.as_ref()),
            ("ndjson", self.ndjson.as_ref()),
            ("geojson", self.geojson.as_ref()),
        ]
    }

    /// How the table is written, and where it is.
    pub(super) fn format(&self) -> (TableFormat, &str) {
        match (&self.csv, &self.json, &self.ndjson, &self.geojson) {
            (Some(csv), _, _, _) => (TableFormat::Csv, csv),
            (None, Some(json), _, _) => (TableFormat::Json, json),
            (None, None, Some(ndjson), _) => (TableFormat::Ndjson, ndjson),
            (None, None, None, geojson) => {
                (TableFormat::Geojson, geojson.as_deref().unwrap_or_default())
            }
        }
    }

    /// How often to look whether the table has changed.
    pub(super) fn refresh(&self) -> Duration {
        self.refresh.unwrap_or(Duration::from_secs(60))
    }

    /// How long to repeat the first load.
    pub(super) fn start_timeout(&self) -> Duration {
        self.start_timeout.unwrap_or(Duration::from_secs(30))
    }

    /// How long a server may take.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(Duration::from_secs(30))
    }

    /// The size from which on a table is refused, bytes.
    pub(super) fn max_bytes(&self) -> u64 {
        self.max_bytes.unwrap_or(1 << 30)
    }

    /// All that a lookup may come from by their keys, and whether each is given.
    pub fn kinds(&self) -> [(&'static str, bool); 7] {
        let [csv, json, ndjson, geojson] = self
            .locations()
            .map(|(name, location)| (name, location.is_some()));
        [
            csv,
            json,
            ndjson,
            geojson,
            ("http", self.http.is_some()),
            ("postgres", self.postgres.is_some()),
            ("dynamodb", self.dynamodb.is_some()),
        ]
    }

    /// Whether these are zones, which are looked up by position. Nothing where it is not said once.
    pub fn is_zones(&self) -> Option<bool> {
        let mut given = self.kinds().into_iter().filter(|(_, is_given)| *is_given);
        let (name, _) = given.next()?;
        given.next().is_none().then_some(name == "geojson")
    }

    /// What the types cannot check of a table.
    pub fn validate(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        let mut add = |path: &[&str], message: String| {
            found.push((path.iter().map(|&key| key.to_owned()).collect(), message));
        };
        let (format, text) = self.format();
        match format {
            TableFormat::Geojson => {
                if self.key.is_some() {
                    add(&["key"], "zones have no key; leave it out".to_owned());
                }
                if self.valid.is_some() {
                    add(&["valid"], "zones are not dated; leave it out".to_owned());
                }
            }
            TableFormat::Csv | TableFormat::Ndjson if self.key.is_none() => {
                add(&[], "missing key 'key' in 'from'".to_owned());
            }
            TableFormat::Csv | TableFormat::Ndjson | TableFormat::Json => {}
        }
        let location = text.parse::<Location>();
        for (name, text) in self.locations() {
            if let Some(Err(error)) = text.map(|text| text.parse::<Location>()) {
                add(&[name], error.to_string());
            }
        }
        for (name, duration) in [
            ("refresh", self.refresh()),
            ("timeout", self.timeout()),
            ("start_timeout", self.start_timeout()),
        ] {
            if duration.as_millis() == 0 {
                add(&[name], "must be longer than 0s".to_owned());
            }
        }
        if let Some(valid) = &self.valid
            && valid.from == valid.to
        {
            let message = format!("'{}' is the column of 'from' already", valid.to);
            add(&["valid", "to"], message);
        }
        for (name, value) in &self.headers {
            if let Some(message) = check_header(name, value) {
                add(&["headers", name], message);
            }
        }
        if !self.headers.is_empty() && !matches!(location, Ok(Location::Http(_)) | Err(_)) {
            let message = "goes with http:// and https:// only; remove it";
            add(&["headers"], format!("'headers' {message}"));
        }
        if let Some(s3) = &self.s3 {
            if !matches!(location, Ok(Location::S3 { .. }) | Err(_)) {
                add(&["s3"], "'s3' goes with s3:// only; remove it".to_owned());
            }
            let http = |text: &String| text.starts_with("http://");
            if s3.endpoint.as_ref().is_some_and(http) && !s3.allow_http {
                let message = "is without TLS; use https, or allow_http: true";
                add(&["s3", "endpoint"], message.to_owned());
            }
        }
        found
    }
}
