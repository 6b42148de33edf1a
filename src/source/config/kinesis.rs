//! The `kinesis` section of a pipeline file's `source`.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::auth::{AwsIdentity, AwsKeys, AwsRole, is_region};
use crate::model::{Duration, Secret};

use super::{Findings, StartTime};

/// How many records an answer can have.
const MAX_RECORDS: std::ops::RangeInclusive<u32> = 1..=10_000;

/// The shortest wait between two requests for a shard: Kinesis answers five of them a second.
const POLL_EVERY_MS: u64 = 200;

/// A Kinesis data stream.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KinesisConfig {
    /// The name of the stream, in the account of the credentials. Either this or `stream_arn`.
    #[serde(default)]
    pub stream: Option<String>,
    /// The stream's ARN: `arn:aws:kinesis:eu-west-1:123456789012:stream/scooters`.
    #[serde(default)]
    pub stream_arn: Option<String>,
    /// The region. That of the ARN where it is left out, or else that of the environment and the shared
    /// files of AWS.
    #[serde(default)]
    pub region: Option<String>,
    /// Where Kinesis is asked, instead of the region's public address: `https://…` of a VPC endpoint, or
    /// `http://127.0.0.1:4568` of a local server.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Who asks, where that is not who the environment, the shared files, a web identity, a container or
    /// the machine say.
    #[serde(default)]
    pub sigv4: Option<KinesisSigner>,
    /// Where the stream is begun with at the first start. Shards that are made later are read from their
    /// beginning.
    #[serde(default)]
    pub start: KinesisStart,
    /// How records are fetched.
    #[serde(default)]
    pub mode: KinesisMode,
    /// The name of the registered consumer, for `enhanced_fan_out`. It is registered where there is none.
    #[serde(default)]
    pub consumer: Option<String>,
    /// How many records an answer may have, 1 to 10000.
    #[serde(default = "default_max_records")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_records: u32,
    /// How long after a request that has found the end of a shard it is asked again.
    #[serde(default = "default_poll_every")]
    pub poll_every: Duration,
    /// How often the stream is asked for its shards. At the end of a shard it is asked at once.
    #[serde(default = "default_discover_every")]
    pub discover_every: Duration,
    /// Which instance this is, of how many that share the stream: `2/8`. Each reads the shards in its
    /// part of the hash keys.
    #[serde(default)]
    pub instance: Option<String>,
    /// What becomes of an aggregated record's part whose key is not in the range of the shard.
    #[serde(default)]
    pub outside_shard: OutsideShard,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KinesisSigner {
    /// The access key; better, leave it out.
    #[serde(default)]
    pub access_key: Option<String>,
    /// The secret key of `access_key`.
    #[serde(default)]
    pub secret_key: Option<Secret>,
    /// A profile of the shared files of AWS, to be used alone.
    #[serde(default)]
    pub profile: Option<String>,
    /// A role to take on, such as arn:aws:iam::123456789012:role/telemetry.
    #[serde(default)]
    pub role_arn: Option<String>,
    /// What the role's owner asks for.
    #[serde(default)]
    pub external_id: Option<Secret>,
}

/// Where a stream is begun with.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KinesisStart {
    /// With the oldest record that is kept.
    #[default]
    TrimHorizon,
    /// With what is written from the first start on.
    Latest,
    /// With what was written at a time or later.
    #[serde(untagged)]
    Timestamp(StartTime),
}

/// How records are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KinesisMode {
    /// By asking for them; a shard's throughput is shared by all who ask.
    #[default]
    Polling,
    /// By a subscription with a throughput of its own, which AWS charges for.
    EnhancedFanOut,
}

/// What becomes of a part of an aggregated record whose key is not in the range of its shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutsideShard {
    /// It is dropped and counted: the producer library has sent it to the right shard again.
    #[default]
    Drop,
    /// It counts: for producers that put records together whatever their keys are.
    Keep,
}

/// Which instance, of how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instance {
    /// Its number, from 1.
    pub number: u32,
    /// How many there are.
    pub count: u32,
}

impl FromStr for Instance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "'{text}' is not one of several instances; write its number and how many there are: 2/8"
            )
        };
        let (number, count) = text.split_once('/').ok_or_else(wrong)?;
        let parse = |text: &str| text.parse::<u32>().map_err(|_| wrong());
        let (number, count) = (parse(number)?, parse(count)?);
        if number == 0 || number > count || count > 10_000 {
            return Err(wrong());
        }
        Ok(Self { number, count })
    }
}

