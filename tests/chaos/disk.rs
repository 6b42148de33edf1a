//! A small disk that can be filled.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::support::files::temporary_folder;
use crate::support::process::Process;

/// Its size: RocksDB alone sets some tens of MB aside.
const SIZE: &str = "256m";

/// The longest wait for the mount.
const LIMIT: Duration = Duration::from_secs(10);

/// A piece of what fills it, bytes.
const PIECE: usize = 1 << 20;

/// A file system in memory. It is mounted for a process that does nothing else, in a mount namespace
/// of its own: with the process it is gone, however the tests end.
#[derive(Debug)]
pub(crate) struct Disk {
    keeper: Process,
    folder: TempDir,
}

impl Disk {
    /// Mounts it.
    ///
    /// # Errors
    /// That is not allowed here: it takes root.
    pub(crate) fn mount() -> Result<Self> {
        let folder = temporary_folder()?;
        let target = folder.path().join("disk");
        fs::create_dir(&target)?;
        let script = format!(
            "mount -t tmpfs -o size={SIZE} tmpfs \"$1\" && : > \"$1/mounted\" && exec sleep infinity"
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script, "disk"]);
        command.arg(&target);
        let mut keeper = Process::start("disk", &command, &folder)?;
        let seen = inside(keeper.pid(), &target);
        keeper.wait_until("mount", LIMIT, || seen.join("mounted").exists())?;
        Ok(Self { keeper, folder })
    }

    /// Where weir finds it.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    /// Where this process sees it.
    pub(crate) fn seen(&self) -> PathBuf {
        inside(self.keeper.pid(), &self.path())
    }

    /// What stands in front of a command so that it runs where the disk is.
    pub(crate) fn prefix(&self) -> Vec<String> {
        let namespace = format!("--mount=/proc/{}/ns/mnt", self.keeper.pid());
        ["nsenter".to_owned(), namespace].into()
    }

    /// Fills it to the last byte.
    ///
    /// # Errors
    /// It cannot be written at all.
    pub(crate) fn fill(&self) -> Result<()> {
        let mut file = File::create(self.filler()).context("cannot fill the disk")?;
        let piece = vec![0; PIECE];
        loop {
            match file.write(&piece) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error).context("cannot fill the disk"),
            }
        }
    }

    /// Makes room again.
    ///
    /// # Errors
    /// It was not full.
    pub(crate) fn free(&self) -> Result<()> {
        fs::remove_file(self.filler()).context("cannot free the disk")
    }

    fn filler(&self) -> PathBuf {
        self.seen().join("filler")
    }
}

/// A path as the process with this id sees it.
fn inside(pid: u32, path: &Path) -> PathBuf {
    let mut text = format!("/proc/{pid}/root").into_bytes();
    text.extend_from_slice(path.as_os_str().as_encoded_bytes());
    PathBuf::from(String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn a_full_disk_takes_nothing_until_it_is_freed() {
    let disk = match Disk::mount() {
        Ok(disk) => disk,
        Err(error) => return println!("skipped: {error:#}"),
    };
    let path = disk.seen().join("state");
    fs::write(&path, b"before").unwrap();
    disk.fill().unwrap();
    let full = fs::write(disk.seen().join("more"), vec![1; 100_000]).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::StorageFull);
    disk.free().unwrap();
    fs::write(&path, b"after").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"after");
}
