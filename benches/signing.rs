//! Requests that are signed as for Amazon Managed Prometheus, and not sent.

use std::sync::Arc;

use anyhow::Result;
use reqwest::{Method, Request, Url};
use tokio::runtime::Builder;
use weir::auth::{AwsCredentials, AwsIdentity, AwsKeySet, AwsKeys, Scope, sign};
use weir::write::remote_write::Body;

const URL: &str =
    "https://aps-workspaces.eu-west-1.amazonaws.com/workspaces/ws-1/api/v1/remote_write";
const REGION: &str = "eu-west-1";
const NOW_MS: i64 = 1_730_621_750_000;

/// Signs with keys that are nobody's.
#[derive(Debug)]
pub(crate) struct Signer {
    keys: Arc<AwsKeySet>,
    url: Url,
}

impl Signer {
    pub(crate) fn new() -> Result<Self> {
        let credentials = AwsCredentials::new(AwsIdentity {
            region: Some(REGION.to_owned()),
            profile: None,
            keys: Some(AwsKeys {
                access_key_id: "AKIDEXAMPLE".to_owned(),
                secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
            }),
            role: None,
        });
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self {
            keys: runtime.block_on(credentials.get(NOW_MS))?,
            url: Url::parse(URL)?,
        })
    }

    /// The request of a body, as it would go out.
    pub(crate) fn sign(&self, body: Body) -> Result<Request> {
        let mut request = Request::new(Method::POST, self.url.clone());
        *request.body_mut() = Some(body.bytes.into());
        let scope = Scope {
            region: REGION,
            service: "aps",
            now_ms: NOW_MS,
        };
        sign(&mut request, &self.keys, scope)?;
        Ok(request)
    }
}