impl KinesisConfig {
    /// The stream's name: what stands behind the last slash of an ARN.
    pub fn stream_name(&self) -> &str {
        let arn = self.stream_arn.as_deref().unwrap_or_default();
        let of_arn = || arn.rsplit('/').next().unwrap_or_default();
        self.stream.as_deref().unwrap_or_else(of_arn)
    }

    /// The region that the file names, or the ARN.
    pub fn given_region(&self) -> Option<&str> {
        let of_arn = || self.stream_arn.as_deref()?.split(':').nth(3);
        self.region.as_deref().or_else(of_arn)
    }

    pub(super) fn check(&self, found: &mut Findings) {
        let at = |key: &'static str| ["kinesis", key];
        match (&self.stream, &self.stream_arn) {
            (None, None) => found.add(
                &["kinesis"],
                "has no stream; write its name as 'stream', or its ARN as 'stream_arn'",
            ),
            (Some(_), Some(_)) => found.add(
                &at("stream_arn"),
                "is given together with 'stream'; remove one of them",
            ),
            (Some(name), None) if !is_stream_name(name) => {
                let message = format!(
                    "'{name}' is not a stream name; use letters, digits, '.', '_' and '-', at most 128"
                );
                found.add(&at("stream"), message);
            }
            (None, Some(arn)) if !is_stream_arn(arn) => {
                let message = format!(
                    "'{arn}' is not the ARN of a stream; write one such as \
                     arn:aws:kinesis:eu-west-1:123456789012:stream/scooters"
                );
                found.add(&at("stream_arn"), message);
            }
            _ => {}
        }
        if let Some(region) = &self.region
            && !is_region(region)
        {
            let message = format!("'{region}' is not a region; write one such as eu-west-1");
            found.add(&at("region"), message);
        }
        if let Some(endpoint) = &self.endpoint
            && !is_http_address(endpoint)
        {
            // It may hold a password.
            let message = "is not an http:// or https:// address without credentials";
            found.add(&at("endpoint"), message);
        }
        if let Some(signer) = &self.sigv4 {
            signer.check(found);
        }
        if let KinesisStart::Timestamp(StartTime { timestamp: text }) = &self.start
            && text.parse::<jiff::Timestamp>().is_err()
        {
            let message = format!("'{text}' is not a time; write one such as 2026-11-03T08:15:00Z");
            found.add(&["kinesis", "start", "timestamp"], message);
        }
        match (self.mode, &self.consumer) {
            (KinesisMode::EnhancedFanOut, None) => found.add(
                &at("mode"),
                "needs 'consumer': the name by which the stream knows us",
            ),
            (KinesisMode::Polling, Some(_)) => found.add(
                &at("consumer"),
                "is for 'mode: enhanced_fan_out'; remove it, or write the mode",
            ),
            (KinesisMode::EnhancedFanOut, Some(name)) if !is_stream_name(name) => {
                let message = format!(
                    "'{name}' is not a consumer name; use letters, digits, '.', '_' and '-', at most 128"
                );
                found.add(&at("consumer"), message);
            }
            _ => {}
        }
        if !MAX_RECORDS.contains(&self.max_records) {
            let message = format!("{} is not from 1 to 10000", self.max_records);
            found.add(&at("max_records"), message);
        }
        if self.poll_every.as_millis() < POLL_EVERY_MS {
            let message = format!(
                "{} is too short: Kinesis answers five requests a second for each shard; 200ms at least",
                self.poll_every
            );
            found.add(&at("poll_every"), message);
        }
        if self.discover_every.as_millis() < 100 {
            let message = format!("{} is too short; 100ms at least", self.discover_every);
            found.add(&at("discover_every"), message);
        }
        if let Some(Err(message)) = self.instance.as_deref().map(str::parse::<Instance>) {
            found.add(&at("instance"), message);
        }
    }
}

impl KinesisSigner {
    /// Whose credentials these are; `region` is where the security token service is asked.
    pub fn identity(&self, region: &str) -> AwsIdentity {
        let keys = self.access_key.clone().zip(self.secret_key.as_ref());
        AwsIdentity {
            region: Some(region.to_owned()),
            profile: self.profile.clone(),
            keys: keys.map(|(access_key_id, secret)| AwsKeys {
                access_key_id,
                secret_access_key: secret.reveal().to_owned(),
            }),
            role: self.role_arn.clone().map(|arn| AwsRole {
                arn,
                external_id: self.external_id.as_ref().map(|id| id.reveal().to_owned()),
                session_name: None,
            }),
        }
    }

