//! A disk that is soon full, for weir's state.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

/// Mounts 4 MiB at `state`, half of which something else takes, and becomes weir.
const MOUNT: &str = "mkdir -p state && mount -t tmpfs -o size=4m tmpfs state \
     && head -c 2097152 /dev/zero > state/filler && exec \"$@\"";

/// Whether disks can be mounted here, which takes root.
pub(crate) fn can_mount() -> bool {
    let mut command = Command::new("unshare");
    command.args(["--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]);
    command.status().is_ok_and(|status| status.success())
}

/// The same command with a small disk as the folder `state`, which nobody else sees.
///
/// # Errors
/// It has no folder.
pub(crate) fn on_small_disk(weir: &Command) -> Result<Command> {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", MOUNT, "sh"]);
    command.arg(weir.get_program()).args(weir.get_args());
    command.current_dir(weir.get_current_dir().context("no folder")?);
    Ok(command)
}

/// Makes room on the small disk of a process; `state` is its folder's path.
///
/// # Errors
/// There is none.
pub(crate) fn make_room(process: u32, state: &Path) -> Result<()> {
    let inside = PathBuf::from(format!("/proc/{process}/root"));
    let filler = state.join("filler");
    Ok(fs::remove_file(inside.join(filler.strip_prefix("/")?))?)
}
