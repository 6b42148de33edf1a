//! A real Mosquitto, an MQTT broker.

use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use super::LIMIT;
use super::certificates::Certificates;
use super::files::{find_program, run, temporary_folder, write};
use super::ports::{accepts, on_free_ports};
use super::process::Process;

/// What it has saved, and where it is writing that.
const DATABASE: &str = "mosquitto.db";
const HALF_SAVED: &str = "mosquitto.db.new";

/// Its loop looks for unsaved changes ten times a second: as long as none came, clients have probably said all.
const SAVE_QUIET: Duration = Duration::from_millis(300);

/// Where marks go. Nobody subscribes to it.
const MARK_TOPIC: &str = "marks";

/// What differs from test to test.
#[derive(Debug, Clone, Default)]
pub(crate) struct MosquittoOptions {
    /// User and password; without them everybody may connect.
    pub(crate) credentials: Option<(String, String)>,
    /// TLS instead of plain TCP, with certificates made for it.
    pub(crate) tls: bool,
    /// Clients must show a certificate; asks for `tls`.
    pub(crate) client_certificates: bool,
    /// Save sessions and queued messages at every change, so that they outlive a
    /// [`Mosquitto::kill`]. Slow with many messages; a [`Mosquitto::stop`] saves them anyhow. Asks for
    /// neither `credentials` nor `tls`.
    pub(crate) save_every_change: bool,
    /// Save them every second or two, whatever has changed, for a [`Mosquitto::kill_at_once`].
    pub(crate) save_every_second: bool,
    /// It forgets all sessions when it ends.
    pub(crate) forgets: bool,
    /// How many messages it sends a client before the first is acknowledged; without limit where
    /// nothing is said.
    pub(crate) max_inflight: Option<u32>,
}

/// A running broker. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Mosquitto {
    process: Process,
    port: u16,
    certificates: Option<Certificates>,
    saves_every_change: bool,
    /// How many marks it was given.
    marks: u32,
    folder: TempDir,
}

impl Mosquitto {
    /// Starts an empty broker without limits on queues and waits until it accepts connections.
    ///
    /// # Errors
    /// There is no `mosquitto` on the `PATH` nor in `$MOSQUITTO`, or it does not come up.
    pub(crate) fn start() -> Result<Self> {
        Self::start_with(&MosquittoOptions::default())
    }

    /// As [`Self::start`], with options.
    ///
    /// # Errors
    /// As for [`Self::start`], or the password file or the certificates cannot be made.
    pub(crate) fn start_with(options: &MosquittoOptions) -> Result<Self> {
        on_free_ports(|[port]| {
            let folder = temporary_folder()?;
            let certificates = if options.tls {
                Some(Certificates::create(folder.path())?)
            } else {
                None
            };
            if let Some((user, password)) = &options.credentials {
                write_password_file(&folder, user, password)?;
            }
            let text = configuration(&folder, port, options, certificates.as_ref());
            write(folder.path(), "mosquitto.conf", &text)?;
            let process = launch(&folder, port)?;
            Ok(Self {
                process,
                port,
                certificates,
                saves_every_change: options.save_every_change,
                marks: 0,
                folder,
            })
        })
    }

    /// The port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Where it listens: `mqtt://127.0.0.1:port`, or `mqtts` with TLS.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.certificates.is_some() {
            "mqtts"
        } else {
            "mqtt"
        };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// The certificates, where it speaks TLS.
    pub(crate) fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_ref()
    }

    /// Gives its user another password, which counts after the next start.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn change_password(&self, user: &str, password: &str) -> Result<()> {
        write_password_file(&self.folder, user, password)
    }

    /// Kills it, as a crash would: what it has not saved is lost. Where it saves every change, all that it
    /// has acknowledged by now is saved before, because it acknowledges a moment earlier.
    ///
    /// # Errors
    /// It had ended before, or does not save.
    pub(crate) fn kill(&mut self) -> Result<()> {
        if self.saves_every_change {
            self.await_saved()?;
        }
        self.process.kill()
    }

    /// Kills it in the midst of its work, and says up to when it had saved what it had acknowledged: it
    /// acknowledges nothing while it saves, and the file's time is that of the end of it. What it
    /// acknowledged later is lost, unless it was handed over.
    ///
    /// # Errors
    /// It had ended before, or has never saved anything.
    pub(crate) fn kill_at_once(&mut self) -> Result<SystemTime> {
        self.process.kill()?;
        saved(&self.folder).context("mosquitto has never saved anything")
    }

    /// Waits until it has saved everything that it has by now.
    ///
    /// # Errors
    /// It ends, or saves nothing.
    pub(crate) fn await_save(&mut self) -> Result<()> {
        let (folder, now) = (&self.folder, SystemTime::now());
        self.process
            .wait_until("save", LIMIT, || saved(folder).is_some_and(|at| at > now))
    }

    /// Waits until it has written nothing for some turns of its loop: until then, something that has
    /// changed may be unsaved.
    fn await_saved(&mut self) -> Result<()> {
        let folder = &self.folder;
        // It writes all that it has into this one, which then takes the place of the other. Where the disk is
        // slow, that is no quiet.
        let half_saved = folder.path().join(HALF_SAVED);
        let (mut last, mut since) = (saved(folder), Instant::now());
        self.process.wait_until("quiet moment", LIMIT, || {
            let now = saved(folder);
            if now != last || half_saved.exists() {
                (last, since) = (now, Instant::now());
            }
            since.elapsed() >= SAVE_QUIET
        })?;
        // It may only have come to nothing meanwhile. Where a mark stands, so does all that came before it.
        self.marks += 1;
        let mark = format!("mark {} of {}", self.marks, self.port);
        retain(self.port, &mark)?;
        let file = folder.path().join(DATABASE);
        self.process.wait_until("save", LIMIT, || {
            let saved = std::fs::read(&file).unwrap_or_default();
            let mut places = saved.windows(mark.len());
            places.any(|place| place == mark.as_bytes())
        })
    }

    /// Stops it in good order: it saves sessions and messages.
    ///
    /// # Errors
    /// It had ended before, or does not end.
    pub(crate) fn stop(&mut self) -> Result<()> {
        self.process.stop(LIMIT).map(|_| ())
    }

    /// Starts it again after [`Self::kill`] or [`Self::stop`], with the same port and data.
    ///
    /// # Errors
    /// It does not come up.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.process = launch(&self.folder, self.port)?;
        Ok(())
    }
}

