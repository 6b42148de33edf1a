//! What is told while it runs: a line for each kill, and a table at the end.

#![expect(
    clippy::print_stdout,
    reason = "the long run is watched; a short one shows this only where it fails"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A line that stands alone.
pub(crate) fn tell(text: &str) {
    println!("{text}");
}

/// The kills of one scenario.
#[derive(Debug)]
pub(crate) struct Report {
    scenario: &'static str,
    seed: u64,
    begun: Instant,
    planned: usize,
    kills: usize,
    /// Times from a start to readiness, by kind of kill.
    ready: BTreeMap<&'static str, Vec<Duration>>,
    notes: Vec<String>,
}

impl Report {
    /// Of a scenario in which so many kills are planned. Prints the seed.
    pub(crate) fn new(scenario: &'static str, seed: u64, planned: usize) -> Self {
        println!("{scenario}: CHAOS_SEED={seed}, {planned} kills planned");
        Self {
            scenario,
            seed,
            begun: Instant::now(),
            planned,
            kills: 0,
            ready: BTreeMap::new(),
            notes: Vec::new(),
        }
    }

    /// What it is, for the message of a failure.
    pub(crate) fn title(&self) -> String {
        format!("{}, CHAOS_SEED={}", self.scenario, self.seed)
    }

    /// Something that the line of the next kill is to say.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// weir was killed, and after its start it took so long until it was ready.
    pub(crate) fn killed(&mut self, kind: &'static str, ready: Duration) {
        self.kills += 1;
        self.ready.entry(kind).or_default().push(ready);
        println!(
            "{}: {:7.2} s  kill {:3}/{}  {kind:<11} ready after {:5} ms  {}",
            self.scenario,
            self.begun.elapsed().as_secs_f64(),
            self.kills,
            self.planned,
            ready.as_millis(),
            self.notes.join(", ")
        );
        self.notes.clear();
    }

    /// Something of the whole run.
    pub(crate) fn say(&self, text: &str) {
        let seconds = self.begun.elapsed().as_secs_f64();
        println!("{}: {seconds:7.2} s  {text}", self.scenario);
    }

    /// The table, once everything has turned out right.
    pub(crate) fn print(&self) {
        self.say(&format!("{} kills, nothing lost or doubled", self.kills));
        if self.ready.is_empty() {
            return;
        }
        println!(
            "{}: kind         kills  ready, ms: median  longest",
            self.scenario
        );
        for (kind, times) in &self.ready {
            let mut times = times.clone();
            times.sort();
            let median = times.get(times.len() / 2).copied().unwrap_or_default();
            let longest = times.last().copied().unwrap_or_default();
            println!(
                "{}: {kind:<12} {:5}             {:6}   {:6}",
                self.scenario,
                times.len(),
                median.as_millis(),
                longest.as_millis()
            );
        }
    }
}
