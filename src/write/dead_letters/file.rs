//! Dead letters to a file, one JSON object a line.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{DeadLetter, DeadLettersError, Ledger, Origin};
use crate::durable::sync_name;

/// Bytes that are collected before the operating system is asked to write.
const BUFFER_BYTES: usize = 128 << 10;

/// What the name of the older half ends with.
const OLDER: &str = ".old";

/// A file that lines are appended to. Once it has half of the bytes that there may be, it takes the
/// place of the older half, and another one begins.
pub(super) struct LetterFile {
    path: PathBuf,
    file: File,
    /// How many bytes there are; none where it is a pipe or a device.
    bytes: Option<u64>,
    max_bytes: u64,
    /// Whether something was written since it was synced.
    is_dirty: bool,
    /// Whether a sync has failed. What was written before may be on the disk or not, and nobody can say it
    /// any more: the system tells of a failure once, and the next sync succeeds without those bytes.
    is_doubtful: bool,
    origin: Origin,
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
        max_bytes: u64,
        origin: &Origin,
        ledger: Ledger,
    ) -> Result<Self, DeadLettersError> {
        match open(&path) {
            Ok(Opened {
                file,
                bytes,
                is_torn,
            }) => Ok(Self {
                path,
                file,
                bytes,
                max_bytes,
                is_dirty: false,
                is_doubtful: false,
                origin: origin.clone(),
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
            match letter.write_json(&self.origin, &mut self.buffer) {
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
        if let Err(error) = self.follow().and_then(|()| self.make_room()) {
            let path = self.path.display();
            tracing::error!(%path, %error, "dead letters cannot be put aside; their file grows");
        }
        let (written, error) = self.write_buffer();
        self.is_dirty |= written > 0;
        if let Some(bytes) = &mut self.bytes {
            *bytes += written as u64;
        }
        let path = self.path.display().to_string();
        for (end, reason) in self.lines.drain(..) {
            match &error {
                Some(error) if end > written => self.ledger.lose(reason, &path, error),
                _ => self.ledger.write(reason),
            }
        }
        self.buffer.clear();
    }

    /// Goes on in the file that has the name now: another run, such as one with `--input` beside this, may
    /// have put ours aside, or somebody else has moved it.
    fn follow(&mut self) -> io::Result<()> {
        if self.bytes.is_none() {
            return Ok(());
        }
        let ours = self.file.metadata()?;
        let named = match fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            named => Some(named?),
        };
        if named.is_some_and(|named| (named.dev(), named.ino()) == (ours.dev(), ours.ino())) {
            self.bytes = Some(ours.len());
            return Ok(());
        }
        self.sync();
        let opened = open(&self.path)?;
        (self.file, self.bytes, self.is_torn) = (opened.file, opened.bytes, opened.is_torn);
        Ok(())
    }

    /// Puts the file aside where the buffer would make it too large. What was put aside before goes.
    fn make_room(&mut self) -> io::Result<()> {
        let Some(bytes) = self.bytes.filter(|bytes| *bytes > 0) else {
            return Ok(());
        };
        if bytes.saturating_add(self.buffer.len() as u64) <= self.max_bytes / 2 {
            return Ok(());
        }
        self.sync();
        let older = older(&self.path);
        let gone = lines_of(&older)?;
        fs::rename(&self.path, &older)?;
        self.file = append_to(&self.path)?;
        (self.bytes, self.is_torn) = (Some(0), false);
        if let Err(error) = sync_name(&self.path) {
            self.doubt(&error);
        }
        self.ledger.metrics.gone(gone);
        if gone > 0 {
            let path = self.path.display();
            tracing::warn!(%path, gone, "the oldest dead letters gave way to later ones");
        }
        Ok(())
    }

    /// Writes what is in the buffer, and has all of it on the disk. Says whether it is there, but for what
    /// was counted as lost.
    pub(super) fn make_durable(&mut self) -> bool {
        self.flush();
        self.sync()
    }

    /// Whether all that was ever written is on the disk. A pipe or a device has none.
    fn sync(&mut self) -> bool {
        if self.bytes.is_some() && self.is_dirty && !self.is_doubtful {
            match self.file.sync_data() {
                Ok(()) => self.is_dirty = false,
                Err(error) => self.doubt(&error),
            }
        }
        !self.is_doubtful
    }

    fn doubt(&mut self, error: &io::Error) {
        self.is_doubtful = true;
        let path = self.path.display();
        tracing::error!(
            %path,
            %error,
            "dead letters may not be on the disk; there is no checkpoint until weir is started again"
        );
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
}

/// Where the older half is.
pub(super) fn older(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(OLDER);
    PathBuf::from(name)
}

/// A file and where it ends.
struct Opened {
    file: File,
    bytes: Option<u64>,
    is_torn: bool,
}

/// Opens a file whose name survives a crash.
fn open(path: &Path) -> io::Result<Opened> {
    let file = append_to(path)?;
    let metadata = file.metadata()?;
    let bytes = metadata.is_file().then_some(metadata.len());
    let is_torn = match bytes {
        Some(1..) => !ends_with_a_line_end(&mut File::open(path)?)?,
        // A pipe or a device has no end to look at.
        _ => false,
    };
    if bytes.is_some() {
        sync_name(path)?;
    }
    Ok(Opened {
        file,
        bytes,
        is_torn,
    })
}

fn append_to(path: &Path) -> io::Result<File> {
    File::options().create(true).append(true).open(path)
}

/// How many lines a file has; none where there is no file.
fn lines_of(path: &Path) -> io::Result<u64> {
    let mut lines = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        file => BufReader::with_capacity(BUFFER_BYTES, file?),
    };
    let mut count = 0;
    loop {
        let bytes = lines.fill_buf()?;
        if bytes.is_empty() {
            return Ok(count);
        }
        count += memchr::memchr_iter(b'\n', bytes).count() as u64;
        let length = bytes.len();
        lines.consume(length);
    }
}

fn ends_with_a_line_end(file: &mut File) -> io::Result<bool> {
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;

    use super::super::{DeadLetterMetrics, Destination, Message, run};
    use super::*;
    use crate::telemetry::Registry;

    fn letters(path: &Path) -> LetterFile {
        let metrics = DeadLetterMetrics::new(&Registry::new("test"), ["late"]);
        let origin = Origin {
            pipeline: "cars".to_owned(),
            source: "file",
        };
        LetterFile::open(path.to_owned(), 1 << 20, &origin, Ledger::new(metrics)).unwrap()
    }

    #[test]
    fn a_sync_that_failed_once_is_never_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("letters.ndjson");
        let mut letters = letters(&path);
        letters.buffer = b"{}\n".to_vec();
        assert!(letters.make_durable());
        // What is no file cannot be synced, and takes everything.
        let null = PathBuf::from("/dev/null");
        let healthy = std::mem::replace(&mut letters.file, append_to(&null).unwrap());
        letters.path = null;
        letters.buffer = b"{}\n".to_vec();
        assert!(!letters.make_durable());
        (letters.file, letters.path) = (healthy, path.clone());
        letters.buffer = b"{}\n".to_vec();
        assert!(!letters.make_durable());
        assert_eq!(fs::read(&path).unwrap(), b"{}\n{}\n");
        // And whoever waits for it hears that.
        let (sender, inbox) = bounded(2);
        let (done, told) = bounded(1);
        sender.send(Message::MakeDurable(done)).unwrap();
        sender.send(Message::Finish).unwrap();
        run(Destination::File(letters), &inbox);
        assert_eq!(told.recv(), Ok(false));
    }

    #[test]
    fn two_writers_of_one_file_lose_nothing_of_the_last_half() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("letters.ndjson");
        let mut writers = [letters(&path), letters(&path)];
        let line = |number: usize| format!("{number:01023}\n").into_bytes();
        // Three times as much as there may be: each half is put aside again and again.
        let count = 3 << 10;
        for number in 0..count {
            // The second one has something to say now and then only.
            let writer = &mut writers[usize::from(number % 300 > 290)];
            writer.buffer = line(number);
            writer.flush();
        }
        let kept = [older(&path), path].map(|path| fs::read(path).unwrap());
        let sizes = kept.each_ref().map(Vec::len);
        assert_eq!(sizes, [1 << 19, 1 << 19]);
        let last: Vec<u8> = (count - (1 << 10)..count).flat_map(line).collect();
        assert_eq!(kept.concat(), last);
    }

    #[test]
    fn what_was_put_aside_without_a_sync_is_in_doubt_as_well() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("letters.ndjson");
        let mut letters = letters(&path);
        letters.buffer = b"{}\n".to_vec();
        letters.flush();
        // It cannot be synced any more when the name is another file's, whose sync says nothing of this one.
        letters.file = append_to(Path::new("/dev/null")).unwrap();
        fs::rename(&path, older(&path)).unwrap();
        letters.buffer = b"{}\n".to_vec();
        letters.flush();
        assert_eq!(fs::read(&path).unwrap(), b"{}\n");
        assert!(!letters.make_durable());
    }
}
