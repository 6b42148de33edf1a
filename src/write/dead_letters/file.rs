//! Dead letters to a file, one JSON object a line.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;

use super::{DeadLetter, DeadLettersError, Ledger};

/// Bytes that are collected before the operating system is asked to write.
const BUFFER_BYTES: usize = 128 << 10;

/// A file that lines are appended to.
pub(super) struct LetterFile {
    path: PathBuf,
    file: File,
    pipeline: String,
    /// Whole lines that are not written yet.
    buffer: Vec<u8>,
    /// The end of each line in the buffer, and its reason.
    lines: Vec<(usize, &'static str)>,
    /// Whether the file ends within a line, because the disk was full or a run was killed. The next
    /// line must not become a part of it.
    is_torn: bool,
    ledger: Ledger,
}

impl LetterFile {
    /// Opens the file, appending to what it holds.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(super) fn open(
        path: PathBuf,
        pipeline: &str,
        ledger: Ledger,
    ) -> Result<Self, DeadLettersError> {
        let open = || -> io::Result<(File, bool)> {
            let file = File::options().create(true).append(true).open(&path)?;
            let is_torn = match file.metadata()? {
                metadata if metadata.is_file() && metadata.len() > 0 => {
                    !ends_with_a_line_end(&mut File::open(&path)?)?
                }
                // A pipe or a device has no end to look at.
                _ => false,
            };
            Ok((file, is_torn))
        };
        match open() {
            Ok((file, is_torn)) => Ok(Self {
                path,
                file,
                pipeline: pipeline.to_owned(),
                buffer: Vec::new(),
                lines: Vec::new(),
                is_torn,
                ledger,
            }),
            Err(error) => Err(DeadLettersError::Open { path, error }),
        }
    }

    pub(super) fn write(&mut self, letters: Vec<DeadLetter>) {
        for letter in letters {
            let before = self.buffer.len();
            match letter.write_json(&self.pipeline, &mut self.buffer) {
                Ok(()) => {
                    self.buffer.push(b'\n');
                    self.lines.push((self.buffer.len(), letter.reason));
                }
                Err(error) => {
                    self.buffer.truncate(before);
                    let path = self.path.display().to_string();
                    self.ledger.lose(letter.reason, &path, &error);
                }
            }
            if self.buffer.len() >= BUFFER_BYTES {
                self.flush();
            }
        }
    }

    /// Writes what is in the buffer. Where that fails, the lines that are not in the file as a whole
    /// are lost: to keep them would mean to stop the pipeline over a full disk.
    pub(super) fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        let (written, error) = self.write_buffer();
        let path = self.path.display().to_string();
        for (end, reason) in self.lines.drain(..) {
            match &error {
                Some(error) if end > written => self.ledger.lose(reason, &path, error),
                _ => self.ledger.write(reason),
            }
        }
        self.buffer.clear();
    }

    /// How many bytes of the buffer are in the file, and what kept the rest from it.
    fn write_buffer(&mut self) -> (usize, Option<io::Error>) {
        if self.is_torn {
            if let Err(error) = self.file.write_all(b"\n") {
                return (0, Some(error));
            }
            self.is_torn = false;
        }
        let mut written = 0;
        while let Some(rest) = self.buffer.get(written..).filter(|rest| !rest.is_empty()) {
            match self.file.write(rest) {
                Ok(0) => return (written, Some(io::ErrorKind::WriteZero.into())),
                Ok(count) => {
                    written += count;
                    self.is_torn = self.buffer.get(written - 1) != Some(&b'\n');
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (written, Some(error)),
            }
        }
        (written, None)
    }

    pub(super) fn finish(mut self) {
        self.flush();
        let is_file = self
            .file
            .metadata()
            .is_ok_and(|metadata| metadata.is_file());
        if !is_file {
            return;
        }
        if let Err(error) = self.file.sync_all() {
            let path = self.path.display();
            tracing::error!(%path, %error, "dead letters may not be on the disk");
        }
    }
}

fn ends_with_a_line_end(file: &mut File) -> io::Result<bool> {
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}
