//! `weir dead-letters replay`.

use std::collections::{BTreeMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use foldhash::fast::FixedState;
use indicatif::{HumanCount, ProgressBar};

use super::super::signals::on_signal;
use super::super::table::{Align, table};
use super::Found;
use super::arguments::ReplayArguments;
use super::trial::Trial;
use crate::decode::Reason;
use crate::source::{Resender, ResentRecord, StopSignal};
use crate::write::dead_letters::{Replayed, StoredLetter};

/// How many records are sent and then noted together, and of how many bytes.
const AT_ONCE: usize = 100;
const BYTES_AT_ONCE: usize = 4 << 20;

/// Where records go.
enum Target {
    Source(Resender),
    File(File, PathBuf),
    /// A dry run.
    Nowhere,
}

/// What became of the letters.
#[derive(Default)]
struct Counts {
    sent: u64,
    events: u64,
    before: u64,
    partial: u64,
    /// They were decoded, and dropped for their time.
    untimely: u64,
    broken_lines: u64,
    wrong: BTreeMap<&'static str, Wrongs>,
}

/// Those that are still wrong for one reason.
struct Wrongs {
    letters: u64,
    /// The first of them.
    number: u64,
    detail: String,
}

struct Replay {
    arguments: ReplayChoice,
    target: Target,
    trial: Trial,
    replayed: Replayed,
    /// Of this run.
    seen: HashSet<String, FixedState>,
    chunk: Vec<ResentRecord>,
    counts: Counts,
    bar: ProgressBar,
}

/// What of the arguments decides about a letter.
struct ReplayChoice {
    numbers: HashSet<u64, FixedState>,
    has_reasons: bool,
    again: bool,
    partial: bool,
}

pub(super) fn replay(arguments: &ReplayArguments) -> Result<ExitCode> {
    let found = Found::load(&arguments.letters)?;
    let marks = arguments.marks.clone().or_else(|| found.marks());
    let replayed = match (&marks, arguments.dry_run) {
        (None, true) => Replayed::default(),
        (None, false) => bail!(
            "nobody would know what was sent again: set state.dir in {}, or give --marks FILE",
            arguments.letters.file.display()
        ),
        (Some(path), true) => Replayed::read(path).with_context(|| marks_in(path))?,
        (Some(path), false) => Replayed::open(path).with_context(|| marks_in(path))?,
    };
    let stop = StopSignal::default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let asked = stop.clone();
    on_signal(runtime.handle(), move || asked.stop())?;
    let mut replay = Replay {
        arguments: ReplayChoice {
            numbers: arguments.number.iter().copied().collect(),
            has_reasons: !arguments.selection.reason.is_empty(),
            again: arguments.again,
            partial: arguments.partial,
        },
        target: target(arguments, &found)?,
        trial: Trial::new(&found.pipeline)?,
        replayed,
        seen: HashSet::default(),
        chunk: Vec::new(),
        counts: Counts::default(),
        bar: match io::stderr().is_terminal() {
            true => ProgressBar::new_spinner(),
            false => ProgressBar::hidden(),
        },
    };
    let taken = found.each(|number, letter| {
        if stop.is_stopped() {
            return Ok(ControlFlow::Break(()));
        }
        if arguments.selection.has(&letter) {
            replay.take(number, &letter)?;
        }
        Ok(ControlFlow::Continue(()))
    });
    let sent = taken.and_then(|()| replay.flush());
    replay.bar.finish_and_clear();
    print!("{}", replay.counts.told(arguments, &found));
    sent?;
    if stop.is_stopped() {
        bail!("stopped; the rest can be sent with the same command");
    }
    let is_wrong = !replay.counts.wrong.is_empty() || replay.counts.broken_lines > 0;
    Ok(ExitCode::from(u8::from(arguments.dry_run && is_wrong)))
}

fn marks_in(path: &Path) -> String {
    format!("what was sent again, in {}", path.display())
}

fn target(arguments: &ReplayArguments, found: &Found) -> Result<Target> {
    if arguments.dry_run {
        return Ok(Target::Nowhere);
    }
    if let Some(path) = &arguments.to {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        return Ok(Target::File(file, path.clone()));
    }
    let pipeline = &found.pipeline;
    if !Resender::exists_for(&pipeline.source) {
        bail!(
            "nothing can be sent to a source of kind {}; write the records to a file with --to \
             RECORDS.ndjson, and run the pipeline over it with --input RECORDS.ndjson",
            pipeline.source.kind()
        );
    }
    let (url, ca_file) = (arguments.url.as_deref(), arguments.ca_file.as_deref());
    let resender = Resender::open(&pipeline.source, &pipeline.name, url, ca_file)?;
    Ok(Target::Source(resender))
}

impl Replay {
    /// Decides about a letter, and sends what has come together.
    fn take(&mut self, number: u64, letter: &StoredLetter) -> Result<()> {
        let choice = &self.arguments;
        if !choice.numbers.is_empty() && !choice.numbers.contains(&number) {
            return Ok(());
        }
        let is_chosen = choice.has_reasons || !choice.numbers.is_empty();
        let is_decoding = Reason::ALL
            .iter()
            .any(|reason| reason.name() == letter.reason);
        if !is_decoding && !is_chosen {
            self.counts.untimely += 1;
            return Ok(());
        }
        let id = letter.id();
        if self.replayed.has(&id) && !choice.again {
            self.counts.before += 1;
            return Ok(());
        }
        if letter.events_used > 0 && !choice.partial {
            self.counts.partial += 1;
            return Ok(());
        }
        // A record is there once a reason, and again where it was read again.
        if !self.seen.insert(id.clone()) {
            return Ok(());
        }
        let events = match self.trial.decode(letter) {
            Ok(events) => events,
            Err(wrong) => {
                let wrongs = self.counts.wrong.entry(wrong.reason).or_insert(Wrongs {
                    letters: 0,
                    number,
                    detail: wrong.detail,
                });
                wrongs.letters += 1;
                return Ok(());
            }
        };
        if matches!(self.target, Target::File(..)) && letter.record.contains(&b'\n') {
            self.counts.broken_lines += 1;
            return Ok(());
        }
        self.counts.events += events as u64;
        self.chunk.push(ResentRecord {
            id,
            topic: topic_of(letter),
            key: letter.key.clone(),
            headers: letter.headers.clone(),
            timestamp_ms: letter.timestamp_ms,
            bytes: letter.record.clone(),
        });
        let bytes: usize = self.chunk.iter().map(|record| record.bytes.len()).sum();
        if self.chunk.len() >= AT_ONCE || bytes >= BYTES_AT_ONCE {
            self.flush()?;
        }
        Ok(())
    }

    /// Sends what has come together, and notes it.
    fn flush(&mut self) -> Result<()> {
        let chunk = std::mem::take(&mut self.chunk);
        let mut failure = None;
        let sent: Vec<String> = match &mut self.target {
            Target::Nowhere => {
                self.counts.sent += chunk.len() as u64;
                return Ok(());
            }
            Target::File(file, path) => {
                write_lines(file, &chunk)
                    .with_context(|| format!("cannot write {}", path.display()))?;
                chunk.into_iter().map(|record| record.id).collect()
            }
            Target::Source(resender) => {
                let resent = resender.send(&chunk);
                failure = resent.error;
                let acknowledged = resent.acknowledged.into_iter();
                acknowledged
                    .filter_map(|number| chunk.get(number))
                    .map(|record| record.id.clone())
                    .collect()
            }
        };
        self.counts.sent += sent.len() as u64;
        self.bar
            .set_message(format!("{} sent", HumanCount(self.counts.sent)));
        self.bar.tick();
        self.replayed
            .note(&sent)
            .context("it cannot be noted what was sent again")?;
        match failure {
            Some(message) => bail!("{message}"),
            None => Ok(()),
        }
    }
}

fn write_lines(file: &mut File, records: &[ResentRecord]) -> io::Result<()> {
    let mut lines = Vec::new();
    for record in records {
        lines.extend_from_slice(&record.bytes);
        lines.push(b'\n');
    }
    file.write_all(&lines)?;
    file.sync_data()
}

/// A split of Kafka is named after its topic and partition.
fn topic_of(letter: &StoredLetter) -> Vec<u8> {
    if !letter.topic.is_empty() {
        return letter.topic.clone();
    }
    let topic = letter.split.rsplit_once('/').map(|(topic, _)| topic);
    topic.unwrap_or_default().as_bytes().to_vec()
}

impl Counts {
    fn told(&self, arguments: &ReplayArguments, found: &Found) -> String {
        let sent = HumanCount(self.sent);
        let events = HumanCount(self.events);
        let mut text = match (&arguments.to, arguments.dry_run) {
            (_, true) => format!("{sent} records would be sent again, with {events} events\n"),
            (Some(path), false) => {
                format!("{sent} records are written to {}\n", path.display())
            }
            (None, false) => {
                format!(
                    "{sent} records are sent again, to {}\n",
                    found.pipeline.source.kind()
                )
            }
        };
        let left_out = [
            (
                self.before,
                "were sent again before; --again sends them once more",
            ),
            (
                self.partial,
                "are of records of which other events were counted; --partial sends them whole",
            ),
            (
                self.untimely,
                "were decoded and dropped for their time, and would be again; --reason sends them",
            ),
            (
                self.broken_lines,
                "have line ends in them and cannot stand in a file of lines",
            ),
        ];
        for (count, why) in left_out.iter().filter(|(count, _)| *count > 0) {
            text.push_str(&format!("{} {why}\n", HumanCount(*count)));
        }
        if self.wrong.is_empty() {
            return text;
        }
        let letters: u64 = self.wrong.values().map(|wrongs| wrongs.letters).sum();
        text.push_str(&format!("{} still give no event:\n", HumanCount(letters)));
        let rows = self.wrong.iter().map(|(reason, wrongs)| {
            let detail = wrongs.detail.lines().next().unwrap_or_default();
            [
                (*reason).to_owned(),
                HumanCount(wrongs.letters).to_string(),
                wrongs.number.to_string(),
                detail.to_owned(),
            ]
        });
        text.push_str(&table(
            [
                ("REASON", Align::Left),
                ("RECORDS", Align::Right),
                ("FIRST", Align::Right),
                ("DETAIL OF THE FIRST", Align::Left),
            ],
            rows,
        ));
        text
    }
}
