//! A DynamoDB table, asked with `GetItem` of its JSON protocol:
//! <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_GetItem.html>.
//!
//! One signed request is all that is used of it, so there is no SDK: it would bring in a second HTTP
//! client and a second TLS.

use std::env;

use reqwest::{Client, Request, Url};
use serde_json::{Map, Value, json};

use super::super::config::AddedColumn;
use super::answer::{Answer, RequestError, field_values};
use super::config::DynamoDbService;
use super::http::{at_path, body_of, builder, is_repeatable, network, parse, quoted, retry_after};
use crate::auth::{AwsCredentials, AwsIdentity, Scope, is_region, sign};
use crate::model::Clock;
use crate::telemetry::with_causes;

const CONTENT_TYPE: &str = "application/x-amz-json-1.0";
const TARGET: &str = "DynamoDB_20120810.GetItem";

/// Errors with status 400 after which another attempt may help. See
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html>.
const REPEATABLE: [&str; 4] = [
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ThrottlingException",
    "LimitExceededException",
];

/// Asks one table.
#[derive(Debug)]
pub(super) struct DynamoDbClient {
    client: Client,
    url: Url,
    region: String,
    table: String,
    key: String,
    credentials: AwsCredentials,
    add: Vec<AddedColumn>,
    clock: Clock,
}

impl DynamoDbClient {
    pub(super) fn build(
        config: &DynamoDbService,
        add: &[AddedColumn],
        clock: Clock,
    ) -> Result<Self, String> {
        let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let region = config
            .region
            .clone()
            .or_else(|| variable("AWS_REGION"))
            .or_else(|| variable("AWS_DEFAULT_REGION"))
            .filter(|region| is_region(region))
            .ok_or("there is no region: give region, or set AWS_REGION")?;
        let url = match &config.endpoint {
            Some(endpoint) => parse(endpoint)?,
            None => parse(&default_endpoint(&region))?,
        };
        let client = builder(&url)
            .timeout(config.timeout.to_std())
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self {
            client,
            url,
            credentials: AwsCredentials::new(AwsIdentity {
                region: Some(region.clone()),
                ..AwsIdentity::default()
            }),
            region,
            table: config.table.clone(),
            key: config.key.clone(),
            add: add.to_vec(),
            clock,
        })
    }

    pub(super) async fn ask(&self, key: &str) -> Result<Answer, RequestError> {
        let body = json!({ "TableName": self.table, "Key": { &self.key: { "S": key } } });
        let request = self.signed(body.to_string()).await?;
        let response = self.client.execute(request).await.map_err(network)?;
        let status = response.status();
        let retry_after = retry_after(&response, &self.clock);
        let body = body_of(response).await?;
        if !status.is_success() {
            let kind = error_kind(&body);
            let message = format!("status {}: {}", status.as_u16(), quoted(&body));
            return Err(RequestError {
                message,
                is_repeatable: is_repeatable(status) || REPEATABLE.contains(&kind.as_str()),
                retry_after,
            });
        }
        let mut answer: Value = serde_json::from_slice(&body)
            .map_err(|error| RequestError::fatal(format!("not JSON: {error}")))?;
        let Some(Value::Object(item)) = answer.get_mut("Item").map(Value::take) else {
            return Ok(Answer::Missing);
        };
        let item = plain_object(item);
        let found = field_values(&self.add, |path| at_path(&item, path))?;
        Ok(Answer::Found(found))
    }

    async fn signed(&self, body: String) -> Result<Request, RequestError> {
        let post = self.client.post(self.url.clone()).body(body);
        let post = post.header("content-type", CONTENT_TYPE);
        let post = post.header("x-amz-target", TARGET);
        let mut request = post.build().map_err(network)?;
        let now_ms = self.clock.now_ms();
        let credentials = self.credentials.get(now_ms).await;
        // The machine's role may yet come.
        let credentials =
            credentials.map_err(|error| RequestError::repeatable(with_causes(&error)))?;
        let scope = Scope {
            region: &self.region,
            service: "dynamodb",
            now_ms,
        };
        sign(&mut request, &credentials, scope)
            .map_err(|error| RequestError::fatal(with_causes(&error)))?;
        Ok(request)
    }
}

fn default_endpoint(region: &str) -> String {
    let domain = if region.starts_with("cn-") {
        "amazonaws.com.cn"
    } else {
        "amazonaws.com"
    };
    format!("https://dynamodb.{region}.{domain}/")
}

/// The name of an error: `com.amazonaws.dynamodb.v20120810#ThrottlingException` without its space.
fn error_kind(body: &[u8]) -> String {
    let error: Value = serde_json::from_slice(body).unwrap_or_default();
    let kind = error.get("__type").and_then(Value::as_str);
    let kind = kind.and_then(|kind| kind.rsplit('#').next());
    kind.unwrap_or_default().to_owned()
}

/// An item as plain JSON: `{"kwh": {"N": "60"}}` is `{"kwh": 60}`. Binary values and sets are left
/// as they are, and so fit no column.
fn plain_object(item: Map<String, Value>) -> Map<String, Value> {
    let values = item.into_iter();
    values.map(|(name, value)| (name, plain(value))).collect()
}

fn plain(value: Value) -> Value {
    let Value::Object(tagged) = &value else {
        return value;
    };
    let Some((tag, inner)) = tagged.iter().next() else {
        return value;
    };
    match (tag.as_str(), inner) {
        ("S" | "BOOL", inner) => inner.clone(),
        ("N", Value::String(digits)) => serde_json::from_str(digits).unwrap_or(Value::Null),
        ("NULL", _) => Value::Null,
        ("M", Value::Object(map)) => Value::Object(plain_object(map.clone())),
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_become_plain_json() {
        let item = json!({
            "model": { "S": "Helion" },
            "rating": { "M": { "kwh": { "N": "60.5" } } },
            "electric": { "BOOL": true },
            "depot": { "NULL": true },
            "tags": { "SS": ["a"] }
        });
        let Value::Object(item) = item else {
            panic!("an object")
        };
        let expected = json!({
            "model": "Helion", "rating": { "kwh": 60.5 }, "electric": true, "depot": null,
            "tags": { "SS": ["a"] }
        });
        assert_eq!(Value::Object(plain_object(item)), expected);
    }

    #[test]
    fn errors_are_known_by_their_names() {
        let body = br#"{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException"}"#;
        assert_eq!(error_kind(body), REPEATABLE[2]);
        assert_eq!(error_kind(b"<html>"), "");
    }

    #[test]
    fn the_endpoint_follows_the_region() {
        let europe = default_endpoint("eu-central-1");
        assert_eq!(europe, "https://dynamodb.eu-central-1.amazonaws.com/");
        let china = default_endpoint("cn-north-1");
        assert_eq!(china, "https://dynamodb.cn-north-1.amazonaws.com.cn/");
    }
}
