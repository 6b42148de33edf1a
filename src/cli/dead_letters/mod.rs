//! `weir dead-letters`.

mod arguments;
mod lines;
mod list;
mod replay;
mod show;
mod trial;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use super::validate::settings;
use crate::config::{self, Overrides, Pipeline};
use crate::source::broker_tokens;
use crate::write::dead_letters::{Config, Replayed, StoredLetter, read};

pub(super) use arguments::DeadLettersCommand;
use arguments::{LettersArguments, Selection};

/// Looks at dead letters, or sends their records again.
pub(super) fn dead_letters(command: &DeadLettersCommand) -> Result<ExitCode> {
    match command {
        DeadLettersCommand::List(arguments) => list::list(arguments)?,
        DeadLettersCommand::Show(arguments) => show::show(arguments)?,
        DeadLettersCommand::Replay(arguments) => return replay::replay(arguments),
    }
    Ok(ExitCode::SUCCESS)
}

/// Where a pipeline has its dead letters.
struct Found {
    pipeline: Pipeline,
    config: Config,
}

impl Found {
    fn load(arguments: &LettersArguments) -> Result<Self> {
        let overrides = Overrides {
            set: settings(&arguments.set),
            ..Overrides::default()
        };
        let pipeline = config::load(&arguments.file, &overrides)?;
        let Some(config) = pipeline.dead_letters.clone() else {
            bail!(
                "pipeline {} keeps no dead letters; add a section dead_letters to {}",
                pipeline.name,
                arguments.file.display()
            );
        };
        Ok(Self { pipeline, config })
    }

    /// Hands over the letters of this pipeline, each with its number.
    fn each(
        &self,
        mut take: impl FnMut(u64, StoredLetter) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let mut failed = None;
        let sasl = self.config.kafka.as_ref().map(|kafka| kafka.sasl.as_ref());
        let tokens = broker_tokens(sasl.flatten()).map_err(anyhow::Error::msg)?;
        read(&self.config, tokens, &mut |number, letter| {
            let letter = match letter {
                Ok(letter) => letter,
                Err(message) => {
                    tracing::warn!(number, message, "this is no dead letter, and is left out");
                    return ControlFlow::Continue(());
                }
            };
            // A topic may have those of several pipelines.
            if letter.pipeline != self.pipeline.name {
                return ControlFlow::Continue(());
            }
            take(number, letter).unwrap_or_else(|error| {
                failed = Some(error);
                ControlFlow::Break(())
            })
        })?;
        failed.map_or(Ok(()), Err)
    }

    /// Where it is noted which letters were sent again; nowhere for a topic of a pipeline without state.
    fn marks(&self) -> Option<PathBuf> {
        match &self.config.file {
            Some(file) => Some(Replayed::beside(file)),
            None => {
                let state = self.pipeline.state.as_ref()?;
                Some(state.dir.join("dead-letters.replayed"))
            }
        }
    }

    /// Those that were sent again.
    fn replayed(&self) -> Result<Replayed> {
        let Some(path) = self.marks() else {
            return Ok(Replayed::default());
        };
        Replayed::read(&path).with_context(|| path.display().to_string())
    }
}

impl Selection {
    fn has(&self, letter: &StoredLetter) -> bool {
        let reasons: BTreeSet<_> = self.reason.iter().map(String::as_str).collect();
        let is_wanted = reasons.is_empty() || reasons.contains(letter.reason.as_str());
        is_wanted && self.since.is_none_or(|since| letter.dropped_at_ms >= since)
    }
}
