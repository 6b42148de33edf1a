//! Files beside a pipeline file that say what its records consist of.

use std::path::{Path, PathBuf};

/// The greatest file that is read, bytes.
const MAX_BYTES: u64 = 16 << 20;

/// Where a file or folder is: in the working folder, or else in `folder`, that of the pipeline file.
pub(super) fn find(path: &str, folder: &Path) -> PathBuf {
    let near = PathBuf::from(path);
    match near.exists() {
        true => near,
        false => folder.join(path),
    }
}

/// That there is a file.
///
/// # Errors
/// There is none.
pub(super) fn check(path: &Path) -> Result<(), String> {
    match path.is_file() {
        true => Ok(()),
        false => Err(format!("there is no file '{}'", path.display())),
    }
}

/// The content of a file.
///
/// # Errors
/// There is none, or it cannot be read, or is longer than any schema.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    check(path)?;
    let shown = path.display();
    let unread = |error: std::io::Error| format!("{shown}: {error}");
    if path.metadata().map_err(unread)?.len() > MAX_BYTES {
        return Err(format!("{shown}: longer than {MAX_BYTES} bytes"));
    }
    std::fs::read(path).map_err(unread)
}
