//! Records in a file, a line each, for `weir run --input`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::config::Pipeline;
use crate::decode::UnwrapStep;
use crate::source::ResentRecord;
use crate::write::dead_letters::base64;

/// How a record becomes a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As it is.
    Text,
    /// In Base64, since any byte may stand in it.
    Base64,
}

impl Form {
    /// That of a pipeline's records, as its source takes them in.
    pub(super) fn of(pipeline: &Pipeline) -> Self {
        let is_binary = match pipeline.unwrap.first() {
            Some(UnwrapStep::Gzip | UnwrapStep::Zstd | UnwrapStep::LengthDelimited) => true,
            Some(UnwrapStep::Base64 | UnwrapStep::Json(_)) => false,
            None => pipeline.format.is_binary(),
        };
        if is_binary { Self::Base64 } else { Self::Text }
    }

    /// Whether a record that is written comes back as it was. A line's end does not belong to a record, and
    /// an empty line is none.
    pub(super) fn keeps(self, record: &[u8]) -> bool {
        let is_line = || !record.contains(&b'\n') && !record.ends_with(b"\r");
        !record.is_empty() && (self == Self::Base64 || is_line())
    }
}

/// A file that records are appended to.
#[derive(Debug)]
pub(super) struct LinesFile {
    file: File,
    path: PathBuf,
    form: Form,
    /// The longest line, bytes.
    longest: usize,
}

impl LinesFile {
    /// Opens it.
    pub(super) fn open(path: &Path, form: Form) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        Ok(Self {
            file: file.with_context(|| format!("cannot write {}", path.display()))?,
            path: path.to_owned(),
            form,
            longest: 0,
        })
    }

    /// Writes records; when it returns, they are on the disk.
    pub(super) fn write(&mut self, records: &[ResentRecord]) -> Result<()> {
        let mut lines = Vec::new();
        for record in records {
            let before = lines.len();
            match self.form {
                Form::Text => lines.extend_from_slice(&record.bytes),
                Form::Base64 => lines.extend_from_slice(base64(&record.bytes).as_bytes()),
            }
            self.longest = self.longest.max(lines.len() - before);
            lines.push(b'\n');
        }
        let mut written = || -> io::Result<()> {
            self.file.write_all(&lines)?;
            self.file.sync_data()
        };
        written().with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// What must be set so that the pipeline takes in the lines; nothing where they are its records.
    pub(super) fn settings(&self, pipeline: &Pipeline) -> Result<String> {
        if self.form == Form::Text {
            return Ok(String::new());
        }
        let steps = [&[UnwrapStep::Base64], &*pipeline.unwrap].concat();
        let steps = serde_json::to_string(&steps)?;
        let mut settings = format!("--set 'source.unwrap={steps}'");
        if self.longest > pipeline.max_record_bytes {
            settings += &format!(" --set source.max_record_bytes={}", self.longest);
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_come_back_otherwise_is_not_written() {
        for (record, text, base64) in [
            (&b"{}"[..], true, true),
            (b"a\rb", true, true),
            (b"a\nb", false, true),
            (b"a\r", false, true),
            (b"", false, false),
        ] {
            assert_eq!(Form::Text.keeps(record), text, "{record:?}");
            assert_eq!(Form::Base64.keeps(record), base64, "{record:?}");
        }
    }
}
