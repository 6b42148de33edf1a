//! Files and standard input, a record a line.
//!
//! Several files are read in turns, a block each, so that their event times advance together and
//! no file's watermark waits long for another's. Where they do not, because an hour takes more bytes
//! in one file than in another, the file that runs ahead is left alone for a while.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read};
use std::time::Duration;

use crate::model::{Clock, RecordBatch, Split, SplitId};
use crate::telemetry::Registry;

use super::alignment::Alignment;
use super::config::FileConfig;
use super::lines::{BlockReader, batches};
use super::metrics::{DropReason, SourceMetrics, SplitMetrics};
use super::progress::FileProgress;
use super::{Context, Source, SourceError, SourceEvent, SourceOutput, StopSignal};

/// How standard input is written in a pipeline file, and its name in metrics and messages.
const STANDARD_INPUT: (&str, &str) = ("-", "stdin");

/// How often the stop signal is looked for while no file may be read.
const PATIENCE: Duration = Duration::from_millis(20);

/// Reads files to their ends.
pub(super) struct FileSource {
    inputs: VecDeque<Input>,
    max_record_bytes: usize,
    clock: Clock,
    alignment: Alignment,
    metrics: SourceMetrics,
}

struct Input {
    split: Split,
    blocks: BlockReader<Counted>,
    metrics: SplitMetrics,
}

/// A file that counts what is read of it.
struct Counted {
    input: Box<dyn Read + Send>,
    progress: FileProgress,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.progress.add_read(read as u64);
        Ok(read)
    }
}

impl FileSource {
    /// Opens all files.
    ///
    /// # Errors
    /// A file cannot be opened; the message has its path and the system's words.
    pub(super) fn open(
        config: &FileConfig,
        context: Context,
        registry: &Registry,
    ) -> Result<Self, SourceError> {
        let metrics = SourceMetrics::new(registry);
        let mut inputs = VecDeque::new();
        for (id, path) in (0..).zip(config.path.all()) {
            let (name, input) = open(path, &context.progress)?;
            let counted = Counted {
                input,
                progress: context.progress.clone(),
            };
            let mut blocks = BlockReader::new(counted, context.max_record_bytes);
            if let Some(position) = context.resume.position(name) {
                resume(&mut blocks, path, position)?;
            }
            inputs.push_back(Input {
                split: Split {
                    id: SplitId(id),
                    name: name.into(),
                },
                blocks,
                metrics: metrics.split(name),
            });
        }
        Ok(Self {
            inputs,
            max_record_bytes: context.max_record_bytes,
            clock: context.clock,
            alignment: context.alignment,
            metrics,
        })
    }

    /// The batches of an input's next block, or none at its end.
    fn next_batches(&self, input: &mut Input) -> Result<Option<Vec<RecordBatch>>, SourceError> {
        let block = input.blocks.next_block().map_err(|error| {
            SourceError::new(
                source_name(&input.split.name),
                format!("cannot be read: {error}"),
            )
        })?;
        let dropped = self.metrics.dropped(DropReason::TooLarge);
        dropped.inc_by(input.blocks.take_dropped());
        let Some(block) = block else { return Ok(None) };
        let now = self.clock.now_ms();
        let (batches, too_long) = batches(block, &input.split, now, self.max_record_bytes);
        dropped.inc_by(too_long);
        Ok(Some(batches))
    }
}

impl Source for FileSource {
    fn run(
        mut self: Box<Self>,
        output: &mut dyn SourceOutput,
        stop: &StopSignal,
    ) -> Result<(), SourceError> {
        for input in &self.inputs {
            if output
                .send(SourceEvent::Assigned(input.split.clone()))
                .is_err()
            {
                return Ok(());
            }
        }
        self.metrics.connected.set(1);
        let result = self.read(output, stop);
        self.metrics.connected.set(0);
        result
    }
}

