//! `weir dead-letters replay`.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, IsTerminal};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use foldhash::fast::FixedState;
use indicatif::{HumanCount, ProgressBar};

use super::super::signals::on_signal;
use super::super::table::{Align, table};
use super::Found;
use super::arguments::ReplayArguments;
use super::lines::{Form, LinesFile};
use super::trial::{Transport, Trial, Verdict};
use crate::decode::Reason;
use crate::model::Clock;
use crate::source::{HttpWay, Resender, ResentRecord, StopSignal};
use crate::write::dead_letters::{Replayed, StoredLetter};

/// How many records are sent and then noted together, and of how many bytes.
const AT_ONCE: usize = 100;
const BYTES_AT_ONCE: usize = 4 << 20;

/// The reason of those that the way to the source does not take.
const REFUSED: &str = "refused";

/// Where records go.
enum Target {
    Source(Resender),
    File(LinesFile),
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
    /// How records stand in a file, where they are for one.
    form: Option<Form>,
    trial: Trial,
    replayed: Replayed,
    /// Of this run.
    seen: HashSet<String, FixedState>,
    /// What has come together, and the numbers and ids of the letters.
    chunk: Vec<ResentRecord>,
    letters: Vec<(u64, String)>,
    counts: Counts,
    bar: ProgressBar,
}

/// What of the arguments decides about a letter.
struct ReplayChoice {
    numbers: HashSet<u64, FixedState>,
    has_reasons: bool,
    /// What makes a record another one for a receiver that knows it.
    again: Option<String>,
    partial: bool,
}

pub(super) fn replay(arguments: &ReplayArguments) -> Result<ExitCode> {
    let found = Found::load(&arguments.letters)?;
    if found.pipeline.format.needs_topic() {
        bail!(
            "births and data of Sparkplug B mean something in their order and with their topics alone: a \
             birth that is sent again would take the place of a later one, here and for every other host, \
             and lines of a file have no topics; what is known of each is in the letters themselves"
        );
    }
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
            again: arguments.again.then(|| Clock::System.now_ms().to_string()),
            partial: arguments.partial,
        },
        target: target(arguments, &found)?,
        form: arguments.to.as_ref().map(|_| Form::of(&found.pipeline)),
        trial: Trial::new(&found.pipeline, transport(arguments, &found), stop.clone())?,
        replayed,
        seen: HashSet::default(),
        chunk: Vec::new(),
        letters: Vec::new(),
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
            return replay.take(number, &letter);
        }
        Ok(ControlFlow::Continue(()))
    });
    let sent = taken.and_then(|()| replay.flush());
    replay.bar.finish_and_clear();
    print!("{}", replay.counts.told(arguments, &found));
    if let Target::File(lines) = &replay.target {
        let settings = lines.settings(&found.pipeline)?;
        if !settings.is_empty() {
            println!("they stand in Base64: run the pipeline over them with {settings}");
        }
    }
    sent?;
    if stop.is_stopped() {
        bail!("stopped; the rest can be sent with the same command");
    }
    let is_wrong = !replay.counts.wrong.is_empty() || replay.counts.broken_lines > 0;
    let is_refused = replay.counts.wrong.contains_key(REFUSED);
    Ok(ExitCode::from(u8::from(
        is_refused || (arguments.dry_run && is_wrong),
    )))
}

fn marks_in(path: &Path) -> String {
    format!("what was sent again, in {}", path.display())
}

/// What records still have of their transport where they are sent to.
fn transport(arguments: &ReplayArguments, found: &Found) -> Transport {
    match (&arguments.to, found.pipeline.source.kind()) {
        (None, "kafka") => Transport::Kept,
        (None, "mqtt" | "http" | "remote_write") if arguments.time_of_replay => Transport::Kept,
        (None, "mqtt" | "http" | "remote_write") => Transport::TimeAnew,
        _ => Transport::Gone,
    }
}

fn target(arguments: &ReplayArguments, found: &Found) -> Result<Target> {
    if arguments.dry_run {
        return Ok(Target::Nowhere);
    }
    if let Some(path) = &arguments.to {
        let form = Form::of(&found.pipeline);
        return LinesFile::open(path, form).map(Target::File);
    }
    let pipeline = &found.pipeline;
    if !Resender::exists_for(&pipeline.source) {
        bail!(
            "nothing can be sent to a source of kind {}; write the records to a file with --to \
             RECORDS.ndjson, and run the pipeline over it with --input RECORDS.ndjson",
            pipeline.source.kind()
        );
    }
    let way = HttpWay {
        url: arguments.url.as_deref(),
        ca_file: arguments.ca_file.as_deref(),
        identity: arguments
            .cert_file
            .as_deref()
            .zip(arguments.key_file.as_deref()),
    };
    let resender = Resender::open(&pipeline.source, &pipeline.name, &way)?;
    Ok(Target::Source(resender))
}

