//! What is asked of Kinesis, and what its refusals mean.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::config::timeout::TimeoutConfig;
use aws_sdk_kinesis::config::{
    BehaviorVersion, IdentityCache, Region, StalledStreamProtectionConfig,
};
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::operation::subscribe_to_shard::SubscribeToShardOutput;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{ConsumerStatus, Shard, ShardIteratorType, StartingPosition};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::auth::{AwsCredentials, StreamingHttp, are_nowhere, environment_region};
use crate::model::Clock;
use crate::telemetry::with_causes;

use super::super::config::KinesisConfig;
use super::hash_range::HashRange;
use super::place::{Place, is_before};
use super::shards::Listed;

/// How long an answer may take, and how often a request is sent until it counts as failed. What fails
/// then is asked again by whoever has asked, after a wait of its own.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
const ATTEMPTS: u32 = 3;

/// How often it is looked whether a new consumer is ready, and how many times.
const CONSUMER_WAIT: Duration = Duration::from_millis(500);
const CONSUMER_LOOKS: usize = 60;

/// How many answers without records are taken when the oldest record is looked for.
const OLDEST_LOOKS: usize = 5;

/// Why a request has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// There were too many requests.
    Throttled(String),
    /// The iterator is too old.
    ExpiredIterator,
    /// Kinesis knows no such stream, shard or consumer.
    NotFound(String),
    /// Something else has it, or it is not ready: a consumer, a subscription.
    InUse(String),
    /// The request makes no sense to Kinesis: a sequence number that it no longer knows.
    Invalid(String),
    /// We may not ask this, or are not known.
    Denied(String),
    /// Whatever waiting may mend.
    Passing(String),
}

impl Trouble {
    /// What happened, in words.
    pub(super) fn words(&self) -> &str {
        match self {
            Self::ExpiredIterator => "the iterator has expired",
            Self::Throttled(words)
            | Self::NotFound(words)
            | Self::InUse(words)
            | Self::Invalid(words)
            | Self::Denied(words)
            | Self::Passing(words) => words,
        }
    }

    /// By its code and its words.
    fn of(code: &str, words: String) -> Self {
        match code {
            "ProvisionedThroughputExceededException"
            | "LimitExceededException"
            | "KMSThrottlingException"
            | "ThrottlingException"
            | "Throttling"
            | "RequestLimitExceeded" => Self::Throttled(words),
            "ExpiredIteratorException" => Self::ExpiredIterator,
            "ResourceNotFoundException" => Self::NotFound(words),
            "ResourceInUseException" => Self::InUse(words),
            "InvalidArgumentException" | "ValidationException" => Self::Invalid(words),
            "AccessDeniedException"
            | "AccessDenied"
            | "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "IncompleteSignature"
            | "IncompleteSignatureException"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "ExpiredToken"
            | "ExpiredTokenException"
            | "NotAuthorized"
            | "OptInRequired"
            | "KMSAccessDeniedException" => Self::Denied(words),
            _ => Self::Passing(words),
        }
    }
}

/// A failed request, or an event of a subscription that says why it ends.
pub(super) fn trouble<E, R>(error: &SdkError<E, R>) -> Trouble
where
    E: ProvideErrorMetadata + Error + 'static,
    R: std::fmt::Debug + 'static,
{
    let code = error.code().unwrap_or_default();
    let words = match (code, error.message()) {
        ("", _) => with_causes(error),
        (code, None) => code.to_owned(),
        (code, Some(message)) => format!("{code}: {message}"),
    };
    Trouble::of(code, words)
}

/// A shard as the stream lists it.
#[derive(Debug, Clone)]
pub(super) struct ShardInfo {
    pub(super) listed: Listed,
    pub(super) range: HashRange,
    /// Whether it takes no more records.
    pub(super) closed: bool,
    /// Before the sequence numbers of all its records.
    pub(super) start: Option<String>,
}

impl ShardInfo {
    /// Whether a place is that of a shard of an earlier stream, which had the same name: this one begins
    /// behind it, or takes records though that one was read to its end.
    pub(super) fn is_another(&self, place: &Place) -> bool {
        if *place == Place::End {
            return !self.closed;
        }
        let (start, sequence) = (self.start.as_deref(), place.sequence());
        let both = start.zip(sequence);
        both.is_some_and(|(start, sequence)| is_before(sequence, start))
    }
}

