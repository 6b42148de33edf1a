//! Tables that are shared by all workers and replaced while they run.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Instant, SystemTime};

use super::config::LookupConfig;
use super::csv_table;
use super::metrics::LookupMetrics;
use super::table::{LoadError, Table};

/// A table and its version, which grows with every change.
#[derive(Debug)]
pub struct SharedTable {
    table: Mutex<Arc<Table>>,
    version: AtomicU64,
}

impl SharedTable {
    /// A first table.
    pub fn new(table: Table) -> Arc<Self> {
        Arc::new(Self {
            table: Mutex::new(Arc::new(table)),
            version: AtomicU64::new(1),
        })
    }

    /// The version in use.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The table in use.
    pub fn table(&self) -> Arc<Table> {
        self.table
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Puts another table in use.
    pub fn replace(&self, table: Table) {
        *self.table.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
        self.version.fetch_add(1, Ordering::Release);
    }
}

/// What tells whether a file has changed.
type Fingerprint = (Option<SystemTime>, u64);

/// A lookup's table, read from its file and looked at again from time to time.
#[derive(Debug)]
pub struct Refresher {
    config: LookupConfig,
    path: PathBuf,
    shared: Arc<SharedTable>,
    loaded: Fingerprint,
    fresh: Instant,
    metrics: LookupMetrics,
}

/// A running refresher; it ends when this is dropped.
#[derive(Debug)]
pub struct RefresherThread {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Refresher {
    /// Reads the table for the first time. The file is looked for in the working folder first, then
    /// in `folder`, that of the pipeline file.
    ///
    /// # Errors
    /// The file cannot be read or is no table with the columns that the lookup needs.
    pub fn load(
        config: LookupConfig,
        folder: &Path,
        metrics: LookupMetrics,
    ) -> Result<Self, LoadError> {
        let near = PathBuf::from(&config.from.csv);
        let path = if near.exists() {
            near
        } else {
            folder.join(&config.from.csv)
        };
        let (table, loaded) = read(&config, &path)?;
        metrics
            .rows
            .with_label_values(&[&config.lookup])
            .set(signed(table.rows()));
        metrics.misses.with_label_values(&[&config.lookup]);
        metrics.dropped.with_label_values(&[&config.lookup]);
        metrics.age.with_label_values(&[&config.lookup]).set(0.0);
        for result in ["changed", "unchanged", "failed"] {
            metrics
                .refreshes
                .with_label_values(&[config.lookup.as_str(), result]);
        }
        let shared = SharedTable::new(table);
        Ok(Self {
            config,
            path,
            shared,
            loaded,
            fresh: Instant::now(),
            metrics,
        })
    }

    /// The table, for lookups.
    pub fn shared(&self) -> Arc<SharedTable> {
        self.shared.clone()
    }

    /// Looks at the file once: a changed one is put in use, a broken one is not.
    ///
    /// # Errors
    /// The file is broken or gone; the old table stays in use.
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
            self.fresh = Instant::now();
        }
        let age = self.fresh.elapsed().as_secs_f64();
        self.metrics
            .age
            .with_label_values(&[&self.config.lookup])
            .set(age);
        result
    }

    fn reload(&mut self) -> Result<bool, LoadError> {
        if fingerprint(&self.path)? == self.loaded {
            return Ok(false);
        }
        let (table, loaded) = read(&self.config, &self.path)?;
        self.metrics
            .rows
            .with_label_values(&[&self.config.lookup])
            .set(signed(table.rows()));
        self.shared.replace(table);
        self.loaded = loaded;
        Ok(true)
    }

    /// Refreshes on a thread of its own.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(mut self) -> std::io::Result<RefresherThread> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let name = format!("lookup-{}", self.config.lookup);
        let thread = thread::Builder::new().name(name).spawn(move || {
            let every = self.config.from.refresh.to_std();
            let mut next = Instant::now() + every;
            while !stopped.load(Ordering::Acquire) {
                let now = Instant::now();
                if now < next {
                    thread::park_timeout(next - now);
                    continue;
                }
                next = now + every;
                let lookup = &self.config.lookup.clone();
                match self.refresh() {
                    Ok(false) => {}
                    Ok(true) => {
                        let rows = self.shared.table().rows();
                        tracing::info!(lookup, rows, "the reference table has changed");
                    }
                    Err(error) => {
                        tracing::error!(lookup, %error, "the reference table cannot be read; the old one stays in use");
                    }
                }
            }
        })?;
        Ok(RefresherThread {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for RefresherThread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("a lookup's thread has panicked");
            }
        }
    }
}

fn read(config: &LookupConfig, path: &Path) -> Result<(Table, Fingerprint), LoadError> {
    // The fingerprint is taken first: a change while reading is found at the next look.
    let loaded = fingerprint(path)?;
    let file = File::open(path).map_err(|error| read_error(path, &error))?;
    let table = csv_table::read(config, &path.display().to_string(), file)?;
    Ok((table, loaded))
}

fn fingerprint(path: &Path) -> Result<Fingerprint, LoadError> {
    let metadata = path.metadata().map_err(|error| read_error(path, &error))?;
    Ok((metadata.modified().ok(), metadata.len()))
}

fn read_error(path: &Path, error: &std::io::Error) -> LoadError {
    LoadError::Read {
        path: path.display().to_string(),
        reason: error.to_string(),
    }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Registry;

    #[test]
    fn takes_a_changed_file_and_keeps_the_old_table_where_it_is_broken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v.csv");
        std::fs::write(&path, "id,model\nV1,A\n").unwrap();
        let config = serde_json::from_str(
            r#"{"lookup": "v", "key": "vehicle", "from": {"csv": "v.csv", "key": "id"},
                "add": ["model"]}"#,
        )
        .unwrap();
        let registry = Registry::new("test");
        let metrics = LookupMetrics::new(&registry);
        let mut refresher = Refresher::load(config, folder.path(), metrics).unwrap();
        let shared = refresher.shared();
        assert_eq!(refresher.refresh(), Ok(false));
        assert_eq!(shared.version(), 1);

        std::fs::write(&path, "id,model\nV1,A\nV2,B\n").unwrap();
        assert_eq!(refresher.refresh(), Ok(true));
        assert_eq!((shared.version(), shared.table().rows()), (2, 2));

        std::fs::write(&path, "id,model\nV1,A\nV2\n").unwrap();
        let error = refresher.refresh().unwrap_err().to_string();
        assert!(
            error.ends_with("v.csv:3: expected 2 columns, found 1"),
            "{error}"
        );
        assert_eq!((shared.version(), shared.table().rows()), (2, 2));

        std::fs::remove_file(&path).unwrap();
        assert!(matches!(refresher.refresh(), Err(LoadError::Read { .. })));
        let text = Registry::text([&registry]);
        let failed = r#"weir_lookup_refreshes_total{lookup="v",result="failed",pipeline="test"} 2"#;
        assert!(text.contains(failed), "{text}");
    }
}
