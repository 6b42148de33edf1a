//! What is known of the session with a broker, also after a restart: whether there was one, and which
//! messages of the log the broker may send again.
//!
//! It is a file beside the log, `session.json`: one object with `version` (1), `client_id`, and
//! `confirmed`, the position in the log before which the broker has all acknowledgements. What is
//! written may be older than what is so: then more messages are held to be known than can come again.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::super::log::{Appender, look_through};
use super::acks::Acks;
use super::repeats::Repeats;
use crate::durable::{LogError, write_atomically};
use crate::telemetry::LogLimit;

/// The name of the file.
const FILE: &str = "session.json";

/// The version of the format that is written, and the newest that is read.
const VERSION: u32 = 1;

/// How often the file is written.
const WRITE_EVERY: Duration = Duration::from_secs(1);

/// How often the same trouble is logged.
const LOG_EVERY: Duration = Duration::from_secs(30);

/// How many packet ids there are: no more messages can wait for their acknowledgement.
const PACKET_IDS: u64 = 65_535;

/// What the file has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    version: u32,
    client_id: String,
    confirmed: u64,
}

/// What is known of a session.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) repeats: Repeats,
    path: PathBuf,
    client_id: String,
    /// What the file has, as far as is known.
    written: Option<Content>,
    next_write: Instant,
    /// Whether an earlier run had a session.
    pub(super) had_session: bool,
    log: LogLimit,
}

impl Memory {
    /// What is known by the file in the folder of a log, and by the end of the log.
    ///
    /// # Errors
    /// The log cannot be read.
    pub(super) fn open(
        folder: &Path,
        client_id: &str,
        appender: &Appender,
    ) -> Result<Self, LogError> {
        let path = folder.join(FILE);
        let written = read(&path);
        let (_, end) = appender.range();
        let (had_session, confirmed) = match &written {
            Some(content) if content.client_id == client_id => (true, content.confirmed.min(end)),
            // The messages of the log came over a session of another name.
            Some(_) => (false, end),
            None => (end > 0, 0),
        };
        let mut repeats = Repeats::at(end);
        let from = confirmed.max(end.saturating_sub(PACKET_IDS));
        look_through(appender, from, |position, entry| {
            repeats.note(entry, position);
        })?;
        Ok(Self {
            repeats,
            path,
            client_id: client_id.to_owned(),
            written,
            next_write: Instant::now(),
            had_session,
            log: LogLimit::every(LOG_EVERY),
        })
    }

    /// Forgets the messages whose acknowledgements the broker has.
    pub(super) fn heed(&mut self, acks: &Acks) {
        for ack in acks.take_confirmed() {
            if let Some(position) = ack.position {
                self.repeats.confirm(ack.packet_id, position);
            }
        }
    }

    /// Writes the file from time to time, where there is a session.
    pub(super) fn keep(&mut self, acks: &Acks, now: Instant) {
        if now >= self.next_write {
            self.next_write = now + WRITE_EVERY;
            self.save(acks);
        }
    }

    /// Writes the file where there is a session and something has changed.
    pub(super) fn save(&mut self, acks: &Acks) {
        let content = Content {
            version: VERSION,
            client_id: self.client_id.clone(),
            confirmed: self.repeats.first(),
        };
        if !acks.has_session() || self.written.as_ref() == Some(&content) {
            return;
        }
        let bytes = serde_json::to_vec(&content).unwrap_or_default();
        match write_atomically(&self.path, &bytes) {
            Ok(()) => self.written = Some(content),
            Err(error) => {
                if let Some(held_back) = self.log.admit() {
                    let file = self.path.display();
                    tracing::warn!(%file, %error, held_back, "what is known of the session is not kept");
                }
            }
        }
    }
}

/// What the file has; nothing where there is none or it says nothing.
fn read(path: &Path) -> Option<Content> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(file = %path.display(), %error, "what was known of the session is not read");
            return None;
        }
    };
    let content: Option<Content> = serde_json::from_slice(&bytes).ok();
    let content = content.filter(|content| content.version == VERSION);
    if content.is_none() {
        tracing::warn!(file = %path.display(), "the file says nothing of the session");
    }
    content
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        assert_eq!(read(&path), None);
        let text = r#"{"version":1,"client_id":"weir-cars","confirmed":7}"#;
        let content = Content {
            version: 1,
            client_id: "weir-cars".to_owned(),
            confirmed: 7,
        };
        fs::write(&path, text).unwrap();
        assert_eq!(read(&path), Some(content.clone()));
        assert_eq!(serde_json::to_string(&content).unwrap(), text);
        for other in ["", "{}", &text[..20], &text.replace(":1,", ":2,")] {
            fs::write(&path, other).unwrap();
            assert_eq!(read(&path), None, "{other}");
        }
    }
}
