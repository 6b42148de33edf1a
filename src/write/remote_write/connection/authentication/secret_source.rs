//! A secret that is given, or read from a file whenever it is needed.

use std::path::PathBuf;

use crate::model::Secret;

use crate::write::remote_write::delivery::failure::Failure;

#[derive(Debug)]
pub(super) enum SecretSource {
    Value(Secret),
    /// Read again for every request: tokens of service accounts are replaced every hour.
    File(PathBuf),
}

impl SecretSource {
    pub(super) fn new(value: &Option<Secret>, file: &Option<PathBuf>) -> Option<Self> {
        match (value, file) {
            (Some(value), _) => Some(Self::Value(value.clone())),
            (None, Some(path)) => Some(Self::File(path.clone())),
            (None, None) => None,
        }
    }

    pub(super) fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::Value(_) => None,
            Self::File(path) => Some(path),
        }
    }

    pub(super) async fn read(&self) -> Result<Secret, Failure> {
        match self {
            Self::Value(value) => Ok(value.clone()),
            Self::File(path) => match tokio::fs::read_to_string(path).await {
                Ok(text) => Ok(Secret::of_file(&text)),
                Err(error) => Err(Failure::Credentials {
                    path: path.clone(),
                    error: error.to_string(),
                }),
            },
        }
    }
}