impl FileSource {
    fn read(
        &mut self,
        output: &mut dyn SourceOutput,
        stop: &StopSignal,
    ) -> Result<(), SourceError> {
        let mut passed_over = 0;
        while let Some(mut input) = self.inputs.pop_front() {
            if stop.is_stopped() {
                return Ok(());
            }
            // A file that runs ahead of the others is not read until they have caught up.
            if self.alignment.is_paused(input.split.id) {
                self.inputs.push_back(input);
                passed_over += 1;
                if passed_over >= self.inputs.len() {
                    let splits: Vec<_> = self.inputs.iter().map(|input| input.split.id).collect();
                    self.alignment.await_any(&splits, PATIENCE);
                    passed_over = 0;
                }
                continue;
            }
            passed_over = 0;
            let Some(batches) = self.next_batches(&mut input)? else {
                if output.send(SourceEvent::Finished(input.split.id)).is_err() {
                    return Ok(());
                }
                continue;
            };
            for batch in batches {
                input.metrics.count(&batch);
                if output.send(SourceEvent::Records(batch)).is_err() {
                    return Ok(());
                }
            }
            self.inputs.push_back(input);
        }
        Ok(())
    }
}

fn open<'a>(
    path: &'a str,
    progress: &FileProgress,
) -> Result<(&'a str, Box<dyn Read + Send>), SourceError> {
    let (standard_input, name) = STANDARD_INPUT;
    if path == standard_input {
        return Ok((name, Box::new(io::stdin())));
    }
    let failed = |error: io::Error| {
        SourceError::new(source_name(path), format!("cannot be opened: {error}"))
    };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        let message = "is a directory; name the files in it, or pipe them to standard input (-)";
        return Err(SourceError::new(source_name(path), message));
    }
    if metadata.is_file() {
        progress.add_total(metadata.len());
    }
    Ok((path, Box::new(file)))
}

/// Passes over what was read of a file before.
fn resume(blocks: &mut BlockReader<Counted>, path: &str, position: u64) -> Result<(), SourceError> {
    let failed = |message: String| Err(SourceError::new(source_name(path), message));
    let is_file = fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
    if path == STANDARD_INPUT.0 || !is_file {
        return failed(format!(
            "cannot be read again from byte {position}, up to which the state has read it, \
             because it is no regular file; start fresh, or read from a file"
        ));
    }
    match blocks.skip_to(position) {
        Ok(length) if length < position => failed(format!(
            "is {length} bytes, the state has read up to {position}: it is not the file \
             that was read before; start fresh or from another savepoint"
        )),
        Ok(_) => Ok(()),
        Err(error) => failed(format!("cannot be read: {error}")),
    }
}

fn source_name(path: &str) -> String {
    format!("file {path}")
}

#[cfg(test)]
mod tests {
    use super::super::config::Paths;
    use super::super::{DEFAULT_MAX_RECORD_BYTES, KeptPositions, Resume, SafePositions, Stopped};
    use super::*;
    use crate::model::Duration;

    /// Writes down what a source says, and stops after so many events.
    struct Log(Vec<String>, usize);

    impl SourceOutput for Log {
        fn send(&mut self, event: SourceEvent) -> Result<(), Stopped> {
            if self.0.len() == self.1 {
                return Err(Stopped);
            }
            self.0.push(match event {
                SourceEvent::Records(batch) => {
                    let last = batch.get(batch.len() - 1).unwrap();
                    let text = String::from_utf8_lossy(last.bytes).into_owned();
                    let place = batch.place(batch.len() - 1);
                    let name = place.rsplit('/').next().unwrap();
                    format!(
                        "{} to {name} = {text} at {}",
                        batch.len(),
                        batch.received_ms()
                    )
                }
                SourceEvent::Assigned(split) => format!("assigned {}", split.id.0),
                SourceEvent::Finished(split) => format!("finished {}", split.0),
                other => format!("{other:?}"),
            });
            Ok(())
        }

        fn end(&mut self) {}
    }

    fn context() -> Context {
        Context {
            pipeline: "test".to_owned(),
            idle_after: Duration::from_secs(1),
            commit_every: crate::model::Duration::from_secs(5),
            max_record_bytes: DEFAULT_MAX_RECORD_BYTES,
            needs_envelope: false,
            headers: Default::default(),
            checkpointed: Default::default(),
            clock: Clock::Fixed(42),
            safe: SafePositions::default(),
            resume: Resume::default(),
            kept: KeptPositions::default(),
            tokens: crate::source::PositionTokens::default(),
            log: None,
            alignment: Alignment::default(),
            progress: FileProgress::default(),
        }
    }