impl Replay {
    /// Decides about a letter, and sends what has come together. Says whether to go on.
    fn take(&mut self, number: u64, letter: &StoredLetter) -> Result<ControlFlow<()>> {
        const NEXT: ControlFlow<()> = ControlFlow::Continue(());
        let choice = &self.arguments;
        if !choice.numbers.is_empty() && !choice.numbers.contains(&number) {
            return Ok(NEXT);
        }
        let is_chosen = choice.has_reasons || !choice.numbers.is_empty();
        let is_decoding = Reason::ALL
            .iter()
            .any(|reason| reason.name() == letter.reason);
        if !is_decoding && !is_chosen {
            self.counts.untimely += 1;
            return Ok(NEXT);
        }
        let id = letter.id();
        if self.replayed.has(&id) && choice.again.is_none() {
            self.counts.before += 1;
            return Ok(NEXT);
        }
        if letter.events_used > 0 && !choice.partial {
            self.counts.partial += 1;
            return Ok(NEXT);
        }
        // A record is there once a reason, and again where it was read again.
        if !self.seen.insert(id.clone()) {
            return Ok(NEXT);
        }
        let events = match self.trial.decode(letter) {
            Verdict::Events(events) => events,
            Verdict::Stopped => return Ok(ControlFlow::Break(())),
            Verdict::Wrong(wrong) => {
                self.counts.wrong(wrong.reason, number, wrong.detail);
                return Ok(NEXT);
            }
        };
        if self.form.is_some_and(|form| !form.keeps(&letter.record)) {
            self.counts.broken_lines += 1;
            return Ok(NEXT);
        }
        self.counts.events += events as u64;
        self.chunk.push(ResentRecord {
            id: match &choice.again {
                Some(time) => format!("{id}-{time}"),
                None => id.clone(),
            },
            topic: topic_of(letter),
            key: letter.key.clone(),
            headers: letter.headers.clone(),
            timestamp_ms: letter.timestamp_ms,
            bytes: letter.record.clone(),
        });
        self.letters.push((number, id));
        let bytes: usize = self.chunk.iter().map(|record| record.bytes.len()).sum();
        if self.chunk.len() >= AT_ONCE || bytes >= BYTES_AT_ONCE {
            self.flush()?;
        }
        Ok(NEXT)
    }

    /// Sends what has come together, and notes it.
    fn flush(&mut self) -> Result<()> {
        let chunk = std::mem::take(&mut self.chunk);
        let letters = std::mem::take(&mut self.letters);
        let mut failure = None;
        let sent: Vec<String> = match &mut self.target {
            Target::Nowhere => {
                self.counts.sent += chunk.len() as u64;
                return Ok(());
            }
            Target::File(lines) => {
                lines.write(&chunk)?;
                letters.into_iter().map(|(_, id)| id).collect()
            }
            Target::Source(resender) => {
                let resent = resender.send(&chunk);
                failure = resent.error;
                for (index, why) in resent.refused {
                    if let Some((number, _)) = letters.get(index) {
                        self.counts.wrong(REFUSED, *number, why);
                    }
                }
                let acknowledged = resent.acknowledged.into_iter();
                let ids = acknowledged.filter_map(|index| letters.get(index));
                ids.map(|(_, id)| id.clone()).collect()
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

/// A split of Kafka is named after its topic and partition.
fn topic_of(letter: &StoredLetter) -> Vec<u8> {
    if !letter.topic.is_empty() {
        return letter.topic.clone();
    }
    let topic = letter.split.rsplit_once('/').map(|(topic, _)| topic);
    topic.unwrap_or_default().as_bytes().to_vec()
}

impl Counts {
    fn wrong(&mut self, reason: &'static str, number: u64, detail: String) {
        let wrongs = self.wrong.entry(reason).or_insert(Wrongs {
            letters: 0,
            number,
            detail,
        });
        wrongs.letters += 1;
    }

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
                "are of records of which events were counted already; --partial sends them whole",
            ),
            (
                self.untimely,
                "were decoded and dropped for their time, and would be again; --reason sends them",
            ),
            (
                self.broken_lines,
                "are empty or have line ends in them, and cannot stand in a file of lines",
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
