//! A real VictoriaMetrics, a single node.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use super::LIMIT;
use super::files::{find_program, run, temporary_folder};
use super::http;
use super::ports::on_free_ports;
use super::process::Process;
use super::prometheus::{flatten, series_samples};
use super::samples::Sample;

/// What differs from test to test. Nothing given is the server's own default, but for the retention,
/// which is longer than any test's samples are old.
#[derive(Debug, Clone, Default)]
pub(crate) struct VictoriaMetricsOptions {
    /// How old samples may be, such as `1d`.
    pub(crate) retention: Option<String>,
    /// How many labels a series may have, its name included.
    pub(crate) max_labels: Option<usize>,
    /// How long a label's value may be, bytes.
    pub(crate) max_label_value_bytes: Option<usize>,
    /// Whether a sample that comes twice is there once.
    pub(crate) deduplicate: bool,
}

/// A running VictoriaMetrics. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct VictoriaMetrics {
    process: Process,
    options: VictoriaMetricsOptions,
    port: u16,
    folder: TempDir,
}

impl VictoriaMetrics {
    /// Starts an empty server and waits until it is ready.
    ///
    /// # Errors
    /// There is no `victoria-metrics` on the `PATH` nor in `$VICTORIA_METRICS`, or it does not become
    /// ready.
    pub(crate) fn start_with(options: &VictoriaMetricsOptions) -> Result<Self> {
        on_free_ports(|[port]| {
            let folder = temporary_folder()?;
            Ok(Self {
                process: launch(&folder, port, options)?,
                options: options.clone(),
                port,
                folder,
            })
        })
    }

    /// Where it listens: `http://127.0.0.1:port`.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Where it takes remote-write requests.
    pub(crate) fn remote_write_url(&self) -> String {
        format!("{}/api/v1/write", self.url())
    }

    /// Its version, such as `1.79.5`; what a distribution adds to it is left out.
    ///
    /// # Errors
    /// It cannot be asked.
    pub(crate) fn version(&self) -> Result<String> {
        let page = http::get(&format!("{}/metrics", self.url()))?.body;
        let after = page.split_once("short_version=\"").map(|(_, after)| after);
        let text = after.and_then(|after| after.split_once('"'));
        let (version, _) = text.context("no short_version among its metrics")?;
        if !version.is_empty() {
            return Ok(version.trim_start_matches('v').to_owned());
        }
        // Debian's does not know its own.
        let mut command = Command::new("dpkg-query");
        command.args(["-W", "-f", "${source:Upstream-Version}", "victoria-metrics"]);
        let output = run(&command, LIMIT)?.stdout;
        Ok(output.split('+').next().unwrap_or(&output).to_owned())
    }

    /// The samples as they are stored, with their own timestamps, from `start_ms` to `end_ms`,
    /// both included.
    ///
    /// # Errors
    /// It cannot be reached, or it refuses the selector.
    pub(crate) fn samples(
        &self,
        selector: &str,
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<Sample>> {
        // What has come in lately is not seen by queries yet.
        let flushed = http::get(&format!("{}/internal/force_flush", self.url()))?;
        ensure!(flushed.status == 200, "no flush: {flushed:?}");
        let all = series_samples(&self.url(), selector, start_ms, end_ms);
        Ok(flatten(all.with_context(|| self.process.tail())?))
    }

    /// Stops it in good order.
    ///
    /// # Errors
    /// It had ended before, or does not end.
    pub(crate) fn stop(&mut self) -> Result<()> {
        self.process.stop(LIMIT).map(|_| ())
    }

    /// Starts it again after [`Self::stop`], with the same port and data.
    ///
    /// # Errors
    /// It does not become ready.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.process = launch(&self.folder, self.port, &self.options)?;
        Ok(())
    }
}

fn launch(folder: &TempDir, port: u16, options: &VictoriaMetricsOptions) -> Result<Process> {
    let mut command = Command::new(find_program("victoria-metrics", "VICTORIA_METRICS")?);
    let retention = options.retention.as_deref().unwrap_or("100y");
    command
        .current_dir(folder.path())
        .arg("-storageDataPath=data")
        .arg(format!("-retentionPeriod={retention}"))
        .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
        // It would reserve most of the machine for itself.
        .arg("-memory.allowedBytes=256MB")
        .arg("-search.latencyOffset=0s");
    if let Some(limit) = options.max_labels {
        command.arg(format!("-maxLabelsPerTimeseries={limit}"));
    }
    if let Some(limit) = options.max_label_value_bytes {
        command.arg(format!("-maxLabelValueLen={limit}"));
    }
    if options.deduplicate {
        // Of each millisecond one sample, which is as fine as samples are.
        command.arg("-dedup.minScrapeInterval=1ms");
    }
    let mut process = Process::start("victoria-metrics", &command, folder)?;
    let ready = format!("http://127.0.0.1:{port}/health");
    process.wait_until("readiness", LIMIT, || {
        http::get(&ready).is_ok_and(|response| response.status == 200)
    })?;
    Ok(process)
}