/// The SDK's client for one stream.
#[derive(Debug, Clone)]
pub(super) struct Client {
    sdk: aws_sdk_kinesis::Client,
    credentials: Signer,
    stream_name: Option<String>,
    stream_arn: Option<String>,
    max_records: i32,
}

/// Our credentials as the SDK wants them.
#[derive(Debug, Clone)]
struct Signer {
    credentials: Arc<AwsCredentials>,
    clock: Clock,
    /// Those that were given out last.
    last: Arc<Mutex<Option<Arc<Credentials>>>>,
}

impl Signer {
    async fn get(&self) -> Result<Credentials, CredentialsError> {
        let found = self.credentials.get(self.clock.now_ms()).await;
        let found = found.map_err(CredentialsError::provider_error)?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(found.clone());
        Ok((*found).clone())
    }

    /// They were refused: those that are old enough are looked for anew.
    fn refused(&self) {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = &*last {
            self.credentials.refused(last);
        }
    }
}

impl ProvideCredentials for Signer {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.get())
    }
}

impl Client {
    /// A client without credentials yet.
    ///
    /// # Errors
    /// There is no region.
    pub(super) async fn new(config: &KinesisConfig, clock: &Clock) -> Result<Self, String> {
        let region = match config.given_region() {
            Some(region) => Some(region.to_owned()),
            None => environment_region().await,
        };
        let region = region.ok_or(
            "there is no region; write it as 'region', or set AWS_REGION, or give the stream's ARN",
        )?;
        let signer = config.sigv4.clone().unwrap_or_default();
        let identity = signer.identity(&region);
        let credentials = Signer {
            credentials: Arc::new(AwsCredentials::new(identity)),
            clock: clock.clone(),
            last: Arc::default(),
        };
        let endpoint = config.endpoint.as_deref();
        let is_plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT_TIMEOUT);
        let mut builder = aws_sdk_kinesis::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(region))
            .credentials_provider(credentials.clone())
            // Ours are kept already, and are looked for anew once they were refused.
            .identity_cache(IdentityCache::no_cache())
            .http_client(StreamingHttp::new(is_plain)?)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .timeout_config(timeouts.build())
            // A silent subscription is a quiet shard; one that has died is seen by us.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        if let Some(endpoint) = endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        Ok(Self {
            sdk: aws_sdk_kinesis::Client::from_conf(builder.build()),
            credentials,
            stream_name: config.stream.clone(),
            stream_arn: config.stream_arn.clone(),
            max_records: i32::try_from(config.max_records).unwrap_or(i32::MAX),
        })
    }

    /// Looks for credentials.
    ///
    /// # Errors
    /// There are none, or who has them does not answer.
    pub(super) async fn find_credentials(&self) -> Result<(), Trouble> {
        let signer = &self.credentials;
        match signer.credentials.get(signer.clock.now_ms()).await {
            Ok(_) => Ok(()),
            Err(error) if are_nowhere(&error) => Err(Trouble::Invalid(with_causes(&error))),
            Err(error) => Err(Trouble::Passing(with_causes(&error))),
        }
    }

    /// What a failure is, after whatever can be done about it here.
    fn trouble<E>(&self, error: &SdkError<E, HttpResponse>) -> Trouble
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let status = error.raw_response().map(|answer| answer.status().as_u16());
        let trouble = match (status, trouble(error)) {
            // Whoever stands in front of Kinesis may say it in words of its own.
            (Some(status @ (401 | 403)), Trouble::Passing(_)) => {
                Trouble::Denied(format!("access is denied (status {status})"))
            }
            (_, trouble) => trouble,
        };
        if matches!(trouble, Trouble::Denied(_)) {
            self.credentials.refused();
        }
        trouble
    }

    /// All shards whose records are kept.
    ///
    /// # Errors
    /// A request has failed.
    pub(super) async fn shards(&self) -> Result<Vec<ShardInfo>, Trouble> {
        let mut shards = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let mut request = self.sdk.list_shards();
            // A page that follows is named by its token alone.
            request = match token.take() {
                Some(token) => request.next_token(token),
                None => request
                    .set_stream_name(self.stream_name.clone())
                    .set_stream_arn(self.stream_arn.clone()),
            };
            let page = request.send().await.map_err(|error| self.trouble(&error))?;
            for shard in page.shards() {
                shards.push(info(shard)?);
            }
            token = page.next_token().map(str::to_owned);
            if token.is_none() {
                return Ok(shards);
            }
        }
    }

    /// An iterator that begins at a place.
    ///
    /// # Errors
    /// The request has failed.
    pub(super) async fn iterator(&self, shard: &str, place: &Place) -> Result<String, Trouble> {
        let (kind, sequence, time) = starting(place);
        let request = self
            .sdk
            .get_shard_iterator()
            .set_stream_name(self.stream_name.clone())
            .set_stream_arn(self.stream_arn.clone())
            .shard_id(shard)
            .shard_iterator_type(kind)
            .set_starting_sequence_number(sequence)
            .set_timestamp(time);
        let answer = request.send().await.map_err(|error| self.trouble(&error))?;
        let iterator = answer.shard_iterator().map(str::to_owned);
        iterator.ok_or_else(|| Trouble::Passing("there was no iterator in the answer".to_owned()))
    }

    /// The next records.
    ///
    /// # Errors
    /// The request has failed.
    pub(super) async fn records(&self, iterator: &str) -> Result<GetRecordsOutput, Trouble> {
        let request = self.sdk.get_records().shard_iterator(iterator);
        let request = request
            .limit(self.max_records)
            .set_stream_arn(self.stream_arn.clone());
        request.send().await.map_err(|error| self.trouble(&error))
    }

    /// The sequence number of the oldest record that is kept of a shard; nothing where it is not found
    /// within some answers.
    ///
    /// # Errors
    /// A request has failed.
    pub(super) async fn oldest(&self, shard: &str) -> Result<Option<String>, Trouble> {
        let mut iterator = self.iterator(shard, &Place::TrimHorizon).await?;
        for _ in 0..OLDEST_LOOKS {
            let request = self.sdk.get_records().shard_iterator(&iterator).limit(1);
            let request = request.set_stream_arn(self.stream_arn.clone());
            let answer = request.send().await.map_err(|error| self.trouble(&error))?;
            if let Some(record) = answer.records().first() {
                return Ok(Some(record.sequence_number().to_owned()));
            }
            match answer.next_shard_iterator() {
                None | Some("") => break,
                Some(next) => next.clone_into(&mut iterator),
            }
        }
        Ok(None)
    }

    /// A subscription to a shard from a place on.
    ///
    /// # Errors
    /// The request has failed.
    pub(super) async fn subscribe(
        &self,
        consumer_arn: &str,
        shard: &str,
        place: &Place,
    ) -> Result<SubscribeToShardOutput, Trouble> {
        let (kind, sequence, time) = starting(place);
        let position = StartingPosition::builder()
            .r#type(kind)
            .set_sequence_number(sequence)
            .set_timestamp(time)
            .build();
        let position = position.map_err(|error| Trouble::Passing(error.to_string()))?;
        let request = self
            .sdk
            .subscribe_to_shard()
            .consumer_arn(consumer_arn)
            .shard_id(shard)
            .starting_position(position);
        request.send().await.map_err(|error| self.trouble(&error))
    }

    /// The ARN of a consumer of the stream, which is registered where there is none, once it is ready.
    ///
    /// # Errors
    /// A request has failed, or the consumer does not become ready.
    pub(super) async fn consumer(&self, name: &str) -> Result<String, Trouble> {
        let stream_arn = match &self.stream_arn {
            Some(arn) => arn.clone(),
            None => {
                let request = self.sdk.describe_stream_summary();
                let request = request.set_stream_name(self.stream_name.clone());
                let answer = request.send().await.map_err(|error| self.trouble(&error))?;
                let summary = answer.stream_description_summary();
                summary
                    .map(|summary| summary.stream_arn().to_owned())
                    .unwrap_or_default()
            }
        };
        for _ in 0..CONSUMER_LOOKS {
            let request = self.sdk.describe_stream_consumer();
            let request = request.stream_arn(&stream_arn).consumer_name(name);
            let described = request.send().await;
            match described.map_err(|error| self.trouble(&error)) {
                Ok(answer) => {
                    let consumer = answer.consumer_description();
                    let active = consumer
                        .filter(|consumer| *consumer.consumer_status() == ConsumerStatus::Active);
                    if let Some(active) = active {
                        return Ok(active.consumer_arn().to_owned());
                    }
                }
                Err(Trouble::NotFound(_)) => {
                    let request = self.sdk.register_stream_consumer();
                    let request = request.stream_arn(&stream_arn).consumer_name(name);
                    let registered = request.send().await.map_err(|error| self.trouble(&error));
                    match registered {
                        Ok(_) => {
                            tracing::info!(consumer = name, "a kinesis consumer is registered")
                        }
                        // Another instance was quicker.
                        Err(Trouble::InUse(_)) => {}
                        Err(trouble) => return Err(trouble),
                    }
                }
                Err(trouble) => return Err(trouble),
            }
            tokio::time::sleep(CONSUMER_WAIT).await;
        }
        Err(Trouble::Passing(format!(
            "the consumer {name} does not become active"
        )))
    }
}

