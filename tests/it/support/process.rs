//! A child process that never outlives the tests.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

/// How much of a process's output goes into an error, lines.
const TAIL_LINES: usize = 40;

/// How often a condition is looked at while we wait for it.
const POLL: Duration = Duration::from_millis(20);

/// The shell becomes the program (`exec`), so that the child's pid is the program's own. Before
/// that it leaves a watchdog behind, which reads our end of a pipe: a line says that the program
/// has ended and been waited for; the end of the pipe without a line says that the tests are gone,
/// however they went, and then the watchdog kills the program and removes its folder.
///
/// The loop waits for the program's end, because a dying one may still write; it is bounded
/// because where nobody reaps orphans the dead program stays visible for ever.
const WATCHDOG: &str = r#"
folder=$1
shift
exec 3<&0
(
    read -r _ && exit
    kill -s KILL $$
    for _ in 1 2 3 4 5 6 7 8 9 10; do kill -s 0 $$ || break; sleep 0.1; done
    rm -rf -- "$folder"
) <&3 3<&- >/dev/null 2>&1 &
exec "$@" </dev/null 3<&-
"#;

/// A running program with its output in files. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    /// Our end of the watchdog's pipe. Not left in `child`, whose `wait` would close it too early.
    pipe: Option<ChildStdin>,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    /// Starts a program: `command`'s program, arguments, environment and working folder count, its
    /// standard streams do not. What it prints goes to `<name>.out` and `<name>.err` in `folder`,
    /// after what an earlier run has left there.
    ///
    /// # Errors
    /// The files cannot be written or there is no shell. That the program itself does not exist
    /// shows as its early end.
    pub(crate) fn start(name: &str, command: &Command, folder: &TempDir) -> Result<Self> {
        let stdout = folder.path().join(format!("{name}.out"));
        let stderr = folder.path().join(format!("{name}.err"));
        let mut shell = Command::new("sh");
        shell
            .arg("-c")
            .arg(WATCHDOG)
            .arg("watchdog")
            .arg(folder.path());
        shell.arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(key, value),
                None => shell.env_remove(key),
            };
        }
        if let Some(working_folder) = command.get_current_dir() {
            shell.current_dir(working_folder);
        }
        let mut child = shell
            .stdin(Stdio::piped())
            .stdout(append_to(&stdout)?)
            .stderr(append_to(&stderr)?)
            .spawn()
            .with_context(|| format!("cannot start sh for {name}"))?;
        let pipe = child.stdin.take();
        Ok(Self {
            name: name.to_owned(),
            child,
            pipe,
            stdout,
            stderr,
        })
    }

    /// The program's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to its standard output so far.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn stdout(&self) -> Result<String> {
        read(&self.stdout)
    }

    /// What it has written to its standard error so far.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn stderr(&self) -> Result<String> {
        read(&self.stderr)
    }

    /// Waits until `ready` says yes.
    ///
    /// # Errors
    /// The program ends first, or `limit` passes; with the last lines that the program printed.
    pub(crate) fn wait_until(
        &mut self,
        what: &str,
        limit: Duration,
        mut ready: impl FnMut() -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !ready() {
            if let Some(status) = self.poll()? {
                bail!(
                    "{} ended ({status}) before {what}\n{}",
                    self.name,
                    self.tail()
                );
            }
            if Instant::now() >= deadline {
                bail!("{}: no {what} within {limit:?}\n{}", self.name, self.tail());
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Waits for the program's own end.
    ///
    /// # Errors
    /// It still runs after `limit`; it is then killed.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.poll()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                let tail = self.tail();
                self.kill()?;
                bail!(
                    "{} still ran after {limit:?} and was killed\n{tail}",
                    self.name
                );
            }
            thread::sleep(POLL);
        }
    }

    /// Kills it (SIGKILL), as a crash would, and waits for its end.
    ///
    /// # Errors
    /// It had ended before.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.expect_running()?;
        self.child
            .kill()
            .with_context(|| format!("cannot kill {}", self.name))?;
        let status = self.child.wait()?;
        self.release_watchdog();
        if status.signal() != Some(9) {
            bail!(
                "{} ended ({status}) before it was killed\n{}",
                self.name,
                self.tail()
            );
        }
        Ok(())
    }

    /// Asks it to end (SIGTERM) and waits for that.
    ///
    /// # Errors
    /// It had ended before, or still runs after `limit`.
    pub(crate) fn stop(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.expect_running()?;
        let pid = self.pid().to_string();
        let sent = Command::new("sh")
            .args(["-c", r#"kill -s TERM "$1""#, "kill", &pid])
            .status()?;
        if !sent.success() {
            bail!("cannot send SIGTERM to {} (pid {pid}): {sent}", self.name);
        }
        self.wait(limit)
    }

    /// The last lines of its output, for an error message.
    pub(crate) fn tail(&self) -> String {
        let mut text = String::new();
        for path in [&self.stdout, &self.stderr] {
            let printed = read(path).unwrap_or_else(|error| format!("{error:#}"));
            let lines: Vec<&str> = printed.lines().collect();
            for line in lines.iter().skip(lines.len().saturating_sub(TAIL_LINES)) {
                text.push_str(&format!("  {}: {line}\n", self.name));
            }
        }
        text
    }

    fn expect_running(&mut self) -> Result<()> {
        match self.poll()? {
            None => Ok(()),
            Some(status) => bail!("{} has ended ({status})\n{}", self.name, self.tail()),
        }
    }

    fn poll(&mut self) -> Result<Option<ExitStatus>> {
        let status = self
            .child
            .try_wait()
            .with_context(|| format!("{} is lost", self.name))?;
        if status.is_some() {
            self.release_watchdog();
        }
        Ok(status)
    }

    /// Only after the program's end was waited for: from then on its pid may be another's.
    fn release_watchdog(&mut self) {
        let Some(mut pipe) = self.pipe.take() else {
            return;
        };
        // A watchdog that is gone needs no release.
        pipe.write_all(b"ended\n").ok();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.poll(), Ok(Some(_))) {
            return;
        }
        // Where this fails, the pipe closes without a word and the watchdog does it.
        if self.child.kill().is_ok() && self.child.wait().is_ok() {
            self.release_watchdog();
        }
    }
}