    fn check(&self, found: &mut Findings) {
        let at = |key: &'static str| ["kinesis", "sigv4", key];
        match (&self.access_key, &self.secret_key) {
            (Some(_), None) => found.add(
                &at("access_key"),
                "is given without 'secret_key'; give both, or none",
            ),
            (None, Some(_)) => found.add(
                &at("secret_key"),
                "is given without 'access_key'; give both, or none",
            ),
            _ => {}
        }
        if self.access_key.is_some() && self.profile.is_some() {
            found.add(
                &at("profile"),
                "is given together with 'access_key'; remove one of them",
            );
        }
        if self.external_id.is_some() && self.role_arn.is_none() {
            found.add(&at("external_id"), "is given without 'role_arn'");
        }
    }
}

fn is_stream_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=128).contains(&name.len()) && name.chars().all(allowed)
}

/// `arn:partition:kinesis:region:account:stream/name`.
fn is_stream_arn(arn: &str) -> bool {
    let parts: Vec<_> = arn.split(':').collect();
    let &["arn", partition, "kinesis", region, account, stream] = &parts[..] else {
        return false;
    };
    let is_account = account.bytes().all(|byte| byte.is_ascii_digit()) && !account.is_empty();
    let name = stream.strip_prefix("stream/").unwrap_or_default();
    partition.starts_with("aws") && is_region(region) && is_account && is_stream_name(name)
}

fn is_http_address(text: &str) -> bool {
    let url = reqwest::Url::parse(text);
    url.is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
    })
}

fn default_max_records() -> u32 {
    10_000
}

fn default_poll_every() -> Duration {
    Duration::from_millis(250)
}

fn default_discover_every() -> Duration {
    Duration::from_secs(10)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::Config;
    use super::*;

    fn found(kinesis: Value) -> Vec<String> {
        let config: Config = serde_json::from_value(json!({ "kinesis": kinesis })).unwrap();
        let found = config.validate().into_iter();
        found
            .map(|(path, message)| format!("{}: {message}", path.join(".")))
            .collect()
    }

    #[test]
    fn a_stream_is_given_by_its_name_or_its_arn() {
        let arn = "arn:aws-cn:kinesis:cn-north-1:123456789012:stream/scooters";
        for (given, region) in [
            (json!({ "stream": "scooters" }), None),
            (json!({ "stream_arn": arn }), Some("cn-north-1")),
            (
                json!({ "stream_arn": arn, "region": "eu-west-1" }),
                Some("eu-west-1"),
            ),
        ] {
            assert_eq!(found(given.clone()), Vec::<String>::new());
            let config: KinesisConfig = serde_json::from_value(given).unwrap();
            assert_eq!(config.stream_name(), "scooters");
            assert_eq!(config.given_region(), region);
        }
    }

    #[test]
    fn every_wrong_value_is_found() {
        let all = found(json!({
            "stream": "a b", "region": "EU", "endpoint": "kinesis:4568", "max_records": 0,
            "start": { "timestamp": "noon" }, "mode": "enhanced_fan_out", "poll_every": "10ms",
            "discover_every": "0s", "instance": "3/2",
            "sigv4": { "access_key": "a", "profile": "b", "external_id": "c" },
        }));
        let keys: Vec<_> = all
            .iter()
            .map(|found| found.split(": ").next().unwrap())
            .collect();
        let expected = [
            "stream",
            "region",
            "endpoint",
            "sigv4.access_key",
            "sigv4.profile",
            "sigv4.external_id",
            "start.timestamp",
            "mode",
            "max_records",
            "poll_every",
            "discover_every",
            "instance",
        ];
        let expected: Vec<_> = expected
            .iter()
            .map(|key| format!("kinesis.{key}"))
            .collect();
        assert_eq!(keys, expected, "{all:?}");
        let secret = found(json!({
            "stream": "a", "region": "eu-west-1", "endpoint": "https://:hunter2@host",
        }));
        assert_eq!(
            secret,
            ["kinesis.endpoint: is not an http:// or https:// address without credentials"]
        );
        assert!(found(json!({}))[0].starts_with("kinesis: has no stream"));
        for arn in [
            "scooters",
            "arn:aws:kinesis:eu-west-1:1:stream/",
            "arn:aws:s3:eu-west-1:1:stream/a",
        ] {
            assert_eq!(found(json!({ "stream_arn": arn })).len(), 1, "{arn}");
        }
        assert_eq!(found(json!({ "stream": "a", "stream_arn": "b" })).len(), 1);
        assert_eq!(found(json!({ "stream": "a", "consumer": "b" })).len(), 1);
    }

    #[test]
    fn an_instance_is_one_of_several() {
        assert_eq!(
            "2/8".parse(),
            Ok(Instance {
                number: 2,
                count: 8
            })
        );
        for text in ["0/8", "9/8", "2", "2/", "a/b", "-1/2", "1/10001"] {
            assert!(text.parse::<Instance>().is_err(), "{text}");
        }
    }
}
