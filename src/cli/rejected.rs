//! `weir rejected`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use indicatif::HumanCount;
use tokio::runtime::Builder;

use super::arguments::{
    RejectedArguments, RejectedCommand, ReplayArguments, ShowRejectedArguments,
};
use super::state::time;
use super::table::{Align, table};
use super::validate::settings;
use crate::config::{self, Overrides, Pipeline};
use crate::model::{Sample, SampleValue, Series, TimestampMs};
use crate::telemetry::Registry;
use crate::write::rejected::{Contents, RejectedSample, RejectedSamples, STALE, read_file};
use crate::write::remote_write::config::OnThrottleLimit;
use crate::write::{self, Receivers, RemoteWriteConfig, Resume, Writer};

/// Looks at rejected samples, sends them again or removes them.
pub(super) fn rejected(command: &RejectedCommand) -> Result<ExitCode> {
    match command {
        RejectedCommand::List(arguments) => {
            let found = Found::load(arguments)?;
            print!("{}", list(&found.read()?.samples));
        }
        RejectedCommand::Show(arguments) => {
            let found = Found::load(&arguments.rejected)?;
            print!("{}", show(&found.read()?.samples, arguments)?);
        }
        RejectedCommand::Replay(arguments) => return replay(arguments),
        RejectedCommand::Purge(arguments) => {
            let found = Found::load(arguments)?;
            let count = found.rejected.purge().with_context(|| found.failed())?;
            println!("{} rejected samples are removed", HumanCount(count));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Where a pipeline keeps them.
struct Found {
    pipeline: Pipeline,
    remote_write: RemoteWriteConfig,
    rejected: RejectedSamples,
}

impl Found {
    fn load(arguments: &RejectedArguments) -> Result<Self> {
        let overrides = Overrides {
            set: settings(&arguments.set),
            ..Overrides::default()
        };
        let pipeline = config::load(&arguments.file, &overrides)?;
        let Some(receivers) = &pipeline.write.remote_write else {
            bail!(
                "pipeline {} has no receiver: it writes to a file",
                pipeline.name
            );
        };
        let remote_write = one_of(receivers, arguments.receiver.as_deref())?.clone();
        let state = pipeline.state.as_ref();
        let folder = remote_write.rejected_folder(state.map(|state| state.dir.as_path()));
        let folder = folder.with_context(|| {
            format!(
                "pipeline {} keeps no rejected samples; set state.dir, or \
                 write.remote_write.rejected.dir, in {}",
                pipeline.name,
                arguments.file.display()
            )
        })?;
        let rejected = RejectedSamples::new(folder, remote_write.rejected.max_bytes);
        Ok(Self {
            pipeline,
            remote_write,
            rejected,
        })
    }

    fn read(&self) -> Result<Contents> {
        let contents = self.rejected.read().with_context(|| self.failed())?;
        tell_damaged(&contents);
        Ok(contents)
    }

    fn failed(&self) -> String {
        format!("rejected samples in {}", self.rejected.folder().display())
    }
}

/// The receiver of this name, or the only one.
fn one_of<'a>(receivers: &'a Receivers, name: Option<&str>) -> Result<&'a RemoteWriteConfig> {
    let receivers = receivers.all();
    let names = || {
        let names: Vec<_> = receivers.iter().map(RemoteWriteConfig::name).collect();
        names.join(", ")
    };
    let Some(name) = name else {
        return match receivers {
            [only] => Ok(only),
            _ => bail!(
                "there are several receivers; choose one with --receiver: {}",
                names()
            ),
        };
    };
    let found = receivers.iter().find(|receiver| receiver.name() == name);
    found.with_context(|| format!("there is no receiver '{name}'; there are: {}", names()))
}

fn tell_damaged(contents: &Contents) {
    for (path, line, message) in &contents.damaged {
        let path = path.display();
        tracing::warn!(%path, line, message, "a line is no rejected sample, and is left out");
    }
}

/// What was rejected for the same reason of the same metric.
#[derive(Default)]
struct Sum {
    samples: u64,
    series: BTreeSet<Arc<Series>>,
    first_ms: TimestampMs,
    last_ms: TimestampMs,
    words: String,
}

fn list(samples: &[RejectedSample]) -> String {
    let mut sums: BTreeMap<(String, String), Sum> = BTreeMap::new();
    for rejected in samples {
        let key = (status(rejected), rejected.sample.series.name().to_string());
        let sum = sums.entry(key).or_default();
        if sum.samples == 0 {
            sum.first_ms = rejected.rejected_at_ms;
        }
        sum.samples += 1;
        sum.series.insert(Arc::clone(&rejected.sample.series));
        sum.last_ms = rejected.rejected_at_ms;
        sum.words.clone_from(&rejected.words);
    }
    if sums.is_empty() {
        return "no samples are rejected\n".to_owned();
    }
    let rows = sums.into_iter().map(|((status, metric), sum)| {
        [
            status,
            metric,
            HumanCount(sum.samples).to_string(),
            HumanCount(sum.series.len() as u64).to_string(),
            time(sum.first_ms),
            time(sum.last_ms),
            one_line(&sum.words),
        ]
    });
    table(
        [
            ("STATUS", Align::Left),
            ("METRIC", Align::Left),
            ("SAMPLES", Align::Right),
            ("SERIES", Align::Right),
            ("FIRST", Align::Left),
            ("LAST", Align::Left),
            ("LAST WORDS", Align::Left),
        ],
        rows,
    )
}

fn show(samples: &[RejectedSample], arguments: &ShowRejectedArguments) -> Result<String> {
    let wanted = samples.iter().filter(|rejected| {
        let metric = arguments.metric.as_deref();
        metric.is_none_or(|metric| &**rejected.sample.series.name() == metric)
    });
    let wanted: Vec<_> = wanted.collect();
    let left_out = wanted.len().saturating_sub(arguments.limit);
    let mut text = String::new();
    if left_out > 0 {
        text.push_str(&format!(
            "the last {} of {}; --limit shows more\n",
            arguments.limit,
            HumanCount(wanted.len() as u64)
        ));
    }
    let rows = wanted.into_iter().skip(left_out).map(|rejected| {
        let Sample {
            series,
            timestamp_ms,
            value,
        } = &rejected.sample;
        [
            time(rejected.rejected_at_ms),
            status(rejected),
            series.to_string(),
            time(*timestamp_ms),
            shown(value),
            one_line(&rejected.words),
        ]
    });
    text.push_str(&table(
        [
            ("REJECTED", Align::Left),
            ("STATUS", Align::Left),
            ("SERIES", Align::Left),
            ("TIME", Align::Left),
            ("VALUE", Align::Right),
            ("WORDS", Align::Left),
        ],
        rows,
    ));
    Ok(text)
}

fn status(rejected: &RejectedSample) -> String {
    rejected
        .status
        .map_or_else(|| "–".to_owned(), |status| status.to_string())
}

fn shown(value: &SampleValue) -> String {
    match value {
        marker if marker.is_staleness_marker() => STALE.to_owned(),
        SampleValue::Number(value) => value.to_string(),
        SampleValue::Histogram(histogram) => format!("histogram of {}", histogram.count),
    }
}

/// Receivers answer with lines, and with many words.
fn one_line(words: &str) -> String {
    const MOST: usize = 120;
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(MOST) {
        None => words,
        Some((end, _)) => format!("{}…", words.get(..end).unwrap_or_default()),
    }
}

/// Sends everything again, in the order of its times. What is rejected once more is kept once more.
fn replay(arguments: &ReplayArguments) -> Result<ExitCode> {
    let found = Found::load(&arguments.rejected)?;
    let files = found.rejected.put_aside().with_context(|| found.failed())?;
    let mut contents = Contents::default();
    for path in &files {
        read_file(path, &mut contents)
            .with_context(|| format!("rejected samples in {}", path.display()))?;
    }
    tell_damaged(&contents);
    let mut samples: Vec<Sample> = contents.samples.into_iter().map(|one| one.sample).collect();
    if samples.is_empty() {
        println!("no samples are rejected");
        return Ok(ExitCode::SUCCESS);
    }
    samples.sort_by_key(|sample| sample.timestamp_ms);
    let count = samples.len() as u64;
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let registry = Registry::new(&found.pipeline.name);
    let mut receiver = found.remote_write;
    receiver.rejected.dir = Some(found.rejected.folder().to_owned());
    // They were kept as they went out, and none may give way to another.
    receiver.external_labels.clear();
    receiver.write_relabel_configs.clear();
    receiver.on_throttle_limit = Some(OnThrottleLimit::Wait);
    let write = write::Config {
        remote_write: Some(Receivers::One(Box::new(receiver))),
        ..found.pipeline.write
    };
    let writer = Writer::start(
        &write,
        1,
        &registry,
        runtime.handle().clone(),
        Resume::default(),
    )?;
    let handle = writer.handle();
    for some in samples.chunks(10_000) {
        handle.send(0, some.to_vec())?;
    }
    let summary = writer.finish(Some(arguments.drain.to_std()));
    if let Some(error) = summary.error {
        return Err(error.into());
    }
    if summary.unsent > 0 {
        // They are still aside, with those that were sent, which the receiver knows then.
        bail!(
            "{} of {} samples could not be sent within {}; all are kept",
            HumanCount(summary.unsent),
            HumanCount(count),
            arguments.drain
        );
    }
    for path in &files {
        remove(path)?;
    }
    println!(
        "{} samples are sent again: {} were taken, {} were not",
        HumanCount(count),
        HumanCount(summary.written),
        HumanCount(summary.dropped)
    );
    Ok(ExitCode::SUCCESS)
}

fn remove(path: &Path) -> Result<()> {
    fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))
}