fn append_to(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))
}

fn read(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::super::files::temporary_folder;
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn when_the_tests_are_gone_the_program_is_killed_and_its_folder_removed() {
        let folder = temporary_folder().unwrap();
        let mut process = Process::start("sleep", &shell("exec sleep 600"), &folder).unwrap();
        // What the system does to our end of the pipe when the tests are killed.
        drop(process.pipe.take());
        assert_eq!(process.wait(LIMIT).unwrap().signal(), Some(9));

        let mut other = Process::start(
            "wait",
            &shell("exec sleep 600"),
            &temporary_folder().unwrap(),
        )
        .unwrap();
        other
            .wait_until("removal", LIMIT, || !folder.path().exists())
            .unwrap();
    }

    #[test]
    fn a_program_that_ends_early_is_reported_with_what_it_printed() {
        let folder = temporary_folder().unwrap();
        let script = "echo starting; echo no such option >&2; exit 3";
        let mut process = Process::start("server", &shell(script), &folder).unwrap();
        let error = process
            .wait_until("readiness", LIMIT, || false)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "server ended (exit status: 3) before readiness\n  \
             server: starting\n  server: no such option\n"
        );
    }

    #[test]
    fn a_stopped_program_can_end_in_its_own_way() {
        let folder = temporary_folder().unwrap();
        let script = "trap 'echo stopped; exit 5' TERM; echo ready; while :; do sleep 0.01; done";
        let mut process = Process::start("server", &shell(script), &folder).unwrap();
        let stdout = process.stdout.clone();
        process
            .wait_until("ready", LIMIT, || {
                read(&stdout).is_ok_and(|text| text == "ready\n")
            })
            .unwrap();
        assert_eq!(process.stop(LIMIT).unwrap().code(), Some(5));
        assert_eq!(process.stdout().unwrap(), "ready\nstopped\n");
        let error = process.kill().unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("server has ended (exit status: 5)"),
            "{error}"
        );
    }
}
