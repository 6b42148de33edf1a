//! Tables in S3.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{ClientOptions, GetOptions, ObjectStore as _, RetryConfig};

use super::body::Chunks;
use super::waiter::{Stopped, Waiter};
use super::{Failure, Found, Stamp};
use crate::auth::{AwsIdentity, BucketCredentials};
use crate::enrich::from::TableSource;
use crate::model::{Clock, install_tls};
use crate::telemetry::with_causes;

/// An object in a bucket. Credentials are those that AWS finds: of the environment, its shared files,
/// a web identity, a container or the machine.
#[derive(Debug)]
pub(super) struct S3Place {
    store: AmazonS3,
    key: Path,
}

impl S3Place {
    pub(super) fn build(bucket: &str, key: &str, from: &TableSource) -> Result<Self, String> {
        install_tls();
        let s3 = from.s3.clone().unwrap_or_default();
        let timeout = from.timeout().to_std();
        let retry = RetryConfig {
            // The lookup makes further attempts itself, and tells of them.
            max_retries: 1,
            retry_timeout: timeout,
            ..RetryConfig::default()
        };
        let options = ClientOptions::new()
            .with_timeout(timeout)
            .with_connect_timeout(timeout.min(Duration::from_secs(10)))
            .with_allow_http(s3.allow_http);
        let identity = AwsIdentity {
            region: s3.region.clone(),
            ..AwsIdentity::default()
        };
        let credentials = BucketCredentials::new(identity, || Clock::System.now_ms());
        let mut builder = AmazonS3Builder::from_env()
            .with_credentials(Arc::new(credentials))
            .with_client_options(options)
            .with_retry(retry)
            .with_bucket_name(bucket);
        if let Some(region) = &s3.region {
            builder = builder.with_region(region);
        }
        if let Some(endpoint) = &s3.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        Ok(Self {
            store: builder.build().map_err(|error| with_causes(&error))?,
            key: Path::parse(key).map_err(|error| with_causes(&error))?,
        })
    }

    pub(super) fn fetch<'a>(
        &self,
        known: Option<&Stamp>,
        waiter: &'a Waiter,
    ) -> Result<Found<'a>, Failure> {
        let options = GetOptions {
            if_none_match: known.cloned(),
            ..GetOptions::default()
        };
        let found = waiter
            .wait(async { self.store.get_opts(&self.key, options).await })
            .map_err(|Stopped| Failure::Stopped)?;
        let found = match found {
            Ok(found) => found,
            Err(object_store::Error::NotModified { .. }) if known.is_some() => return Ok(None),
            Err(error) => return Err(failure(&error)),
        };
        let stamp = found.meta.e_tag.clone();
        let mut stream = found.into_stream();
        let next = move |waiter: &Waiter| match waiter.wait(async { stream.next().await }) {
            Err(Stopped) => Err(Failure::Stopped),
            Ok(None) => Ok(None),
            Ok(Some(Ok(chunk))) => Ok(Some(chunk)),
            Ok(Some(Err(error))) => Err(Failure::Temporary(with_causes(&error))),
        };
        let chunks = Chunks::new(waiter, Box::new(next));
        Ok(Some((Box::new(chunks), stamp)))
    }
}

fn failure(error: &object_store::Error) -> Failure {
    use object_store::Error;
    match error {
        Error::NotFound { .. } => {
            Failure::Permanent("there is no such bucket or object".to_owned())
        }
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => Failure::Permanent(
            format!("the credentials do not allow it: {}", with_causes(error)),
        ),
        Error::InvalidPath { .. }
        | Error::NotSupported { .. }
        | Error::UnknownConfigurationKey { .. } => Failure::Permanent(with_causes(error)),
        _ => Failure::Temporary(with_causes(error)),
    }
}
