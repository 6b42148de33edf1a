//! A real PostgreSQL.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tokio_postgres::NoTls;

use super::LIMIT;
use super::certificates::Certificates;
use super::files::{run, temporary_folder, temporary_folder_in, write};
use super::ports::on_free_ports;
use super::process::Process;

/// A running server that takes TLS as well, without tables. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Postgres {
    process: Process,
    port: u16,
    certificates: Certificates,
    _folder: TempDir,
}

impl Postgres {
    /// Starts it and waits until it answers. The user is `fleet`, with any password.
    ///
    /// # Errors
    /// There is no `postgres` in `$POSTGRES`, on the `PATH` or where Debian puts it, or it does not
    /// come up.
    pub(crate) fn start() -> Result<Self> {
        on_free_ports(|[port]| {
            let folder = reachable_folder()?;
            let certificates = Certificates::create(folder.path())?;
            give_away(folder.path())?;
            let data = folder.path().join("data");
            let mut command = unprivileged(&program("initdb")?, folder.path());
            command.args([
                "-A",
                "trust",
                "-U",
                "fleet",
                "-E",
                "UTF8",
                "--locale=C",
                "-N",
                "-D",
            ]);
            let output = run(command.arg(&data), LIMIT)?;
            ensure!(output.status.success(), "initdb: {}", output.stderr);
            let settings = format!(
                "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = ''\n\
                 fsync = off\nssl = on\nssl_cert_file = '{}'\nssl_key_file = '{}'\n",
                certificates.server.display(),
                certificates.server_key.display()
            );
            write(&data, "postgresql.auto.conf", &settings)?;
            let mut command = unprivileged(&program("postgres")?, folder.path());
            command.arg("-D").arg(&data);
            let process = Process::start("postgres", &command, &folder)?;
            let mut server = Self {
                process,
                port,
                certificates,
                _folder: folder,
            };
            let url = server.url();
            server
                .process
                .wait_until("answer", LIMIT, || execute(&url, "SELECT 1").is_ok())?;
            Ok(server)
        })
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        format!("postgres://fleet:secret@localhost:{}/postgres", self.port)
    }

    /// Who has signed its certificate.
    pub(crate) fn ca_file(&self) -> &Path {
        &self.certificates.ca
    }

    /// Executes statements.
    ///
    /// # Errors
    /// What the server says.
    pub(crate) fn execute(&self, statements: &str) -> Result<()> {
        execute(&self.url(), statements)
    }
}

fn execute(url: &str, statements: &str) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        let connection = tokio::spawn(connection);
        client.batch_execute(statements).await?;
        drop(client);
        connection.await??;
        Ok(())
    })
}

/// A program of PostgreSQL, which Debian does not put on the `PATH`.
fn program(name: &str) -> Result<PathBuf> {
    let mut folders: Vec<PathBuf> = Vec::new();
    if let Some(postgres) = std::env::var_os("POSTGRES") {
        folders.extend(Path::new(&postgres).parent().map(Path::to_owned));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    folders.extend(std::env::split_paths(&path));
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        folders.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    let mut programs = folders.iter().map(|folder| folder.join(name));
    programs
        .find(|program| program.is_file())
        .with_context(|| format!("there is no {name}: run scripts/setup.sh test"))
}

/// PostgreSQL refuses to run as root, so root runs it as nobody.
fn unprivileged(program: &Path, folder: &Path) -> Command {
    let mut command;
    if is_root() {
        command = Command::new("setpriv");
        command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"]);
        command.arg(program);
    } else {
        command = Command::new(program);
    }
    command.current_dir(folder);
    command
}

/// A folder below others that the user may enter whom PostgreSQL runs as. Those of `$TMPDIR` may be root's alone.
fn reachable_folder() -> Result<TempDir> {
    if is_root() {
        return temporary_folder_in(Path::new("/tmp"));
    }
    temporary_folder()
}

/// Gives a folder to the user that PostgreSQL runs as.
fn give_away(folder: &Path) -> Result<()> {
    if is_root() {
        let mut command = Command::new("chown");
        command.args(["-R", "nobody:nogroup"]).arg(folder);
        let output = run(&command, LIMIT)?;
        ensure!(output.status.success(), "chown: {}", output.stderr);
    }
    let mut command = Command::new("chmod");
    command.args(["-R", "go=,u+rwX"]).arg(folder);
    let output = run(&command, LIMIT)?;
    ensure!(output.status.success(), "chmod: {}", output.stderr);
    Ok(())
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}