/// When it last ended a save.
fn saved(folder: &TempDir) -> Option<SystemTime> {
    let metadata = std::fs::metadata(folder.path().join(DATABASE)).ok()?;
    metadata.modified().ok()
}

fn launch(folder: &TempDir, port: u16) -> Result<Process> {
    let mut command = Command::new(find_program("mosquitto", "MOSQUITTO")?);
    command.arg("-c").arg(folder.path().join("mosquitto.conf"));
    let mut process = Process::start("mosquitto", &command, folder)?;
    process.wait_until("connection", LIMIT, || accepts(port))?;
    Ok(process)
}

/// Has a broker keep a message, and waits until it has acknowledged it.
fn retain(port: u16, message: &str) -> Result<()> {
    use rumqttc::{Client, Event, MqttOptions, Packet, QoS};

    let options = MqttOptions::new("marks", "127.0.0.1", port);
    let (client, mut connection) = Client::new(options, 1);
    client.publish(MARK_TOPIC, QoS::AtLeastOnce, true, message)?;
    loop {
        let Ok(event) = connection.recv_timeout(LIMIT) else {
            bail!("'{message}' is not acknowledged within {LIMIT:?}");
        };
        if matches!(event?, Event::Incoming(Packet::PubAck(_))) {
            return Ok(());
        }
    }
}

fn write_password_file(folder: &TempDir, user: &str, password: &str) -> Result<()> {
    let mut command = Command::new(find_program("mosquitto_passwd", "MOSQUITTO_PASSWD")?);
    command
        .args(["-b", "-c"])
        .arg(folder.path().join("passwords"))
        .args([user, password]);
    let output = run(&command, LIMIT)?;
    if !output.status.success() {
        bail!(
            "mosquitto_passwd ended ({}): {}{}",
            output.status,
            output.stdout,
            output.stderr
        );
    }
    Ok(())
}

fn configuration(
    folder: &TempDir,
    port: u16,
    options: &MosquittoOptions,
    certificates: Option<&Certificates>,
) -> String {
    let folder = folder.path().display();
    let mut lines = vec![
        format!("listener {port} 127.0.0.1"),
        "log_dest stderr".to_owned(),
        // Started by root it would otherwise change to a user that may not enter the folder.
        "user root".to_owned(),
        "set_tcp_nodelay true".to_owned(),
        // 0 is no limit. By default it drops what a client leaves waiting beyond 1000 messages.
        "max_queued_messages 0".to_owned(),
        format!(
            "max_inflight_messages {}",
            options.max_inflight.unwrap_or_default()
        ),
        format!("persistence {}", !options.forgets),
        format!("persistence_location {folder}/"),
        format!("allow_anonymous {}", options.credentials.is_none()),
    ];
    if options.credentials.is_some() {
        lines.push(format!("password_file {folder}/passwords"));
    }
    if options.save_every_change {
        lines.push("autosave_on_changes true".to_owned());
    }
    if options.save_every_change || options.save_every_second {
        lines.push("autosave_interval 1".to_owned());
    }
    if let Some(certificates) = certificates {
        lines.push(format!("cafile {}", certificates.ca.display()));
        lines.push(format!("certfile {}", certificates.server.display()));
        lines.push(format!("keyfile {}", certificates.server_key.display()));
        lines.push(format!(
            "require_certificate {}",
            options.client_certificates
        ));
    }
    lines.join("\n") + "\n"
}
