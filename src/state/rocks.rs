//! State in RocksDB, in a folder of this machine.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};

use rocksdb::{
    DB, DBCompressionType, Direction, ErrorKind, IteratorMode, LogLevel, Options, WriteOptions,
};

use super::store::{Store, StoreError, StoreErrorKind, check_name};

/// Values of this size and more lie in files of their own, which compactions do not copy.
const APART_BYTES: u64 = 16 << 10;

/// Keeps bytes in RocksDB. One process at a time can write it.
#[derive(Debug)]
pub struct RocksStore {
    folder: PathBuf,
    access: Access,
    /// Nothing after a write has failed: RocksDB then refuses all others until it is opened again.
    database: RwLock<Option<DB>>,
    /// Held from the look whether a name exists until it is written.
    creating: Mutex<()>,
}

/// What a database is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    ReadOnly,
    Durable,
    /// Nothing of it outlives this process.
    Scratch,
}

impl RocksStore {
    /// Opens the database in a folder, and makes it where there is none.
    ///
    /// # Errors
    /// Another process has it open ([`StoreErrorKind::Locked`]), it is damaged, or the folder cannot
    /// be written.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        Self::open_as(folder, Access::Durable)
    }

    /// Makes an empty database in a folder, whatever was there before, for what is of no use to any
    /// other process: it writes no log of its changes.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn open_scratch(folder: &Path) -> Result<Self, StoreError> {
        // Refuses where somebody holds it, before any of its files is gone.
        let held = DB::destroy(&options(), folder);
        held.map_err(|error| Self::new(folder, Access::Scratch).failure("", &error))?;
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let location = format!("rocksdb {}", folder.display());
                let kind = match error.kind() {
                    io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                        StoreErrorKind::Denied
                    }
                    _ => StoreErrorKind::Unavailable,
                };
                let words = format!("cannot empty the folder: {error}");
                Err(StoreError::new(kind, location, words))
            }
            _ => Self::open_as(folder, Access::Scratch),
        }
    }

    /// Opens the database for reading only, as it is now, which works while another process has it
    /// open.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn open_read_only(folder: &Path) -> Result<Self, StoreError> {
        Self::open_as(folder, Access::ReadOnly)
    }

    fn new(folder: &Path, access: Access) -> Self {
        Self {
            folder: folder.to_owned(),
            access,
            database: RwLock::new(None),
            creating: Mutex::new(()),
        }
    }

    fn open_as(folder: &Path, access: Access) -> Result<Self, StoreError> {
        let store = Self::new(folder, access);
        store.with("", |_| Ok(()))?;
        Ok(store)
    }

    /// Does something with the database, and opens it before where that is necessary.
    fn with<T>(
        &self,
        name: &str,
        action: impl FnOnce(&DB) -> Result<T, rocksdb::Error>,
    ) -> Result<T, StoreError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = &*database {
            return action(open).map_err(|error| self.failure(name, &error));
        }
        drop(database);
        let mut database = self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let open = match database.take() {
            Some(open) => open,
            None => self.reopen().map_err(|error| self.failure("", &error))?,
        };
        let done = action(database.insert(open));
        done.map_err(|error| self.failure(name, &error))
    }

    fn reopen(&self) -> Result<DB, rocksdb::Error> {
        if self.access == Access::ReadOnly {
            return DB::open_for_read_only(&options(), &self.folder, false);
        }
        DB::open(&options(), &self.folder)
    }

    /// The same for a write, after whose failure the database is opened anew.
    fn write(
        &self,
        name: &str,
        action: impl FnOnce(&DB) -> Result<(), rocksdb::Error>,
    ) -> Result<(), StoreError> {
        check_name(self, name)?;
        let written = self.with(name, action);
        if written.is_err() {
            *self
                .database
                .write()
                .unwrap_or_else(PoisonError::into_inner) = None;
        }
        written
    }

    /// How something is written that nobody waits for.
    fn unsynced(&self) -> WriteOptions {
        let mut options = WriteOptions::new();
        options.disable_wal(self.access == Access::Scratch);
        options
    }

    fn failure(&self, name: &str, error: &rocksdb::Error) -> StoreError {
        let words = error.to_string();
        let location = if name.is_empty() {
            self.location()
        } else {
            format!("{}/{name}", self.location())
        };
        StoreError::new(kind(error.kind(), &words), location, words)
    }
}

impl Store for RocksStore {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        // Not synced: the log is written in order, and `create` syncs all of it.
        let options = self.unsynced();
        self.write(name, |database| database.put_opt(name, bytes, &options))
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let _creating = self.creating.lock().unwrap_or_else(PoisonError::into_inner);
        if self.get(name)?.is_some() {
            let location = format!("{}/{name}", self.location());
            let words = "it was to be created";
            return Err(StoreError::new(
                StoreErrorKind::AlreadyExists,
                location,
                words,
            ));
        }
        let mut synced = WriteOptions::new();
        match self.access {
            // There is no log that could be synced.
            Access::Scratch => synced.disable_wal(true),
            _ => synced.set_sync(true),
        }
        self.write(name, |database| database.put_opt(name, bytes, &synced))
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        check_name(self, name)?;
        self.with(name, |database| database.get(name))
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.with(prefix, |database| {
            let mut names = Vec::new();
            let from = IteratorMode::From(prefix.as_bytes(), Direction::Forward);
            for item in database.iterator(from) {
                let (name, _) = item?;
                if !name.starts_with(prefix.as_bytes()) {
                    break;
                }
                names.push(String::from_utf8_lossy(&name).into_owned());
            }
            Ok(names)
        })
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        let options = self.unsynced();
        self.write(name, |database| database.delete_opt(name, &options))
    }

    fn sync(&self) -> Result<(), StoreError> {
        match self.access {
            Access::Durable => self.with("", |database| database.flush_wal(true)),
            // Nothing is written, or there is no log of it.
            Access::ReadOnly | Access::Scratch => Ok(()),
        }
    }

    fn location(&self) -> String {
        format!("rocksdb {}", self.folder.display())
    }
}

fn options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    // What comes is compressed already.
    options.set_compression_type(DBCompressionType::None);
    options.set_write_buffer_size(32 << 20);
    options.set_enable_blob_files(true);
    options.set_min_blob_size(APART_BYTES);
    options.set_enable_blob_gc(true);
    options.set_blob_gc_age_cutoff(1.0);
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(2);
    options.set_stats_dump_period_sec(0);
    options
}

fn kind(kind: ErrorKind, words: &str) -> StoreErrorKind {
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| words.contains(phrase));
    if says(&[
        "No space left",
        "Disk quota exceeded",
        "Space limit reached",
    ]) {
        StoreErrorKind::Full
    } else if says(&["While lock file", "lock hold by current process", "/LOCK:"]) {
        if says(&["Permission denied", "Read-only file system"]) {
            return StoreErrorKind::Denied;
        }
        StoreErrorKind::Locked
    } else if says(&["Permission denied", "Read-only file system"]) {
        StoreErrorKind::Denied
    } else if says(&["No such file or directory", "does not exist"]) {
        StoreErrorKind::Missing
    } else {
        match kind {
            ErrorKind::Corruption => StoreErrorKind::Corrupt,
            ErrorKind::NotSupported | ErrorKind::InvalidArgument => StoreErrorKind::Unsupported,
            _ => StoreErrorKind::Unavailable,
        }
    }
}
