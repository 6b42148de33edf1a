//! When and how weir is killed: every choice comes from the seed.

use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::report::Report;
use crate::weir::Weir;

/// How long weir works before the next kill, ms.
const WORK_MS: Range<u64> = 150..1_200;

/// A kill that is to meet the beginning of something comes so soon after it, ms.
const AFTER_BEGINNING_MS: Range<u64> = 0..20;

/// How long a checkpoint or a rebalance is waited for; checkpoints are to begin every half a second.
const BEGINNING_LIMIT: Duration = Duration::from_secs(15);

/// How often it is looked for: it is to be met within milliseconds.
const LOOK: Duration = Duration::from_millis(1);

/// How long something that weir needs is away before the kill, ms.
const AWAY_MS: Range<u64> = 100..1_200;

/// How long it stays away after the restart, ms.
const STILL_AWAY_MS: Range<u64> = 50..600;

/// The moments of a kill: `kinds` in a random order, again and again.
pub(crate) fn plan<K: Copy>(kinds: &[K], kills: usize, chance: &mut fastrand::Rng) -> Vec<K> {
    let mut plan = Vec::with_capacity(kills + kinds.len());
    while plan.len() < kills && !kinds.is_empty() {
        let mut turn = kinds.to_vec();
        chance.shuffle(&mut turn);
        plan.extend(turn);
    }
    plan.truncate(kills);
    plan
}

/// weir, and what has been done to it.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) weir: Weir,
    pub(crate) report: Report,
    pub(crate) chance: fastrand::Rng,
    /// How long the last plain restart took.
    usual: Duration,
}

impl Driver {
    /// Starts weir for the first time.
    ///
    /// # Errors
    /// It does not become ready.
    pub(crate) fn start(weir: Weir, report: Report, chance: fastrand::Rng) -> Result<Self> {
        let mut driver = Self {
            weir,
            report,
            chance,
            usual: Duration::ZERO,
        };
        driver.weir.start()?;
        driver.usual = driver.weir.await_ready()?;
        let ready = format!("ready after {} ms", driver.usual.as_millis());
        driver.report.say(&ready);
        Ok(driver)
    }

    /// Lets it work for a while.
    pub(crate) fn work(&mut self) {
        self.pause(WORK_MS);
    }

    /// Waits for a random time, ms.
    pub(crate) fn pause(&mut self, range: Range<u64>) {
        let pause = self.chance.u64(range);
        thread::sleep(Duration::from_millis(pause));
    }

    /// A kill now.
    ///
    /// # Errors
    /// It has ended before, or does not come back.
    pub(crate) fn kill(&mut self, kind: &'static str) -> Result<()> {
        self.weir.kill().context(kind)?;
        self.start_again(kind)
    }

    /// A kill within milliseconds after the beginning of a checkpoint.
    ///
    /// # Errors
    /// As for [`Self::kill`].
    pub(crate) fn kill_in_checkpoint(&mut self) -> Result<()> {
        let before = self.weir.footprint();
        self.kill_once("checkpoint", |weir| !weir.footprint().is_subset(&before))
    }

    /// A kill within milliseconds after something has begun.
    ///
    /// # Errors
    /// As for [`Self::kill`], or it does not begin.
    pub(crate) fn kill_once(
        &mut self,
        kind: &'static str,
        has_begun: impl Fn(&Weir) -> bool,
    ) -> Result<()> {
        self.await_beginning(kind, has_begun)?;
        self.pause(AFTER_BEGINNING_MS);
        self.kill(kind)
    }

    /// Waits until something has begun.
    ///
    /// # Errors
    /// It does not begin.
    pub(crate) fn await_beginning(
        &self,
        kind: &str,
        has_begun: impl Fn(&Weir) -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + BEGINNING_LIMIT;
        while !has_begun(&self.weir) {
            ensure!(
                Instant::now() < deadline,
                "no {kind} has begun within {BEGINNING_LIMIT:?}"
            );
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Waits until something has begun that a broker decides about, which may have reasons of its own not
    /// to: the report says so then, and the run goes on.
    pub(crate) fn await_if_it_comes(
        &mut self,
        kind: &'static str,
        has_begun: impl Fn(&Weir) -> bool,
    ) {
        if self.await_beginning(kind, has_begun).is_err() {
            self.report.note("nothing came of the broker");
            return;
        }
        self.pause(AFTER_BEGINNING_MS);
    }

    /// A second kill while it comes back from a first one.
    ///
    /// # Errors
    /// As for [`Self::kill`].
    pub(crate) fn kill_in_restore(&mut self) -> Result<()> {
        self.weir.kill().context("restore")?;
        self.weir.start()?;
        let usual = u64::try_from(self.usual.as_millis())?;
        let after = self.chance.u64(..=usual);
        thread::sleep(Duration::from_millis(after));
        self.report
            .note(format!("again {after} ms after the start"));
        self.weir.kill().context("restore")?;
        self.start_again("restore")
    }

    /// A kill while something is away that weir needs. Then it may end by itself as well, and it
    /// may be started before or after that is back.
    ///
    /// # Errors
    /// As for [`Self::kill`], or an outage cannot be made or ended.
    pub(crate) fn kill_in_outage(
        &mut self,
        kind: &'static str,
        begin: impl FnOnce() -> Result<()>,
        end: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        begin()?;
        self.pause(AWAY_MS);
        if self.weir.kill_if_running() {
            self.report.note("had ended by itself");
        }
        if self.chance.bool() {
            self.report.note("started while it is away");
            self.weir.start()?;
            self.pause(STILL_AWAY_MS);
            end()?;
        } else {
            end()?;
            self.weir.start()?;
        }
        let (ready, ended) = self.weir.restart().context(kind)?;
        if ended > 0 {
            self.report.note(format!("ended by itself {ended} times"));
        }
        self.report.killed(kind, ready);
        Ok(())
    }

    /// For the message of a failure: the seed, and what weir has complained of in all of its runs.
    pub(crate) fn story(&self) -> String {
        format!("{}\n{}", self.report.title(), self.weir.complaints())
    }

    fn start_again(&mut self, kind: &'static str) -> Result<()> {
        self.weir.start()?;
        self.usual = self.weir.await_ready().context(kind)?;
        self.report.killed(kind, self.usual);
        Ok(())
    }
}

#[test]
fn every_kind_has_its_turn() {
    let mut chance = fastrand::Rng::with_seed(1);
    let found = plan(&[1, 2, 3], 7, &mut chance);
    assert_eq!(found.len(), 7);
    for turn in found.chunks_exact(3) {
        let mut turn = turn.to_vec();
        turn.sort_unstable();
        assert_eq!(turn, [1, 2, 3]);
    }
    assert_eq!(plan(&[1, 2, 3], 7, &mut fastrand::Rng::with_seed(1)), found);
    assert!(plan::<u8>(&[], 7, &mut chance).is_empty());
}
