//! What state is called in a store.
//!
//! ```text
//! PIPELINE/checkpoint/00000000000000000042.manifest
//! PIPELINE/data/00000000000000000042-EPOCH-0000.blob
//! PIPELINE/unconfirmed
//! PIPELINE/savepoint/NAME/savepoint.manifest
//! PIPELINE/savepoint/NAME/00000000000000000042-EPOCH-0000.blob
//! ```

const MANIFEST: &str = ".manifest";

/// The folder of checkpoints' manifests.
pub(super) fn checkpoints(pipeline: &str) -> String {
    format!("{pipeline}/checkpoint/")
}

/// The manifest of a checkpoint.
pub(super) fn checkpoint(pipeline: &str, number: u64) -> String {
    format!("{}{number:020}{MANIFEST}", checkpoints(pipeline))
}

/// The number of the checkpoint of a manifest.
pub(super) fn checkpoint_number(pipeline: &str, name: &str) -> Option<u64> {
    let file = name.strip_prefix(&checkpoints(pipeline))?;
    number(file.strip_suffix(MANIFEST)?)
}

/// The note of the checkpoints that are not confirmed.
pub(super) fn unconfirmed(pipeline: &str) -> String {
    format!("{pipeline}/unconfirmed")
}

/// The folder of checkpoints' blobs.
pub(super) fn data(pipeline: &str) -> String {
    format!("{pipeline}/data/")
}

/// A blob, without its folder. No two processes, and no two checkpoints, have one of the same name.
pub(super) fn blob(number: u64, epoch: u64, index: usize) -> String {
    format!("{number:020}-{epoch:016x}-{index:04}.blob")
}

/// The number of the checkpoint for which a file was written, without its folder: a blob, or what a
/// writer has not finished.
pub(super) fn file_number(file: &str) -> Option<u64> {
    number(file.get(..20)?)
}

/// The folder of all savepoints.
pub(super) fn savepoints(pipeline: &str) -> String {
    format!("{pipeline}/savepoint/")
}

/// The folder of a savepoint.
pub(super) fn savepoint(pipeline: &str, name: &str) -> String {
    format!("{}{name}/", savepoints(pipeline))
}

/// The manifest of a savepoint.
pub(super) fn savepoint_manifest(pipeline: &str, name: &str) -> String {
    format!("{}savepoint{MANIFEST}", savepoint(pipeline, name))
}

/// The savepoint of a manifest.
pub(super) fn savepoint_name<'a>(pipeline: &str, name: &'a str) -> Option<&'a str> {
    let rest = name.strip_prefix(&savepoints(pipeline))?;
    let savepoint = rest.strip_suffix(MANIFEST)?.strip_suffix("/savepoint")?;
    (!savepoint.contains('/')).then_some(savepoint)
}

fn number(digits: &str) -> Option<u64> {
    let all = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    all.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        let name = checkpoint("cars", 42);
        assert_eq!(name, "cars/checkpoint/00000000000000000042.manifest");
        assert_eq!(checkpoint_number("cars", &name), Some(42));
        assert_eq!(checkpoint_number("car", &name), None);
        assert_eq!(
            checkpoint_number("cars", "cars/checkpoint/42.manifest"),
            None
        );
        assert_eq!(
            checkpoint_number("cars", &format!("{name}.1.unfinished")),
            None
        );
        let last = checkpoint("cars", u64::MAX);
        assert_eq!(checkpoint_number("cars", &last), Some(u64::MAX));
        assert_eq!(
            blob(42, 255, 7),
            "00000000000000000042-00000000000000ff-0007.blob"
        );
        assert_eq!(file_number(&blob(42, 255, 7)), Some(42));
        assert_eq!(file_number("notes.txt"), None);
        let name = savepoint_manifest("cars", "before-1.2");
        assert_eq!(savepoint_name("cars", &name), Some("before-1.2"));
        assert_eq!(
            savepoint_name("cars", "cars/savepoint/a/b/savepoint.manifest"),
            None
        );
    }
}
