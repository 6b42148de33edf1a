//! A weir that runs as a service, with its metrics page.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::support::http;
use crate::support::process::Process;

use super::fleet::LIMIT;

/// A running weir. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Service {
    process: Process,
    url: String,
}

impl Service {
    /// Starts `weir run`; `command` must not say `--listen`. Returns once it serves its metrics.
    ///
    /// # Errors
    /// It does not come up.
    pub(crate) fn start(command: &mut Command, folder: &TempDir) -> Result<Self> {
        command.args(["--listen", "127.0.0.1:0"]);
        // Each start logs its own address, and the log of an earlier run is kept.
        let earlier = folder.path().join("weir.err");
        if earlier.exists() {
            fs::rename(&earlier, folder.path().join("weir.earlier.err"))?;
        }
        let mut process = Process::start("weir", command, folder)?;
        let mut url = None;
        process.wait_until("metrics page", LIMIT, || {
            url = fs::read_to_string(&earlier)
                .ok()
                .as_deref()
                .and_then(metrics_url);
            url.is_some()
        })?;
        Ok(Self {
            process,
            url: url.context("no metrics page")?,
        })
    }

    /// Where it listens, as `--address` takes it.
    pub(crate) fn address(&self) -> &str {
        let rest = self.url.trim_start_matches("http://");
        rest.trim_end_matches("/metrics")
    }

    /// What it answers to a request.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) fn get(&self, path: &str) -> Result<http::Response> {
        http::get(&format!("http://{}{path}", self.address()))
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What it has logged so far.
    ///
    /// # Errors
    /// The log cannot be read.
    pub(crate) fn log(&self) -> Result<String> {
        self.process.stderr()
    }

    /// Kills it as a crash would.
    ///
    /// # Errors
    /// It had ended before.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.process.kill()
    }

    /// The sum of the series of a metric that have all these labels; 0 where there are none.
    ///
    /// # Errors
    /// The page cannot be had.
    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        metric(&self.url, name, labels)
    }

    /// Waits until a metric has reached a value.
    ///
    /// # Errors
    /// It does not, or weir ends.
    pub(crate) fn await_metric(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        value: f64,
    ) -> Result<()> {
        let url = &self.url;
        let what = format!("{name} {labels:?} of {value}");
        self.process.wait_until(&what, LIMIT, || {
            metric(url, name, labels).is_ok_and(|found| found >= value)
        })
    }

    /// Waits until something is so.
    ///
    /// # Errors
    /// It does not come to that, or weir ends.
    pub(crate) fn await_condition(
        &mut self,
        what: &str,
        is_so: impl FnMut() -> bool,
    ) -> Result<()> {
        self.process.wait_until(what, LIMIT, is_so)
    }

    /// Does something again and again until a metric has reached a value.
    ///
    /// # Errors
    /// It does not, or weir ends.
    pub(crate) fn repeat_until(
        &mut self,
        name: &str,
        value: f64,
        mut action: impl FnMut(),
    ) -> Result<()> {
        let url = &self.url;
        self.process.wait_until(name, LIMIT, || {
            action();
            metric(url, name, &[]).is_ok_and(|found| found >= value)
        })
    }

    /// Waits for its own end, which must be that of a failure; gives its log.
    ///
    /// # Errors
    /// It ends well, or not at all.
    pub(crate) fn fail(mut self) -> Result<String> {
        let status = self.process.wait(LIMIT)?;
        ensure!(status.code() == Some(1), "weir: {status}");
        self.process.stderr()
    }

    /// Sends SIGTERM and waits for its end, which must be a good one.
    ///
    /// # Errors
    /// It fails.
    pub(crate) fn stop(self) -> Result<()> {
        self.stop_with(0)
    }

    /// Sends SIGTERM and waits for its end with this exit code.
    ///
    /// # Errors
    /// It ends in another way, or not at all.
    pub(crate) fn stop_with(mut self, code: i32) -> Result<()> {
        let status = self.process.stop(LIMIT)?;
        let is_so = status.code() == Some(code);
        ensure!(is_so, "weir: {status}\n{}", self.process.tail());
        Ok(())
    }

    /// Waits for its own end, which must be a good one.
    ///
    /// # Errors
    /// It fails.
    pub(crate) fn wait(mut self) -> Result<()> {
        let status = self.process.wait(LIMIT)?;
        ensure!(status.success(), "weir: {status}\n{}", self.process.tail());
        Ok(())
    }
}

fn metrics_url(log: &str) -> Option<String> {
    let (_, rest) = log.split_once("metrics at ")?;
    let (url, _) = rest.split_once('\n')?;
    Some(url.trim().to_owned())
}

fn metric(url: &str, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
    sum_of(&http::get(url)?.body, name, labels)
}

/// The sum of the series of a metric on one page that have all these labels; 0 where there are none.
///
/// # Errors
/// A value is no number.
pub(crate) fn sum_of(page: &str, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
    let mut sum = 0.0;
    for line in page.lines() {
        let Some((series, value)) = line.rsplit_once(' ') else {
            continue;
        };
        let (found, rest) = series.split_once('{').unwrap_or((series, ""));
        let has = |(label, value): &(&str, &str)| rest.contains(&format!("{label}=\"{value}\""));
        if found == name && labels.iter().all(has) {
            let value: f64 = value.parse().with_context(|| line.to_owned())?;
            sum += value;
        }
    }
    Ok(sum)
}

#[test]
fn the_series_of_a_metric_are_added_up() {
    let page = "# HELP a_total x\na_total{split=\"1\",x=\"y\"} 2\na_total{split=\"2\"} 3\na 7\n";
    assert_eq!(sum_of(page, "a_total", &[]).unwrap(), 5.0);
    assert_eq!(sum_of(page, "a_total", &[("split", "2")]).unwrap(), 3.0);
    assert_eq!(sum_of(page, "a", &[]).unwrap(), 7.0);
    assert_eq!(sum_of(page, "b", &[]).unwrap(), 0.0);
}
