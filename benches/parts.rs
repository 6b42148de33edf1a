//! Which parts of a bench are wanted: those that the command line names, or all.

use anyhow::{Result, ensure};

#[derive(Debug)]
pub(crate) struct Parts(Vec<String>);

impl Parts {
    /// Those of the command line, which must be some of these.
    pub(crate) fn of_arguments(all: &[&str]) -> Result<Self> {
        // What begins with a hyphen is Cargo's.
        let arguments = std::env::args().skip(1);
        let named: Vec<_> = arguments.filter(|name| !name.starts_with('-')).collect();
        let unknown = named.iter().find(|name| !all.contains(&name.as_str()));
        ensure!(unknown.is_none(), "no part {unknown:?}; use {all:?}");
        Ok(Self(named))
    }

    pub(crate) fn wants(&self, part: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|name| name == part)
    }
}
