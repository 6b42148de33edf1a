//! State in S3, and in anything with its API.

use std::env;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{
    ClientOptions, ObjectStore as _, ObjectStoreExt as _, PutMode, PutOptions, RetryConfig,
};
use tokio::runtime::{Builder, Runtime};

use super::store::{Store, StoreError, StoreErrorKind, check_name};
use crate::auth::{AwsIdentity, BucketCredentials};
use crate::model::{Clock, install_tls};
use crate::telemetry::with_causes;

/// The longest time for a request: a slow uplink takes a while for a blob.
const TIMEOUT: Duration = Duration::from_secs(120);
/// The longest time for a call with all of its attempts.
const RETRY_TIMEOUT: Duration = Duration::from_secs(180);
const RETRIES: usize = 5;
/// Where the environment may name a server that is not Amazon's.
const ENDPOINTS: [&str; 3] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];

/// Settings of S3 that differ from those of the environment (`AWS_REGION`, `AWS_ENDPOINT_URL`, …).
/// Credentials are always those that AWS finds: of the environment, its shared files, a web identity,
/// a container or the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct S3Options {
    /// The region.
    pub region: Option<String>,
    /// The address of a server that is not Amazon's.
    pub endpoint: Option<String>,
    /// Whether the endpoint may be one without TLS.
    pub allow_http: bool,
}

impl S3Options {
    /// Nothing but what the environment says. Who names an endpoint without TLS there wants one.
    pub fn of_environment() -> Self {
        let is_plain = |name: &str| env::var(name).is_ok_and(|url| url.starts_with("http://"));
        Self {
            allow_http: ENDPOINTS.into_iter().any(is_plain),
            ..Self::default()
        }
    }
}

/// Keeps bytes as objects in a bucket.
#[derive(Debug)]
pub struct S3Store {
    location: String,
    prefix: String,
    client: AmazonS3,
    /// Taken out only at the end.
    runtime: Option<Runtime>,
}

impl S3Store {
    /// Uses a bucket. Names go below `prefix`, which may be empty. Nothing is asked of the server yet.
    ///
    /// # Errors
    /// The settings or the environment cannot be used.
    pub fn open(bucket: &str, prefix: &str, options: &S3Options) -> Result<Self, StoreError> {
        install_tls();
        let prefix = prefix.trim_matches('/').to_owned();
        let location = match prefix.as_str() {
            "" => format!("s3://{bucket}"),
            prefix => format!("s3://{bucket}/{prefix}"),
        };
        let unsupported =
            |words: String| StoreError::new(StoreErrorKind::Unsupported, location.clone(), words);
        Path::parse(&prefix).map_err(|error| unsupported(with_causes(&error)))?;
        let client = ClientOptions::new()
            .with_timeout(TIMEOUT)
            .with_connect_timeout(Duration::from_secs(10))
            // Connections are looked after during calls only: one that has long been idle may be dead.
            .with_pool_idle_timeout(Duration::from_secs(5));
        let client = if options.allow_http {
            client.with_allow_http(true)
        } else {
            client
        };
        let retry = RetryConfig {
            max_retries: RETRIES,
            retry_timeout: RETRY_TIMEOUT,
            ..RetryConfig::default()
        };
        let identity = AwsIdentity {
            region: options.region.clone(),
            ..AwsIdentity::default()
        };
        let credentials = BucketCredentials::new(identity, || Clock::System.now_ms());
        let mut builder = AmazonS3Builder::from_env()
            .with_credentials(Arc::new(credentials))
            .with_client_options(client)
            .with_retry(retry)
            .with_bucket_name(bucket);
        if let Some(region) = &options.region {
            builder = builder.with_region(region);
        }
        if let Some(endpoint) = &options.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        let client = builder
            .build()
            .map_err(|error| unsupported(with_causes(&error)))?;
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| unsupported(with_causes(&error)))?;
        Ok(Self {
            location,
            prefix,
            client,
            runtime: Some(runtime),
        })
    }

    fn wait<T>(
        &self,
        name: &str,
        future: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, StoreError> {
        let location = format!("{}/{name}", self.location);
        let Some(runtime) = &self.runtime else {
            let words = "the store was closed";
            return Err(StoreError::new(
                StoreErrorKind::Unavailable,
                location,
                words,
            ));
        };
        let done = runtime.block_on(future);
        done.map_err(|error| StoreError::new(kind(&error), location, with_causes(&error)))
    }

    fn key(&self, name: &str) -> String {
        if self.prefix.is_empty() {
            return name.to_owned();
        }
        format!("{}/{name}", self.prefix)
    }

    fn write(&self, name: &str, bytes: &[u8], mode: PutMode) -> Result<(), StoreError> {
        check_name(self, name)?;
        let payload = bytes.to_vec().into();
        let options = PutOptions::from(mode);
        self.wait(name, async {
            let key = Path::parse(self.key(name))?;
            self.client.put_opts(&key, payload, options).await
        })?;
        Ok(())
    }
}

