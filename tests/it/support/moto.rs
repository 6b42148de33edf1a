//! moto, a server that speaks for AWS.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use super::LIMIT;
use super::files::{cached_python, temporary_folder};
use super::ports::on_free_ports;
use super::process::Process;

/// The version that `scripts/setup.sh` installs.
pub(crate) const VERSION: &str = "5.2.5";

/// A running server without anything in it. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Moto {
    port: u16,
    _process: Process,
    _folder: TempDir,
}

impl Moto {
    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// It is not in the cache, or does not come up.
    pub(crate) fn start() -> Result<Self> {
        on_free_ports(|[port]| {
            let folder = temporary_folder()?;
            let mut command = Command::new(cached_python("moto", VERSION)?);
            command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p"]);
            command.arg(port.to_string());
            let mut process = Process::start("moto", &command, &folder)?;
            process.wait_until("connection", LIMIT, || {
                TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
            })?;
            Ok(Self {
                port,
                _process: process,
                _folder: folder,
            })
        })
    }

    /// Where it listens.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Makes a bucket, or puts an object into one (`bucket/key`).
    ///
    /// # Errors
    /// It answers with anything but 200.
    pub(crate) fn put(&self, path: &str, content: &str) -> Result<()> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        write!(
            stream,
            "PUT /{path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=test/20241103/us-east-1/s3/aws4_request\r\n\
             Content-Length: {}\r\n\r\n{content}",
            self.port,
            content.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1).context("no answer")?;
        ensure!(status == "200", "PUT /{path}: {answer}");
        Ok(())
    }
}
