//! Which files a journal has: `shard-N/CHECKPOINT.journal` for the first part of what shard N has sent
//! since a checkpoint began, `shard-N/CHECKPOINT-PART.journal` for those behind it, and `marks`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::write::WriteError;

/// A file of a shard's journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::write::remote_write) struct Found {
    pub(in crate::write::remote_write) checkpoint: u64,
    pub(in crate::write::remote_write) part: u64,
    pub(in crate::write::remote_write) path: PathBuf,
    pub(in crate::write::remote_write) bytes: u64,
}

/// The files of all shards, also of those that there are no more, by shard, checkpoint and part.
///
/// # Errors
/// The folder is there and cannot be read.
pub(in crate::write::remote_write) fn find(folder: &Path) -> Result<Vec<Vec<Found>>, WriteError> {
    let mut shards = Vec::new();
    for (name, path) in entries(folder)? {
        let number = name.strip_prefix("shard-");
        let Some(number) = number.and_then(|number| number.parse::<u64>().ok()) else {
            continue;
        };
        let mut files = Vec::new();
        for (name, path) in entries(&path)? {
            let Some((checkpoint, part)) = place_of(&name) else {
                continue;
            };
            // One that is folded meanwhile has no length any more, and is not there.
            if let Some(bytes) = length_of(&path)? {
                files.push(Found {
                    checkpoint,
                    part,
                    path,
                    bytes,
                });
            }
        }
        files.sort_by_key(|found| (found.checkpoint, found.part));
        shards.push((number, files));
    }
    shards.sort_by_key(|(number, _)| *number);
    Ok(shards.into_iter().map(|(_, files)| files).collect())
}

/// Removes all files.
///
/// # Errors
/// A file cannot be removed.
pub(in crate::write::remote_write) fn clear(folder: &Path) -> Result<(), WriteError> {
    for found in find(folder)?.into_iter().flatten() {
        fs::remove_file(&found.path).map_err(failed(&found.path))?;
    }
    let marks = marks_path(folder);
    match fs::remove_file(&marks) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&marks)(error)),
        _ => Ok(()),
    }
}

/// The path of a part of what a shard has sent since a checkpoint began, with leading zeros, so that a
/// listing is in order.
pub(in crate::write::remote_write) fn part_path(
    folder: &Path,
    checkpoint: u64,
    part: u64,
) -> PathBuf {
    folder.join(match part {
        0 => format!("{checkpoint:020}.journal"),
        part => format!("{checkpoint:020}-{part:06}.journal"),
    })
}

/// The path of the file that older files are folded into.
pub(in crate::write::remote_write) fn marks_path(folder: &Path) -> PathBuf {
    folder.join("marks")
}

/// The length of a file in bytes; nothing where there is none.
///
/// # Errors
/// The file cannot be looked at.
pub(in crate::write::remote_write) fn length_of(path: &Path) -> Result<Option<u64>, WriteError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path)(error)),
    }
}

/// Names the place of an error.
pub(in crate::write::remote_write) fn failed(
    path: &Path,
) -> impl Fn(io::Error) -> WriteError + use<> {
    let path = path.to_owned();
    move |error| WriteError::Journal {
        path: path.clone(),
        error,
    }
}

/// The checkpoint and the part in the name of a file.
fn place_of(name: &str) -> Option<(u64, u64)> {
    let name = name.strip_suffix(".journal")?;
    let (checkpoint, part) = match name.split_once('-') {
        None => (name, 0),
        Some((checkpoint, part)) => (checkpoint, part.parse().ok()?),
    };
    Some((checkpoint.parse().ok()?, part))
}

/// What is in a folder, by name; nothing where there is no folder.
fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>, WriteError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(folder)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed(folder))?;
        if let Some(name) = entry.file_name().to_str() {
            found.push((name.to_owned(), entry.path()));
        }
    }
    Ok(found)
}
