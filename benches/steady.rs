//! What checkpoints cost a pipeline that runs.

use std::process::Stdio;

use anyhow::{Result, ensure};

use crate::cars::State;
use crate::command::{Ended, Weir};
use crate::findings::{Finding, Findings, highest, median};

/// How often each way is measured.
const ROUNDS: usize = 5;
/// How often a checkpoint is to be made without being felt.
const EVERY_SECONDS: f64 = 10.0;
/// What they may cost then, percent of the throughput.
const MOST_PERCENT: f64 = 5.0;
/// How long a thread may stand still for one, ms.
const MOST_SYNC_MS: f64 = 50.0;
/// A run with this has a last checkpoint at most.
const NEVER: &str = "1h";

/// What is run, in turns without state, with state and no checkpoints, and with checkpoints.
pub(crate) struct Steady<'a> {
    pub(crate) name: &'a str,
    pub(crate) events: u64,
    /// Where the groups are, where there is state.
    pub(crate) backend: &'a str,
    /// How often a checkpoint is made here: more often than in earnest, or a run would have none.
    pub(crate) every: &'a str,
    /// The pipeline file.
    pub(crate) pipeline: &'a dyn Fn(Option<State<'_>>) -> Result<String>,
}

impl Steady<'_> {
    pub(crate) fn measure(&self, findings: &mut Findings) -> Result<()> {
        let mut runs = Vec::new();
        for _ in 0..ROUNDS {
            let without = self.run(None)?;
            let idle = self.run(Some(NEVER))?;
            let busy = self.run(Some(self.every))?;
            ensure!(
                busy.told.checkpoints.len() > idle.told.checkpoints.len() + 1,
                "too few checkpoints"
            );
            runs.push((without, idle, busy));
        }
        let Self {
            name,
            events,
            every,
            ..
        } = self;
        let of = |figure: &dyn Fn(&(Ended, Ended, Ended)) -> f64| {
            median(runs.iter().map(figure).collect())
        };
        // Of runs that followed each other: the machine was as busy for one as for the other.
        let per_checkpoint = |seconds: &dyn Fn(&Ended) -> f64| {
            of(&|(_, idle, busy)| {
                let checkpoints = busy.told.checkpoints.len() - idle.told.checkpoints.len();
                (seconds(busy) - seconds(idle)) / checkpoints as f64
            })
        };
        let kept = of(&|(without, idle, _)| 100.0 * (1.0 - without.seconds / idle.seconds));
        let cost = per_checkpoint(&|run| run.seconds);
        let cpu_cost = per_checkpoint(&|run| run.cpu_seconds);
        let checkpoints = || runs.iter().flat_map(|(.., busy)| &busy.told.checkpoints);
        let middle = |figure: &dyn Fn(&crate::command::Checkpoint) -> f64| {
            median(checkpoints().map(figure).collect())
        };
        let mut add = |what: &str, value, unit, decimals, at_most: Option<f64>| {
            let finding = Finding::new(format!("{name}: {what}"), value, unit).decimals(decimals);
            findings.add(&match at_most {
                Some(most) => finding.at_most(most),
                None => finding,
            })
        };
        let rate = *events as f64 / of(&|(without, ..)| without.seconds);
        add("without state", rate, "events/s", 0, None)?;
        add("slower with state and no checkpoint", kept, "%", 1, None)?;
        let peak = of(&|(_, idle, _)| idle.peak_bytes as f64);
        add("memory then at most", peak / 1e6, "MB", 0, None)?;
        let slower = of(&|(without, _, busy)| 100.0 * (1.0 - without.seconds / busy.seconds));
        add(
            &format!("slower with one every {every}"),
            slower,
            "%",
            1,
            None,
        )?;
        add("a checkpoint takes of the run", 1e3 * cost, "ms", 1, None)?;
        add(
            "a checkpoint takes of all cores",
            1e3 * cpu_cost,
            "CPU ms",
            1,
            None,
        )?;
        let percent = 100.0 * cost / EVERY_SECONDS;
        add(
            "slower with one every 10s",
            percent,
            "%",
            2,
            Some(MOST_PERCENT),
        )?;
        let sync = middle(&|checkpoint| checkpoint.sync_ms);
        add("threads stand still, middle", sync, "ms", 2, None)?;
        let longest = highest(checkpoints().map(|checkpoint| checkpoint.sync_ms));
        add(
            "threads stand still, longest",
            longest,
            "ms",
            2,
            Some(MOST_SYNC_MS),
        )?;
        let stored = middle(&|checkpoint| checkpoint.async_ms);
        add(
            "encoded and stored meanwhile, middle",
            stored,
            "ms",
            1,
            None,
        )?;
        let bytes = middle(&|checkpoint| checkpoint.bytes as f64);
        add("bytes of a checkpoint, middle", bytes / 1e6, "MB", 2, None)?;
        let new_bytes = middle(&|checkpoint| checkpoint.new_bytes as f64);
        add("of these new, middle", new_bytes / 1e6, "MB", 2, None)
    }

    fn run(&self, every: Option<&str>) -> Result<Ended> {
        let folder = tempfile::tempdir()?;
        let dir = folder.path().join("state");
        let state = every.map(|every| State {
            dir: &dir,
            backend: self.backend,
            every,
        });
        let pipeline = (self.pipeline)(state)?;
        Weir::start(folder.path(), &pipeline, Stdio::null())?.process(self.events)
    }
}
