//! Records in a file, a line each, for `weir run --input`.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::config::Pipeline;
use crate::decode::UnwrapStep;
use crate::source::ResentRecord;

/// How much is read at once of the end of a file.
const LOOK_BYTES: u64 = 64 << 10;

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
    /// Whether it is one, and not a pipe or a device.
    is_file: bool,
    form: Form,
    /// The longest line, bytes.
    longest: usize,
}

impl LinesFile {
    /// Opens it, and cuts off a line without its end: a run that was killed, or had no room, has torn it. It
    /// may look like a whole record, and is not noted as written.
    pub(super) fn open(path: &Path, form: Form) -> Result<Self> {
        let open = || -> io::Result<(File, bool, u64)> {
            let file = OpenOptions::new().create(true).append(true).open(path)?;
            let metadata = file.metadata()?;
            let torn = match metadata.is_file() {
                true => torn_bytes(&mut File::open(path)?, metadata.len())?,
                // A pipe or a device has no end to look at, and who reads a pipe keeps it open.
                false => 0,
            };
            if torn > 0 {
                file.set_len(metadata.len() - torn)?;
            }
            Ok((file, metadata.is_file(), torn))
        };
        let (file, is_file, torn) =
            open().with_context(|| format!("cannot write {}", path.display()))?;
        if torn > 0 {
            let file = path.display();
            tracing::warn!(%file, bytes = torn, "its last line had no end and was cut off");
        }
        Ok(Self {
            file,
            path: path.to_owned(),
            is_file,
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
                Form::Base64 => {
                    lines.extend_from_slice(BASE64_STANDARD.encode(&record.bytes).as_bytes())
                }
            }
            self.longest = self.longest.max(lines.len() - before);
            lines.push(b'\n');
        }
        let mut written = || -> io::Result<()> {
            if !self.is_file {
                return self.file.write_all(&lines);
            }
            let before = self.file.metadata()?.len();
            let written = self.file.write_all(&lines);
            written
                .and_then(|()| self.file.sync_data())
                .inspect_err(|_| {
                    // They are written another time. That there is no room says more than that they stay.
                    drop(self.file.set_len(before));
                })
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

/// How many bytes of a file of so many bytes are behind its last line end.
fn torn_bytes(file: &mut File, length: u64) -> io::Result<u64> {
    let (mut end, mut block) = (length, Vec::new());
    while end > 0 {
        let begin = end.saturating_sub(LOOK_BYTES);
        file.seek(SeekFrom::Start(begin))?;
        block.clear();
        file.take(end - begin).read_to_end(&mut block)?;
        if let Some(at) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(length - (begin + at as u64 + 1));
        }
        end = begin;
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::os::fd::AsRawFd as _;

    use super::*;

    fn record(text: &str) -> ResentRecord {
        ResentRecord {
            id: String::new(),
            topic: Vec::new(),
            key: Vec::new(),
            headers: BTreeMap::new(),
            timestamp_ms: None,
            bytes: text.as_bytes().to_vec(),
        }
    }

    #[test]
    fn a_torn_line_does_not_take_the_next_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mended.ndjson");
        let long = "x".repeat(200_000);
        for (before, kept) in [
            ("", ""),
            ("one\n", "one\n"),
            ("one\ntw", "one\n"),
            ("o", ""),
            (&format!("one\n{long}"), "one\n"),
            (&format!("{long}\n{long}\n"), &format!("{long}\n{long}\n")),
        ] {
            fs::write(&path, before).unwrap();
            let mut lines = LinesFile::open(&path, Form::Text).unwrap();
            lines.write(&[record("two")]).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("{kept}two\n"));
        }
    }

    #[test]
    fn a_pipe_or_a_device_takes_lines_as_well() {
        let mut lines = LinesFile::open(Path::new("/dev/null"), Form::Text).unwrap();
        lines.write(&[record("one")]).unwrap();
        // What nobody reads any more takes nothing.
        let (reader, writer) = io::pipe().unwrap();
        let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
        let mut lines = LinesFile::open(Path::new(&path), Form::Text).unwrap();
        lines.write(&[record("one")]).unwrap();
        drop((reader, writer));
        let error = lines.write(&[record("two")]).unwrap_err();
        let cause = error.root_cause().to_string();
        assert!(cause.starts_with("Broken pipe"), "{cause}");
    }

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
