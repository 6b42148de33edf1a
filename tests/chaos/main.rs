//! The crash test: weir and the servers around it are killed at random moments, and at the end the
//! receiver has every sample once, value for value those of a plain computation.
//!
//! `make chaos` runs it long: `CHAOS_KILLS` is the number of kills over all scenarios, and
//! `CHAOS_SEED` repeats the choices of an earlier run, which it has printed.

mod driver;
mod expected;
mod receiver;
mod report;
mod weir;

#[cfg(feature = "kafka")]
mod disk;
#[cfg(feature = "kafka")]
mod fleet;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "kafka")]
mod member;
#[cfg(feature = "kafka")]
mod producer;
#[cfg(feature = "kafka")]
mod reference;
#[cfg(feature = "kafka")]
mod store;

#[cfg(feature = "mqtt")]
mod mqtt;
#[cfg(feature = "mqtt")]
mod publishers;

mod proxy;

#[path = "../it/support/mod.rs"]
#[expect(dead_code, reason = "the other integration tests use more of it")]
mod support;

use anyhow::{Context as _, Result};

/// How often weir is killed where `CHAOS_KILLS` says nothing, over all scenarios together. Without
/// kills the servers stay up as well.
const KILLS: usize = 12;

/// What is chosen by chance, and how much of it there is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// Kills over all scenarios.
    pub(crate) kills: usize,
    /// Where the choices come from.
    pub(crate) seed: u64,
}

impl Settings {
    /// From the environment, or as tests run.
    ///
    /// # Errors
    /// A variable is no number.
    pub(crate) fn read() -> Result<Self> {
        Ok(Self {
            kills: number("CHAOS_KILLS")?.unwrap_or(KILLS),
            seed: match number("CHAOS_SEED")? {
                Some(seed) => seed,
                None => fastrand::u64(..1_000_000),
            },
        })
    }
}

fn number<T: std::str::FromStr<Err = std::num::ParseIntError>>(name: &str) -> Result<Option<T>> {
    let Ok(text) = std::env::var(name) else {
        return Ok(None);
    };
    if text.is_empty() {
        return Ok(None);
    }
    let number = text.parse();
    number
        .map(Some)
        .with_context(|| format!("{name} is {text:?}, which is no whole number"))
}