    fn config(paths: &[&std::path::Path]) -> FileConfig {
        let paths = paths
            .iter()
            .map(|path| path.to_str().unwrap().to_owned())
            .collect();
        FileConfig {
            path: Paths::Many(paths),
        }
    }

    #[test]
    fn a_file_is_read_on_from_behind_the_last_record() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        // "one" stands at 0, "three" at 6, "four" at 12, all of it is 17 bytes.
        std::fs::write(&path, "one\n\n\nthree\nfour\n").unwrap();
        let name = path.to_str().unwrap();
        let read = |position: u64| {
            let context = Context {
                resume: Resume::from_iter([(name.to_owned(), position)]),
                ..context()
            };
            let progress = context.progress.clone();
            let source = FileSource::open(&config(&[&path]), context, &Registry::new("test"))?;
            assert_eq!(progress.read_bytes(), position, "passed over");
            let mut log = Log(Vec::new(), usize::MAX);
            Box::new(source).run(&mut log, &StopSignal::default())?;
            assert_eq!(progress.read_bytes(), 17);
            Ok::<_, SourceError>(log.0[1..].join(", "))
        };
        let all = "1 to events:1 = one at 42, 2 to events:5 = four at 42, finished 0";
        let rest = "2 to events:5 = four at 42, finished 0";
        let last = "1 to events:5 = four at 42, finished 0";
        for (position, expected) in [
            (0, all),
            // Behind the first byte of the first line, and behind its end.
            (1, rest),
            (3, rest),
            (4, rest),
            (6, rest),
            (7, last),
            (12, last),
            (13, "finished 0"),
            (17, "finished 0"),
        ] {
            assert_eq!(read(position).unwrap(), expected, "{position}");
        }
        assert_eq!(
            read(18).unwrap_err().to_string(),
            format!(
                "source file {name}: is 17 bytes, the state has read up to 18: it is not the file \
                 that was read before; start fresh or from another savepoint"
            )
        );
    }

    #[test]
    fn standard_input_cannot_be_read_again() {
        let context = Context {
            resume: Resume::from_iter([("stdin".to_owned(), 7)]),
            ..context()
        };
        let config = FileConfig {
            path: Paths::One("-".to_owned()),
        };
        let error = FileSource::open(&config, context, &Registry::new("test")).err();
        assert_eq!(
            error.unwrap().to_string(),
            "source file -: cannot be read again from byte 7, up to which the state has read it, \
             because it is no regular file; start fresh, or read from a file"
        );
    }

    #[test]
    fn several_files_are_read_in_turns() {
        let folder = tempfile::tempdir().unwrap();
        let (long, short) = (folder.path().join("long"), folder.path().join("short"));
        // 64-byte lines: a block holds 4,096 of them.
        let lines: String = (0..10_000)
            .map(|number| format!("{number:063}\n"))
            .collect();
        std::fs::write(&long, &lines).unwrap();
        std::fs::write(&short, "a\n\nb").unwrap();

        let registry = Registry::new("test");
        let context = context();
        let progress = context.progress.clone();
        let source = FileSource::open(&config(&[&long, &short]), context, &registry).unwrap();
        assert_eq!(
            (progress.read_bytes(), progress.total_bytes()),
            (0, 640_004)
        );

        let mut log = Log(Vec::new(), usize::MAX);
        Box::new(source)
            .run(&mut log, &StopSignal::default())
            .unwrap();
        let number = |number: u64| format!("{number:063} at 42");
        assert_eq!(
            log.0,
            [
                "assigned 0".to_owned(),
                "assigned 1".to_owned(),
                format!("4096 to long:4096 = {}", number(4_095)),
                "1 to short:1 = a at 42".to_owned(),
                format!("4096 to long:8192 = {}", number(8_191)),
                "1 to short:3 = b at 42".to_owned(),
                format!("1808 to long:10000 = {}", number(9_999)),
                "finished 1".to_owned(),
                "finished 0".to_owned(),
            ]
        );
        assert_eq!(progress.read_bytes(), 640_004);
        let text = Registry::text([&registry]);
        let records = format!(
            "records_total{{split=\"{}\",pipeline=\"test\"}} 10000",
            long.display()
        );
        assert!(text.contains(&records), "{text}");
    }

    /// Pauses a split at its first records, and lets it go on when another one has finished.
    struct Pausing(Alignment, Log);

    impl SourceOutput for Pausing {
        fn send(&mut self, event: SourceEvent) -> Result<(), Stopped> {
            let alignment = self.0.clone();
            match &event {
                SourceEvent::Records(batch) if batch.split().id == SplitId(0) => {
                    // The other file has finished before the second of them.
                    let is_first = alignment.generation() == 0;
                    alignment.set(is_first.then_some(SplitId(0)).into_iter().collect());
                }
                SourceEvent::Finished(SplitId(1)) => {
                    // Only the paused file is left; a worker finds out that it need not be paused.
                    std::thread::spawn(move || alignment.set([].into()));
                }
                _ => {}
            }
            self.1.send(event)
        }

        fn end(&mut self) {}
    }

    #[test]
    fn a_paused_file_is_not_read_until_the_others_have_caught_up() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["fast", "slow"].map(|name| folder.path().join(name));
        let lines: String = (0..6_000).map(|number| format!("{number:063}\n")).collect();
        for path in &paths {
            std::fs::write(path, &lines).unwrap();
        }
        let (context, registry) = (context(), Registry::new("test"));
        let alignment = context.alignment.clone();
        let config = config(&[&paths[0], &paths[1]]);
        let source = FileSource::open(&config, context, &registry).unwrap();
        let mut output = Pausing(alignment, Log(Vec::new(), usize::MAX));
        Box::new(source)
            .run(&mut output, &StopSignal::default())
            .unwrap();
        let place = |said: &String| said.split(" = ").next().unwrap().to_owned();
        assert_eq!(
            output.1.0.iter().map(place).collect::<Vec<_>>(),
            [
                "assigned 0",
                "assigned 1",
                "4096 to fast:4096",
                "4096 to slow:4096",
                "1904 to slow:6000",
                "finished 1",
                "1904 to fast:6000",
                "finished 0",
            ]
        );
    }

    #[test]
    fn lines_that_are_too_long_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        std::fs::write(&path, format!("a\n{}\nb\n12345678\n", "x".repeat(100_000))).unwrap();
        let registry = Registry::new("test");
        let context = Context {
            max_record_bytes: 7,
            ..context()
        };
        let source = FileSource::open(&config(&[&path]), context, &registry).unwrap();
        let dropped = source.metrics.dropped(DropReason::TooLarge);
        let mut log = Log(Vec::new(), usize::MAX);
        Box::new(source)
            .run(&mut log, &StopSignal::default())
            .unwrap();
        assert_eq!(
            log.0,
            [
                "assigned 0",
                "1 to events:1 = a at 42",
                "1 to events:3 = b at 42",
                "finished 0"
            ]
        );
        assert_eq!(dropped.get(), 2);
    }

    #[test]
    fn a_stopped_source_finishes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        std::fs::write(&path, "a\n").unwrap();
        let registry = Registry::new("test");
        let open = || Box::new(FileSource::open(&config(&[&path]), context(), &registry).unwrap());

        let stop = StopSignal::default();
        stop.stop();
        let mut log = Log(Vec::new(), usize::MAX);
        open().run(&mut log, &stop).unwrap();
        assert_eq!(log.0, ["assigned 0"]);

        let mut log = Log(Vec::new(), 2);
        open().run(&mut log, &StopSignal::default()).unwrap();
        assert_eq!(log.0, ["assigned 0", "1 to events:1 = a at 42"]);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing.ndjson");
        let open = |path: &std::path::Path| {
            FileSource::open(&config(&[path]), context(), &Registry::new("test"))
                .err()
                .unwrap()
                .to_string()
        };
        assert_eq!(
            open(&missing),
            format!(
                "source file {}: cannot be opened: No such file or directory (os error 2)",
                missing.display()
            )
        );
        assert_eq!(
            open(folder.path()),
            format!(
                "source file {}: is a directory; name the files in it, or pipe them to standard \
                 input (-)",
                folder.path().display()
            )
        );
    }
}
