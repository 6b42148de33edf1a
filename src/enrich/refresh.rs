//! Tables are loaded, and loaded again while events flow.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::config::LookupConfig;
use super::error::LoadError;
use super::fetch::{ContentHash, Fetched, Fetcher, Stamp, StopWaiting, Waiter};
use super::format;
use super::metrics::LookupMetrics;
use super::shared::SharedTable;
use super::table::Table;

/// How long to wait before the first load is repeated; twice as long each time.
const FIRST_BACKOFF: Duration = Duration::from_millis(200);
const LAST_BACKOFF: Duration = Duration::from_secs(5);

/// What is known of the table in use.
#[derive(Debug)]
struct Known {
    stamp: Option<Stamp>,
    content: ContentHash,
}

/// A lookup's table, which is loaded and looked at again from time to time.
#[derive(Debug)]
pub struct Refresher {
    config: LookupConfig,
    fetcher: Fetcher,
    waiter: Waiter,
    shared: Arc<SharedTable>,
    known: Known,
    /// When the table was last found to be up to date.
    fresh: Arc<Mutex<Instant>>,
    metrics: LookupMetrics,
}

/// A running refresher; it ends when this is dropped.
#[derive(Debug)]
pub struct RefresherThread {
    stop: StopWaiting,
    thread: Option<JoinHandle<()>>,
}

impl Refresher {
    /// Loads the table for the first time. A file is looked for in the working folder first, then
    /// in `folder`, that of the pipeline file. A server that is away is waited for, up to
    /// `start_timeout`.
    ///
    /// # Errors
    /// The table cannot be read, or is none with the columns that the lookup needs.
    pub fn load(
        config: LookupConfig,
        folder: &Path,
        metrics: LookupMetrics,
    ) -> Result<Self, LoadError> {
        let fetcher = Fetcher::build(&config, folder)?;
        let waiter = Waiter::new().map_err(|error| LoadError::read(fetcher.name(), &error))?;
        let began = Instant::now();
        let (table, known) = first_load(&config, &fetcher, &waiter)?;
        metrics.begin(&config.lookup);
        let seconds = began.elapsed().as_secs_f64();
        let shared = SharedTable::new(table);
        metrics.loaded(&config.lookup, &shared.table(), shared.version(), seconds);
        let fresh = Arc::new(Mutex::new(Instant::now()));
        let since = fresh.clone();
        metrics.age.set(&config.lookup, move || {
            let fresh = *since.lock().unwrap_or_else(PoisonError::into_inner);
            fresh.elapsed().as_secs_f64()
        });
        Ok(Self {
            config,
            fetcher,
            waiter,
            shared,
            known,
            fresh,
            metrics,
        })
    }

    /// The table, for lookups.
    pub fn shared(&self) -> Arc<SharedTable> {
        self.shared.clone()
    }

    /// Looks at the table's place once: a changed table is put in use, a broken one is not.
    ///
    /// # Errors
    /// The table is broken or away; the old one stays in use.
    pub fn refresh(&mut self) -> Result<bool, LoadError> {
        let result = self.reload();
        let name = match result {
            Ok(true) => "changed",
            Ok(false) => "unchanged",
            Err(_) => "failed",
        };
        self.metrics
            .refreshes
            .with_label_values(&[self.config.lookup.as_str(), name])
            .inc();
        if result.is_ok() {
            *self.fresh.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
        result
    }

    fn reload(&mut self) -> Result<bool, LoadError> {
        let began = Instant::now();
        let fetched = self
            .fetcher
            .fetch(self.known.stamp.as_ref(), &self.waiter)?;
        let Some((table, known)) = read(&self.config, &self.fetcher, fetched)? else {
            return Ok(false);
        };
        // Places without stamps are read every time, and a file may only have been touched.
        let is_same = known.content == self.known.content;
        self.known = known;
        if is_same {
            return Ok(false);
        }
        let rows_before = self.shared.table().rows();
        let (rows, seconds) = (table.rows(), began.elapsed().as_secs_f64());
        let version = self.shared.replace(table);
        let lookup = &self.config.lookup;
        self.metrics
            .loaded(lookup, &self.shared.table(), version, seconds);
        tracing::info!(
            lookup,
            version,
            rows_before,
            rows,
            seconds,
            "the reference table has changed"
        );
        Ok(true)
    }

    /// Refreshes on a thread of its own.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(mut self) -> std::io::Result<RefresherThread> {
        let stop = self.waiter.stopper();
        let thread = thread::Builder::new()
            .name(format!("lookup-{}", self.config.lookup))
            .spawn(move || self.run())?;
        Ok(RefresherThread {
            stop,
            thread: Some(thread),
        })
    }

    fn run(&mut self) {
        let every = self.config.from.refresh().to_std();
        while self.waiter.sleep(every).is_ok() {
            match self.refresh() {
                Ok(_) => {}
                Err(LoadError::Stopped { .. }) => return,
                Err(error) => {
                    let lookup = &self.config.lookup;
                    tracing::error!(lookup, %error, "the reference table cannot be read; the old one stays in use");
                }
            }
        }
    }
}

impl Drop for RefresherThread {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a lookup's thread has panicked");
        }
    }
}

/// Reads what was fetched; nothing where it has not changed.
fn read(
    config: &LookupConfig,
    fetcher: &Fetcher,
    fetched: Fetched<'_>,
) -> Result<Option<(Table, Known)>, LoadError> {
    let Fetched::Changed(mut body, stamp) = fetched else {
        return Ok(None);
    };
    match format::read(config, fetcher.name(), &mut body) {
        Ok(table) => {
            let content = body.content();
            Ok(Some((table, Known { stamp, content })))
        }
        Err(error) => Err(body.failure().unwrap_or(error)),
    }
}

/// Repeats the first load for as long as the place may only be away for a moment.
fn first_load(
    config: &LookupConfig,
    fetcher: &Fetcher,
    waiter: &Waiter,
) -> Result<(Table, Known), LoadError> {
    let began = Instant::now();
    let mut backoff = FIRST_BACKOFF;
    loop {
        let fetched = fetcher.fetch(None, waiter);
        let error = match fetched.and_then(|fetched| read(config, fetcher, fetched)) {
            Ok(Some(loaded)) => return Ok(loaded),
            Ok(None) => LoadError::Read {
                path: fetcher.name().to_owned(),
                reason: "the server says that nothing has changed, and was not asked".to_owned(),
            },
            Err(error) => error,
        };
        let may_pass = matches!(error, LoadError::Unavailable { .. });
        if !may_pass || began.elapsed() + backoff > config.from.start_timeout().to_std() {
            return Err(error);
        }
        let lookup = &config.lookup;
        tracing::warn!(lookup, %error, "the reference table cannot be read yet; trying again");
        if waiter.sleep(backoff).is_err() {
            return Err(error);
        }
        backoff = (backoff * 2).min(LAST_BACKOFF);
    }
}
