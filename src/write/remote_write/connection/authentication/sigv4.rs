//! Requests signed for Amazon.

use std::sync::Arc;

use reqwest::{Request, Url};

use crate::auth::{
    AwsCredentials, AwsIdentity, AwsKeySet, AwsKeys, AwsRole, Scope, prometheus_region, sign,
};
use crate::telemetry::with_causes;

use super::config::SigV4Config;
use crate::write::remote_write::delivery::failure::Failure;

#[derive(Debug)]
pub(super) struct SigV4 {
    credentials: AwsCredentials,
    region: String,
    service: String,
}

impl SigV4 {
    /// With the region of the URL where none is given.
    pub(super) fn new(config: &SigV4Config, url: &str) -> Self {
        let region = config.region.clone().or_else(|| {
            let url = Url::parse(url).ok()?;
            prometheus_region(url.host_str()?).map(str::to_owned)
        });
        let keys = match (&config.access_key, &config.secret_key) {
            (Some(id), Some(secret)) => Some(AwsKeys {
                access_key_id: id.clone(),
                secret_access_key: secret.reveal().to_owned(),
            }),
            _ => None,
        };
        let role = config.role_arn.as_ref().map(|arn| AwsRole {
            arn: arn.clone(),
            external_id: config.external_id.as_ref().map(|id| id.reveal().to_owned()),
            session_name: config.session_name.clone(),
        });
        Self {
            credentials: AwsCredentials::new(AwsIdentity {
                region: region.clone(),
                profile: config.profile.clone(),
                keys,
                role,
            }),
            region: region.unwrap_or_default(),
            service: config.service.clone(),
        }
    }

    /// Signs a request, and gives the keys that it was signed with.
    pub(super) async fn sign(
        &self,
        request: &mut Request,
        now_ms: i64,
    ) -> Result<Arc<AwsKeySet>, Failure> {
        let keys = self.credentials.get(now_ms).await;
        let keys = keys.map_err(|error| Failure::NoCredentials(with_causes(&error)))?;
        let scope = Scope {
            region: &self.region,
            service: &self.service,
            now_ms,
        };
        match sign(request, &keys, scope) {
            Ok(()) => Ok(keys),
            Err(error) => Err(Failure::NoCredentials(with_causes(&error))),
        }
    }

    pub(super) fn refused(&self, keys: &Arc<AwsKeySet>) -> bool {
        self.credentials.refused(keys)
    }
}
