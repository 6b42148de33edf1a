//! Folders, and the project's own programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use super::process::Process;

/// What a program that has ended left behind.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// What it wrote to its standard output.
    pub(crate) stdout: String,
    /// What it wrote to its standard error.
    pub(crate) stderr: String,
}

/// The repository's folder.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A new folder that is removed when it is dropped.
///
/// # Errors
/// It cannot be made.
pub(crate) fn temporary_folder() -> Result<TempDir> {
    temporary_folder_in(&std::env::temp_dir())
}

/// The same in a folder that is there.
///
/// # Errors
/// It cannot be made.
pub(crate) fn temporary_folder_in(parent: &Path) -> Result<TempDir> {
    tempfile::Builder::new()
        .prefix("weir-test-")
        .tempdir_in(parent)
        .with_context(|| format!("cannot make a folder in {}", parent.display()))
}

/// Writes a file and gives its path.
///
/// # Errors
/// It cannot be written.
pub(crate) fn write(folder: &Path, name: &str, content: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// A command for `weir`, run in the repository's folder.
pub(crate) fn weir<const N: usize>(arguments: [&str; N]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(arguments).current_dir(repository());
    command
}

/// A command for `weirgen`, run in the repository's folder.
///
/// # Errors
/// It was not built: it belongs to another package, so Cargo builds it only for the workspace.
pub(crate) fn weirgen<const N: usize>(arguments: [&str; N]) -> Result<Command> {
    let program = Path::new(env!("CARGO_BIN_EXE_weir")).with_file_name("weirgen");
    if !program.is_file() {
        bail!(
            "there is no {}: build it in the same profile with `cargo build --workspace`",
            program.display()
        );
    }
    let mut command = Command::new(program);
    command.args(arguments).current_dir(repository());
    Ok(command)
}

/// Runs a command to its end.
///
/// # Errors
/// It cannot be started, or it still runs after `limit` and is killed.
pub(crate) fn run(command: &Command, limit: Duration) -> Result<Output> {
    let folder = temporary_folder()?;
    let program = PathBuf::from(command.get_program());
    let name = program
        .file_name()
        .unwrap_or(command.get_program())
        .to_string_lossy();
    let mut process = Process::start(&name, command, &folder)?;
    let status = process.wait(limit)?;
    Ok(Output {
        status,
        stdout: process.stdout()?,
        stderr: process.stderr()?,
    })
}

/// Where `scripts/setup.sh` puts what no package manager installs.
///
/// # Errors
/// The environment names no folder for that.
pub(crate) fn cache() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("WEIR_CACHE") {
        return Ok(PathBuf::from(folder));
    }
    if let Some(folder) = std::env::var_os("XDG_CACHE_HOME") {
        return Ok(PathBuf::from(folder).join("weir"));
    }
    let home = std::env::var_os("HOME").context("neither WEIR_CACHE nor HOME is set")?;
    Ok(PathBuf::from(home).join(".cache/weir"))
}

/// Where a program is: `$variable` if that is set, else the first of that name on the `PATH` and in
/// the folders for servers, which are not on every user's `PATH`.
///
/// # Errors
/// It is nowhere.
pub(crate) fn find_program(name: &str, variable: &str) -> Result<PathBuf> {
    if let Some(program) = std::env::var_os(variable) {
        return Ok(PathBuf::from(program));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    for folder in folders {
        let program = folder.join(name);
        if program.is_file() {
            return Ok(program);
        }
    }
    bail!("there is no {name} on the PATH: run scripts/setup.sh test, or set {variable}")
}

/// The Python that has a package, as `scripts/setup.sh` lays it out.
///
/// # Errors
/// It is not there.
pub(crate) fn cached_python(package: &str, version: &str) -> Result<PathBuf> {
    let cache = match std::env::var_os("WEIR_CACHE") {
        Some(folder) => PathBuf::from(folder),
        None => match std::env::var_os("XDG_CACHE_HOME") {
            Some(folder) => PathBuf::from(folder).join("weir"),
            None => {
                let home =
                    std::env::var_os("HOME").context("neither WEIR_CACHE nor HOME is set")?;
                PathBuf::from(home).join(".cache/weir")
            }
        },
    };
    let python = cache.join(format!("{package}-{version}/bin/python"));
    if !python.is_file() {
        bail!(
            "there is no {package} {version} in {}: run scripts/setup.sh test",
            cache.display()
        );
    }
    Ok(python)
}
