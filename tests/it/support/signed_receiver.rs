//! A receiver that verifies signatures with botocore, beside a moto that does so too.

use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;
use tempfile::TempDir;

use super::LIMIT;
use super::files::{cached_python, repository, temporary_folder};
use super::moto;
use super::process::Process;

/// The running receiver. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct SignedReceiver {
    process: Process,
    _folder: TempDir,
    told: Value,
}

impl SignedReceiver {
    /// Starts it with the keys that it is to know, and waits until it listens.
    ///
    /// # Errors
    /// moto is not in the cache, or it does not come up.
    pub(crate) fn start(keys: &Value) -> Result<Self> {
        let folder = temporary_folder()?;
        let mut command = Command::new(cached_python("moto", moto::VERSION)?);
        command
            .arg(repository().join("tests/it/support/signed_receiver.py"))
            .env("KEYS", keys.to_string());
        let mut process = Process::start("receiver", &command, &folder)?;
        let output = folder.path().join("receiver.out");
        let lines = || std::fs::read_to_string(&output).unwrap_or_default();
        process.wait_until("its address", LIMIT, || lines().contains("\"receiver\""))?;
        let mut receiver = Self {
            process,
            _folder: folder,
            told: Value::Null,
        };
        receiver.told = receiver.lines()?.into_iter().next().context("no line")?;
        Ok(receiver)
    }

    fn lines(&self) -> Result<Vec<Value>> {
        let text = self.process.stdout()?;
        // moto announces itself in words of its own.
        let objects = text.lines().filter(|line| line.starts_with('{'));
        Ok(objects
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()?)
    }

    /// What it told at its start: `receiver` (a port), `moto` (a URL), and the `key`, `secret` and
    /// `role` that moto knows.
    pub(crate) fn told(&self, name: &str) -> String {
        match self.told.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        }
    }

    /// What became of each request so far.
    ///
    /// # Errors
    /// What it has written cannot be read.
    pub(crate) fn requests(&self) -> Result<Vec<Value>> {
        Ok(self.lines()?.split_off(1))
    }
}
