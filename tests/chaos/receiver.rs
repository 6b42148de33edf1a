//! The Prometheus that must get every sample once, with everything that it has ever answered.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::proxy::{Finder, Listener, Proxy};
use crate::support::http;
use crate::support::prometheus::Prometheus;
use crate::support::samples::Sample;
use crate::weir::sum_of;

/// Samples that it has refused, by its own metrics.
const REFUSED: [&str; 3] = [
    "prometheus_tsdb_out_of_order_samples_total",
    "prometheus_tsdb_out_of_bound_samples_total",
    "prometheus_tsdb_too_old_samples_total",
];

/// The longest wait for another sample.
const LIMIT: Duration = Duration::from_secs(30);

/// How often the samples are counted meanwhile.
const LOOK: Duration = Duration::from_millis(100);

/// Answers by their status.
type Answers = Arc<Mutex<BTreeMap<String, u64>>>;

/// A Prometheus behind a proxy that notes the status of each answer: what it counts itself is gone
/// with a kill.
#[derive(Debug)]
pub(crate) struct Receiver {
    prometheus: Prometheus,
    proxy: Proxy,
    answers: Answers,
    /// What its metrics have said of refused samples in the runs before this one.
    refused: f64,
}

impl Receiver {
    /// Starts an empty one.
    ///
    /// # Errors
    /// It does not become ready.
    pub(crate) fn start() -> Result<Self> {
        let prometheus = Prometheus::start()?;
        let url = prometheus.url();
        let (_, port) = url.rsplit_once(':').context("no port")?;
        let answers = Answers::default();
        let noted = Arc::clone(&answers);
        let proxy = Proxy::start(port.parse()?, move || note(Arc::clone(&noted)))?;
        Ok(Self {
            prometheus,
            proxy,
            answers,
            refused: 0.0,
        })
    }

    /// Where weir is to send samples.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/api/v1/write", self.proxy.address())
    }

    /// Stops it: in good order, or as a crash would.
    ///
    /// # Errors
    /// It has ended before.
    pub(crate) fn go_away(&mut self, crash: bool) -> Result<()> {
        self.refused += self.refused_by_metrics()?;
        if crash {
            self.prometheus.kill()
        } else {
            self.prometheus.stop()
        }
    }

    /// Starts it again with its data.
    ///
    /// # Errors
    /// It does not become ready.
    pub(crate) fn come_back(&mut self) -> Result<()> {
        self.prometheus.restart()
    }

    /// Waits until it has so many samples of these metrics, or until no more come: then a comparison
    /// tells what is missing.
    ///
    /// # Errors
    /// It cannot be asked.
    pub(crate) fn await_samples(
        &self,
        metrics: &[&str],
        (start_ms, end_ms): (i64, i64),
        count: usize,
    ) -> Result<()> {
        let (mut last, mut since) = (0.0, Instant::now());
        while last < count as f64 && since.elapsed() < LIMIT {
            thread::sleep(LOOK);
            let found = self.count(metrics, (start_ms, end_ms))?;
            if found > last {
                (last, since) = (found, Instant::now());
            }
        }
        Ok(())
    }

    fn count(&self, metrics: &[&str], (start_ms, end_ms): (i64, i64)) -> Result<f64> {
        let mut count = 0.0;
        for name in metrics {
            let query = format!("sum(count_over_time({name}[{}ms]))", end_ms - start_ms);
            for (_, points) in self.prometheus.query_at(&query, end_ms)? {
                count += points.first().map_or(0.0, |(_, count)| *count);
            }
        }
        Ok(count)
    }

    /// All samples of these metrics, sorted.
    ///
    /// # Errors
    /// It cannot be asked.
    pub(crate) fn samples(
        &self,
        metrics: &[&str],
        (start_ms, end_ms): (i64, i64),
    ) -> Result<Vec<Sample>> {
        let mut all = Vec::new();
        for name in metrics {
            all.extend(self.prometheus.samples(name, start_ms, end_ms)?);
        }
        all.sort();
        Ok(all)
    }

    /// That it has taken everything that it was sent, over all of its runs. How many requests it has
    /// answered, by status.
    ///
    /// # Errors
    /// It has refused something, or cannot be asked.
    pub(crate) fn expect_nothing_refused(&self) -> Result<String> {
        let refused = self.refused + self.refused_by_metrics()?;
        let answers = lock(&self.answers).clone();
        let text = format!("{answers:?}");
        ensure!(refused == 0.0, "{refused} samples refused; answers {text}");
        // A server that is about to stop may say 503; that is asking for another attempt.
        let final_words = answers.keys().find(|status| status.starts_with('4'));
        ensure!(final_words.is_none(), "requests refused: {text}");
        ensure!(
            answers.keys().any(|status| status.starts_with('2')),
            "no request was taken: {text}"
        );
        Ok(text)
    }

    fn refused_by_metrics(&self) -> Result<f64> {
        let page = http::get(&format!("{}/metrics", self.prometheus.url()))?.body;
        // Each is there once a first sample has come.
        Ok(REFUSED.iter().map(|name| sum_of(&page, name, "")).sum())
    }
}

fn note(answers: Answers) -> Listener {
    let mut finder = Finder::new(b"HTTP/1.1 ", 3);
    Box::new(move |bytes| {
        for status in finder.find(bytes) {
            *lock(&answers).entry(status).or_default() += 1;
        }
    })
}

fn lock(answers: &Answers) -> std::sync::MutexGuard<'_, BTreeMap<String, u64>> {
    answers.lock().unwrap_or_else(PoisonError::into_inner)
}