impl Store for S3Store {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.write(name, bytes, PutMode::Overwrite)
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.write(name, bytes, PutMode::Create)
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        check_name(self, name)?;
        self.wait(name, async {
            let key = Path::parse(self.key(name))?;
            let found = match self.client.get(&key).await {
                Ok(found) => found,
                Err(error) if is_missing_object(&error) => return Ok(None),
                Err(error) => return Err(error),
            };
            Ok(Some(found.bytes().await?.to_vec()))
        })
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let key = self.key(prefix);
        let folder = key.rfind('/').and_then(|end| key.get(..end));
        let mut names = Vec::new();
        self.wait(prefix, async {
            let folder = folder.map(Path::parse).transpose()?;
            let mut found = self.client.list(folder.as_ref());
            while let Some(object) = found.next().await {
                let key = object?.location;
                let name = key.as_ref().strip_prefix(&self.prefix);
                let name = name.unwrap_or_default().trim_start_matches('/');
                if name.starts_with(prefix) {
                    names.push(name.to_owned());
                }
            }
            Ok(())
        })?;
        names.sort();
        Ok(names)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        check_name(self, name)?;
        self.wait(name, async {
            let key = Path::parse(self.key(name))?;
            match self.client.delete(&key).await {
                Err(error) if is_missing_object(&error) => Ok(()),
                done => done,
            }
        })
    }

    fn sync(&self) -> Result<(), StoreError> {
        // What the server has answered, it has done.
        Ok(())
    }

    fn location(&self) -> String {
        self.location.clone()
    }
}

impl Drop for S3Store {
    fn drop(&mut self) {
        // Nothing is left to wait for, wherever this is dropped.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Whether an object is missing, and not its bucket.
fn is_missing_object(error: &object_store::Error) -> bool {
    let missing = matches!(error, object_store::Error::NotFound { .. });
    missing && !with_causes(error).contains("NoSuchBucket")
}

fn kind(error: &object_store::Error) -> StoreErrorKind {
    use object_store::Error;
    match error {
        Error::NotFound { .. } => StoreErrorKind::Missing,
        Error::AlreadyExists { .. } | Error::Precondition { .. } => StoreErrorKind::AlreadyExists,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => StoreErrorKind::Denied,
        Error::InvalidPath { .. }
        | Error::NotSupported { .. }
        | Error::NotImplemented { .. }
        | Error::UnknownConfigurationKey { .. } => StoreErrorKind::Unsupported,
        other => {
            let words = with_causes(other);
            let says = |phrases: &[&str]| phrases.iter().any(|phrase| words.contains(phrase));
            if says(&["NoSuchBucket"]) {
                StoreErrorKind::Missing
            } else if says(&["ExpiredToken", "InvalidToken", "TokenRefreshRequired"]) {
                // Said with the status 400, which alone would tell of no permission.
                StoreErrorKind::Denied
            } else if says(&["507 Insufficient Storage", "StorageFull", "QuotaExceeded"]) {
                StoreErrorKind::Full
            } else {
                StoreErrorKind::Unavailable
            }
        }
    }
}