/// A place in the words of Kinesis.
fn starting(place: &Place) -> (ShardIteratorType, Option<String>, Option<DateTime>) {
    match place {
        Place::TrimHorizon | Place::End => (ShardIteratorType::TrimHorizon, None, None),
        Place::At(ms) => {
            let time = Some(DateTime::from_millis(*ms));
            (ShardIteratorType::AtTimestamp, None, time)
        }
        Place::After(sequence) => {
            let sequence = Some(sequence.clone());
            (ShardIteratorType::AfterSequenceNumber, sequence, None)
        }
        Place::Within(sequence, _) => {
            let sequence = Some(sequence.clone());
            (ShardIteratorType::AtSequenceNumber, sequence, None)
        }
    }
}

fn info(shard: &Shard) -> Result<ShardInfo, Trouble> {
    let range = shard.hash_key_range();
    let range = range
        .and_then(|range| HashRange::parse(range.starting_hash_key(), range.ending_hash_key()));
    let range = range.ok_or_else(|| {
        let words = format!("shard {} has no range of hash keys", shard.shard_id());
        Trouble::Passing(words)
    })?;
    let parents = [shard.parent_shard_id(), shard.adjacent_parent_shard_id()];
    let numbers = shard.sequence_number_range();
    Ok(ShardInfo {
        listed: Listed {
            id: shard.shard_id().to_owned(),
            parents: parents.into_iter().flatten().map(str::to_owned).collect(),
        },
        range,
        closed: numbers.is_some_and(|numbers| numbers.ending_sequence_number().is_some()),
        start: numbers.map(|numbers| numbers.starting_sequence_number().to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_before_the_start_of_a_shard_or_behind_its_end_is_of_another_stream() {
        let open = ShardInfo {
            listed: Listed {
                id: "shardId-000000000000".to_owned(),
                parents: Vec::new(),
            },
            range: HashRange {
                first: 0,
                last: u128::MAX,
            },
            closed: false,
            start: Some("1000".to_owned()),
        };
        let closed = ShardInfo {
            closed: true,
            ..open.clone()
        };
        for (place, of_open, of_closed) in [
            (Place::After("999".to_owned()), true, true),
            (Place::Within("1000".to_owned(), 1), false, false),
            (Place::TrimHorizon, false, false),
            (Place::At(7), false, false),
            (Place::End, true, false),
        ] {
            assert_eq!(open.is_another(&place), of_open, "{place}");
            assert_eq!(closed.is_another(&place), of_closed, "{place}");
        }
    }

    #[test]
    fn a_refusal_is_told_from_what_waiting_mends() {
        let words = || "words".to_owned();
        for (code, expected) in [
            ("LimitExceededException", Trouble::Throttled(words())),
            ("ExpiredIteratorException", Trouble::ExpiredIterator),
            ("ResourceNotFoundException", Trouble::NotFound(words())),
            ("ResourceInUseException", Trouble::InUse(words())),
            ("InvalidArgumentException", Trouble::Invalid(words())),
            ("UnrecognizedClientException", Trouble::Denied(words())),
            ("ExpiredTokenException", Trouble::Denied(words())),
            ("InternalFailure", Trouble::Passing(words())),
            ("", Trouble::Passing(words())),
        ] {
            assert_eq!(Trouble::of(code, words()), expected);
        }
    }
}
