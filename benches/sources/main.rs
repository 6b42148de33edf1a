//! How fast each source reads, beside a client or server library that does nothing but count: connected cars
//! through real servers on this machine, records a second.
//!
//! Both ways of a source read the same records and take turns. The clock runs until the last record,
//! with Kafka from the first one: to join a group is no reading.
//! Rates are the best of their rounds, for the rest of the machine only ever makes them lower; shares are
//! the median of what stands side by side. Figures go to `target/bench/sources.jsonl` as well.
//!
//! `cargo bench --profile release --bench sources`, with the names of sources for some of them. Kafka has
//! 1,500,000 records, or as many as `BENCH_RECORDS` says, and the others a share of that.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench prints its table, and what went wrong"
)]

mod count;
mod file;
#[path = "../findings.rs"]
mod findings;
mod http;
mod kafka;
mod kinesis;
mod mqtt;
#[path = "../../tests/it/support/mod.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "the integration tests use more of it"
)]
mod support;

use anyhow::{Context as _, Result, ensure};

use count::{Counted, Measured};
use findings::{Finding, Findings, highest, median};

const ROUNDS: usize = 5;

/// Two ways to read the same records: a bare library, which the source is compared with, and the source.
trait Contest {
    /// What reads beside the source.
    fn bare_name(&self) -> &'static str;

    /// How many records each way reads.
    fn records(&self) -> u64;

    fn bare(&mut self) -> Result<Measured>;

    fn source(&mut self) -> Result<Measured>;
}

/// A source with what sets it up.
struct Entry {
    name: &'static str,
    /// Its records, as a share of those of Kafka.
    share: f64,
    /// The share of the bare way's speed that it is to have at least, where there is a target.
    least: Option<f64>,
    set_up: fn(u64) -> Result<Box<dyn Contest>>,
}

const SOURCES: [Entry; 6] = [
    Entry {
        name: "kafka",
        share: 1.0,
        least: Some(0.85),
        set_up: kafka::set_up,
    },
    Entry {
        name: "mqtt",
        share: 0.1,
        least: None,
        set_up: mqtt::set_up,
    },
    Entry {
        name: "kinesis",
        share: 0.02,
        least: None,
        set_up: kinesis::set_up,
    },
    Entry {
        name: "http",
        share: 1.0,
        least: None,
        set_up: http::set_up_records,
    },
    Entry {
        name: "remote_write",
        share: 1.0,
        least: None,
        set_up: http::set_up_remote_write,
    },
    Entry {
        name: "file",
        share: 1.0,
        least: None,
        set_up: file::set_up,
    },
];

fn main() -> Result<()> {
    let records: f64 = match std::env::var("BENCH_RECORDS") {
        Ok(text) => text.parse().context("BENCH_RECORDS")?,
        Err(_) => 1_500_000.0,
    };
    let chosen: Vec<String> = std::env::args()
        .skip(1)
        .filter(|name| !name.starts_with('-'))
        .collect();
    for name in &chosen {
        let names = SOURCES.map(|entry| entry.name);
        ensure!(
            names.contains(&name.as_str()),
            "there is no source {name}; one of: {}",
            names.join(", ")
        );
    }
    let mut findings = Findings::create("sources")?;
    for entry in SOURCES {
        if chosen.is_empty() || chosen.iter().any(|name| name == entry.name) {
            let records = (records * entry.share) as u64;
            measure(&entry, records, &mut findings).with_context(|| entry.name)?;
        }
    }
    Ok(())
}

/// Both ways by turns.
fn measure(entry: &Entry, records: u64, findings: &mut Findings) -> Result<()> {
    let mut contest = (entry.set_up)(records)?;
    let expected = contest.records();
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    let seconds = |measured: Measured| {
        let (counted, took) = measured;
        let Counted { records, .. } = counted;
        // What was not acknowledged at a stop comes once more.
        ensure!(records >= expected, "{records} of {expected} records");
        Ok(took.as_secs_f64())
    };
    for _ in 0..ROUNDS {
        bare.push(seconds(contest.bare()?)?);
        ours.push(seconds(contest.source()?)?);
    }
    let rate = |seconds: &[f64]| highest(seconds.iter().map(|seconds| expected as f64 / seconds));
    let Entry { name, least, .. } = entry;
    let source = Finding::new(format!("source.{name}"), rate(&ours), "records/s");
    findings.add(&source)?;
    let what = format!("{name}: {}", contest.bare_name());
    findings.add(&Finding::new(what, rate(&bare), "records/s"))?;
    let shares = ours.iter().zip(&bare).map(|(ours, bare)| ours / bare);
    let what = format!("source.{name}: its time beside that");
    let finding = Finding::new(what, median(shares.collect()), "×").decimals(2);
    findings.add(&match least {
        Some(least) => finding.at_most((100.0 / least).round() / 100.0),
        None => finding,
    })
}
