//! The dead letters that there are, from the oldest on.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file::older;
use super::{Config, StoredLetter};
use crate::model::BrokerTokens;

/// Why letters cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LetterError {
    /// A file of them cannot be read.
    #[error("dead letters in {path}: {error}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// Their topic cannot be read.
    #[error("dead letters in kafka {brokers}, topic {topic}: {message}")]
    Topic {
        /// Where.
        brokers: String,
        /// The topic.
        topic: String,
        /// What is wrong.
        message: String,
    },
}

/// Takes a letter with its number, from 1, or what is wrong with a line that is none.
pub type Take<'a> = dyn FnMut(u64, Result<StoredLetter, String>) -> ControlFlow<()> + 'a;

/// Hands over all letters that there are until somebody has seen enough. Numbers of a file hold until letters
/// give way to later ones, those of a topic until it gets more partitions. Where there is no file yet there are none. `tokens` are for brokers that want some.
///
/// # Errors
/// They cannot be read.
pub fn read(
    config: &Config,
    tokens: Option<Arc<dyn BrokerTokens>>,
    take: &mut Take<'_>,
) -> Result<(), LetterError> {
    if let Some(kafka) = &config.kafka {
        return read_topic(kafka, tokens, take);
    }
    let Some(path) = &config.file else {
        return Ok(());
    };
    let mut number = 0;
    for path in [older(path), path.clone()] {
        let read = read_file(&path, &mut number, take);
        match read.map_err(|error| LetterError::File { path, error })? {
            ControlFlow::Continue(()) => {}
            ControlFlow::Break(()) => break,
        }
    }
    Ok(())
}

fn read_file(path: &Path, number: &mut u64, take: &mut Take<'_>) -> io::Result<ControlFlow<()>> {
    let mut lines = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(ControlFlow::Continue(()));
        }
        file => BufReader::new(file?),
    };
    let mut line = Vec::new();
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            return Ok(ControlFlow::Continue(()));
        }
        let is_whole = line.ends_with(b"\n");
        let text = line.trim_ascii();
        let letter = StoredLetter::read(text);
        // One that is being written, or that a crash has cut.
        if text.is_empty() || (!is_whole && letter.is_err()) {
            continue;
        }
        *number += 1;
        if take(*number, letter).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
}

#[cfg(feature = "kafka")]
use super::kept_topic::read_topic;

#[cfg(not(feature = "kafka"))]
fn read_topic(
    config: &super::KafkaConfig,
    _: Option<Arc<dyn BrokerTokens>>,
    _: &mut Take<'_>,
) -> Result<(), LetterError> {
    Err(LetterError::Topic {
        brokers: config.brokers.clone(),
        topic: config.topic.clone(),
        message: "this weir was built without Kafka; build it with --features kafka".to_owned(),
    })
}
