//! Amazon's credentials for S3.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use object_store::CredentialProvider;
use object_store::aws::AwsCredential;

use super::aws::{AwsCredentials, AwsIdentity};

/// The same credentials as everywhere, for the client of S3.
#[derive(Debug)]
pub struct BucketCredentials {
    credentials: AwsCredentials,
    now_ms: fn() -> i64,
}

impl BucketCredentials {
    /// `now_ms` is asked for the time, in milliseconds since the epoch.
    pub fn new(identity: AwsIdentity, now_ms: fn() -> i64) -> Self {
        Self {
            credentials: AwsCredentials::new(identity),
            now_ms,
        }
    }
}

impl CredentialProvider for BucketCredentials {
    type Credential = AwsCredential;

    fn get_credential<'a, 'trait_>(
        &'a self,
    ) -> Pin<Box<dyn Future<Output = object_store::Result<Arc<AwsCredential>>> + Send + 'trait_>>
    where
        'a: 'trait_,
        Self: 'trait_,
    {
        Box::pin(async {
            let found = self.credentials.get((self.now_ms)()).await;
            let found = found.map_err(|error| object_store::Error::Generic {
                store: "S3",
                source: Box::new(error),
            })?;
            Ok(Arc::new(AwsCredential {
                key_id: found.access_key_id().to_owned(),
                secret_key: found.secret_access_key().to_owned(),
                token: found.session_token().map(str::to_owned),
            }))
        })
    }
}
