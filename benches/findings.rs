//! What the benches of state and of the sender print, and their files in `target/bench`.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use anyhow::Result;
use serde_json::json;

/// A figure and what it is to be.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// How many decimals say something.
    pub(crate) decimals: usize,
    /// The most that it is to be, where there is a target.
    pub(crate) at_most: Option<f64>,
}

impl Finding {
    /// A figure without a target.
    pub(crate) fn new(what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self {
            what: what.into(),
            value,
            unit,
            decimals: 0,
            at_most: None,
        }
    }

    pub(crate) fn decimals(mut self, decimals: usize) -> Self {
        self.decimals = decimals;
        self
    }

    pub(crate) fn at_most(mut self, target: f64) -> Self {
        self.at_most = Some(target);
        self
    }
}

/// Where the figures go.
#[derive(Debug)]
pub(crate) struct Findings(File);

impl Findings {
    /// Empties the file of a bench and prints the table's head.
    pub(crate) fn create(bench: &str) -> Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
        fs::create_dir_all(&folder)?;
        println!(
            "{:<66} {:>12} {:<12} {:>8}  {:<10}",
            bench, "figure", "unit", "at most", "target"
        );
        Ok(Self(File::create(folder.join(format!("{bench}.jsonl")))?))
    }

    pub(crate) fn add(&mut self, finding: &Finding) -> Result<()> {
        let Finding {
            what,
            value,
            unit,
            decimals,
            at_most,
        } = finding;
        let (most, target) = match at_most {
            Some(most) if value <= most => (most.to_string(), "met"),
            Some(most) => (most.to_string(), "not met"),
            None => ("-".to_owned(), "-"),
        };
        println!("{what:<66} {value:>12.decimals$} {unit:<12} {most:>8}  {target:<10}");
        let line = json!({
            "what": what,
            "value": value,
            "unit": unit,
            "decimals": decimals,
            "at_most": at_most,
        });
        Ok(writeln!(self.0, "{line}")?)
    }
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The highest one, at least 0.
pub(crate) fn highest(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, f64::max)
}
