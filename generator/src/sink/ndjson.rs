//! Events as lines of JSON.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use crate::event::Event;
use crate::sink::SinkError;

/// How many bytes are collected before they are written.
const CHUNK: usize = 64 * 1_024;

/// A file or standard output, one event a line.
pub struct NdjsonSink {
    out: Box<dyn Write>,
    lines: Vec<u8>,
}

impl NdjsonSink {
    /// Standard output.
    pub fn stdout() -> Self {
        Self::new(Box::new(io::stdout()))
    }

    /// A new file; what was in it is gone.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(path: &Path) -> Result<Self, SinkError> {
        match File::create(path) {
            Ok(file) => Ok(Self::new(Box::new(file))),
            Err(source) => Err(SinkError::Create {
                path: path.to_owned(),
                source,
            }),
        }
    }

    fn new(out: Box<dyn Write>) -> Self {
        Self {
            out,
            lines: Vec::with_capacity(CHUNK + 256),
        }
    }

    /// Adds a line.
    pub(super) fn send(&mut self, event: &Event) -> Result<(), SinkError> {
        event.write_json(&mut self.lines);
        self.lines.push(b'\n');
        if self.lines.len() < CHUNK {
            return Ok(());
        }
        self.write()
    }

    /// Writes all lines through to the system.
    pub(super) fn flush(&mut self) -> Result<(), SinkError> {
        self.write()?;
        self.out.flush().map_err(SinkError::Write)
    }

    fn write(&mut self) -> Result<(), SinkError> {
        self.out.write_all(&self.lines).map_err(SinkError::Write)?;
        self.lines.clear();
        Ok(())
    }
}

impl fmt::Debug for NdjsonSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NdjsonSink")
            .field("buffered_bytes", &self.lines.len())
            .finish()
    }
}
