//! An object store that can fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};

use crate::proxy::Proxy;
use crate::support::moto::Moto;

const BUCKET: &str = "chaos";

/// A server that speaks S3, behind a proxy.
#[derive(Debug)]
pub(crate) struct Store {
    /// Cut, the store is away.
    pub(crate) proxy: Proxy,
    answers: Arc<AtomicU64>,
    _moto: Moto,
}

impl Store {
    /// Starts an empty one.
    ///
    /// # Errors
    /// It does not come up.
    pub(crate) fn start() -> Result<Self> {
        let moto = Moto::start()?;
        moto.put(BUCKET, "")?;
        let endpoint = moto.endpoint();
        let (_, port) = endpoint.rsplit_once(':').context("no port")?;
        let answers = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&answers);
        let proxy = Proxy::start(port.parse()?, move || {
            let counted = Arc::clone(&counted);
            Box::new(move |_| {
                counted.fetch_add(1, Ordering::SeqCst);
            })
        })?;
        Ok(Self {
            proxy,
            answers,
            _moto: moto,
        })
    }

    /// Where checkpoints go.
    pub(crate) fn location(&self) -> String {
        format!("s3://{BUCKET}/state")
    }

    /// How weir finds it.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let endpoint = format!("http://{}", self.proxy.address());
        [
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("NO_PROXY", "127.0.0.1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    /// How many pieces of answers it has given: more while a checkpoint is uploaded.
    pub(crate) fn answers(&self) -> u64 {
        self.answers.load(Ordering::SeqCst)
    }
}
