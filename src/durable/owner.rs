//! Whose records a log has: the file `OWNER` beside its segments, which has a name and a line end.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::error::LogError;
use super::files::write_atomically;

const NAME: &str = "OWNER";

/// Gives a log to who has this name. One without a name is given to whoever comes: earlier versions wrote
/// none. So is one without records.
pub(super) fn claim(folder: &Path, owner: &str, has_records: bool) -> Result<(), LogError> {
    let path = folder.join(NAME);
    let found = match fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).trim_end().to_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(LogError::io(&path, "read")(error)),
    };
    if found == owner {
        return Ok(());
    }
    if has_records && !found.is_empty() {
        return Err(LogError::OfAnother {
            folder: folder.to_owned(),
            found,
            owner: owner.to_owned(),
        });
    }
    let line = format!("{owner}\n");
    write_atomically(&path, line.as_bytes()).map_err(LogError::io(&path, "write"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_has_written_is_not_given_to_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        // Without a name there is nobody to take it from.
        claim(folder.path(), "log/mqtt", true).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "log/mqtt\n");
        claim(folder.path(), "log/mqtt", true).unwrap();
        let error = claim(folder.path(), "log/http", true).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "{} has the records of log/mqtt, and would be read as log/http: let the source that has \
                 written them come to their end and delete the folder, or use another one",
                folder.path().display()
            )
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "log/mqtt\n");
        // Without records there is nothing that could be read wrongly.
        claim(folder.path(), "log/http", false).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "log/http\n");
    }
}
