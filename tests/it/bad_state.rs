//! State that cannot be used: each time a clear error, and the state as it was.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::reference::fleet::{LIMIT, expect_same};
use crate::reference::stateful::{CARS, Stateful, events};
use crate::support::files::{self, temporary_folder};
use crate::support::moto::Moto;
use crate::support::samples::Sample;

/// All files below a folder with their bytes.
fn footprint(folder: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(footprint(&path)?);
        } else {
            found.insert(path.clone(), fs::read(&path)?);
        }
    }
    Ok(found)
}

/// A pipeline whose checkpoints lie in a directory, as files; it was killed.
struct InDirectory {
    stateful: Stateful,
    store: TempDir,
    setting: String,
    expected: Vec<Sample>,
}

impl InDirectory {
    /// With so many checkpoints, each with another 400 events.
    fn new(checkpoints: u64) -> Result<Self> {
        let events = events(2_000);
        let (stateful, store) = (Stateful::new(CARS)?, temporary_folder()?);
        let setting = format!("state.checkpoints=file://{}", store.path().display());
        let expected = stateful.uninterrupted(&events)?;
        let mut feed = stateful.feed()?;
        let mut service = stateful.start(&["--set", &setting])?;
        let mut count = 0.0;
        for (number, lines) in (1..=checkpoints).zip(events.chunks(400)) {
            feed.write(lines)?;
            count += 400.0;
            service.await_metric("weir_events_total", &[], count)?;
            // A savepoint brings a checkpoint with it, and is of no use here.
            let name = format!("s{number}");
            stateful.savepoint(&service, &name)?;
            let address = service.address();
            stateful.prints(&[
                "savepoint",
                "delete",
                "cars.yaml",
                &name,
                "--address",
                address,
                "--set",
                &setting,
            ])?;
        }
        service.kill()?;
        stateful.replace(&events)?;
        Ok(Self {
            stateful,
            store,
            setting,
            expected,
        })
    }

    fn setting(&self) -> [&str; 2] {
        ["--set", &self.setting]
    }

    fn manifest(&self, number: u64) -> PathBuf {
        let name = format!("cars/checkpoint/{number:020}.manifest");
        self.store.path().join(name)
    }

    /// What weir says that refuses to start, after which the store is as it was.
    fn refusal(&self) -> Result<String> {
        let before = footprint(self.store.path())?;
        let refusal = self.stateful.refusal(&self.setting())?;
        ensure!(
            footprint(self.store.path())? == before,
            "the store was changed"
        );
        let store = format!("file://{}", self.store.path().display());
        Ok(refusal
            .replace(&store, "STORE")
            .replace(&*self.store.path().to_string_lossy(), "STORE"))
    }

    /// Runs to the end; all samples must be there once. Gives the log.
    fn finish(&self) -> Result<String> {
        let log = self.stateful.finish(&self.setting())?;
        expect_same(&self.stateful.samples("samples.ndjson")?, &self.expected)?;
        Ok(log)
    }
}

#[test]
fn a_damaged_checkpoint_gives_way_to_the_one_before() -> Result<()> {
    type Damage = fn(&mut Vec<u8>);
    let damages: [(Damage, &str); 3] = [
        (|bytes| bytes.truncate(bytes.len() / 2), "cut"),
        (|bytes| bytes.clear(), "empty"),
        (
            |bytes| {
                let middle = bytes.len() / 2;
                if let Some(byte) = bytes.get_mut(middle) {
                    *byte ^= 1;
                }
            },
            "flipped",
        ),
    ];
    for (damage, what) in damages {
        let state = InDirectory::new(2)?;
        let path = state.manifest(2);
        let mut bytes = fs::read(&path)?;
        damage(&mut bytes);
        fs::write(&path, bytes)?;
        let log = state.finish()?;
        let warning = "cannot use a checkpoint, trying the one before pipeline=\"cars\" checkpoint=2 \
                       error=checkpoint 2 of pipeline cars in ";
        assert_eq!(log.matches(warning).count(), 1, "{what}: {log}");
        let from = "goes on from a checkpoint pipeline=\"cars\" checkpoint=1 ";
        assert_eq!(log.matches(from).count(), 1, "{what}: {log}");
    }
    Ok(())
}

#[test]
fn a_checkpoint_whose_bytes_are_damaged_gives_way_to_the_one_before() -> Result<()> {
    let state = InDirectory::new(2)?;
    let data = footprint(&state.store.path().join("cars/data"))?;
    // Names begin with the number of the checkpoint for which a blob was written.
    let (newest, mut bytes) = data.into_iter().next_back().context("no blobs")?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&newest, bytes)?;
    let log = state.finish()?;
    assert!(
        log.contains("cannot use a checkpoint, trying the one before"),
        "{log}"
    );
    assert!(log.contains(" checkpoint=1 "), "{log}");
    Ok(())
}

#[test]
fn checkpoints_of_which_none_can_be_used_are_left_alone() -> Result<()> {
    let state = InDirectory::new(2)?;
    for number in [1, 2] {
        fs::write(state.manifest(number), "")?;
    }
    assert_eq!(
        state.refusal()?,
        "pipeline cars: none of the 2 checkpoints of pipeline cars can be used; the newest: checkpoint 2 \
         of pipeline cars in STORE: the manifest does not begin as one\n"
    );
    Ok(())
}

#[test]
fn state_of_a_newer_weir_is_refused() -> Result<()> {
    let state = InDirectory::new(1)?;
    let path = state.manifest(1);
    let text = fs::read_to_string(&path)?;
    fs::write(
        &path,
        text.replacen("weir checkpoint 1 ", "weir checkpoint 9 ", 1),
    )?;
    assert_eq!(
        state.refusal()?,
        "pipeline cars: checkpoint 1 of pipeline cars in STORE has format 9, written by weir 0.1.0, and \
         this weir reads formats up to 1: use the newer weir, or start without it\n"
    );
    fs::write(&path, text)?;
    state.finish().map(drop)
}

#[test]
fn state_of_another_pipeline_is_refused() -> Result<()> {
    let events = events(2_000);
    let stateful = Stateful::killed_after(900, &events)?;
    let expected = stateful.uninterrupted(&events)?;
    let before = footprint(&stateful.path("state"))?;
    assert_eq!(
        stateful.refusal(&["--set", "pipeline=trucks"])?,
        "pipeline trucks: the folder state holds the state of pipeline cars, not of trucks; set another \
         state.dir\n"
    );
    let mut after = footprint(&stateful.path("state"))?;
    // The lock names the process that has held it last.
    let lock = stateful.path("state/LOCK");
    after.insert(lock.clone(), before.get(&lock).context("no lock")?.clone());
    assert!(after == before);

    // In an object store they lie beside each other; but no checkpoint goes for another's.
    let state = InDirectory::new(1)?;
    fs::rename(
        state.store.path().join("cars"),
        state.store.path().join("trucks"),
    )?;
    let arguments = ["--set", "pipeline=trucks", "--set", "state.dir=other"];
    let refusal = state
        .stateful
        .refusal(&[&arguments[..], &state.setting()].concat())?;
    let end = " is of pipeline cars, not of trucks\n";
    assert!(refusal.ends_with(end), "{refusal}");
    stateful.finish(&[])?;
    expect_same(&stateful.samples("samples.ndjson")?, &expected)
}

#[test]
fn two_processes_do_not_share_a_folder() -> Result<()> {
    let stateful = Stateful::new(CARS)?;
    let _feed = stateful.feed()?;
    let service = stateful.start(&[])?;
    let before = footprint(&stateful.path("state"))?;
    assert_eq!(
        stateful.refusal(&[])?,
        format!(
            "pipeline cars: the folder state is in use by process {}; stop it first, or use another \
             folder\n",
            service.pid()
        )
    );
    ensure!(
        footprint(&stateful.path("state"))? == before,
        "the state was changed"
    );
    assert_eq!(service.get("/-/ready")?.status, 200);
    service.kill()
}

#[test]
fn a_savepoint_that_is_not_there_is_named() -> Result<()> {
    let events = events(2_000);
    let stateful = Stateful::killed_after(900, &events)?;
    let inventory = stateful.inventory()?;
    assert_eq!(
        stateful.refusal(&["--restore", "before-upgrade"])?,
        "pipeline cars: pipeline cars has no savepoint 'before-upgrade'; there are half\n"
    );
    assert_eq!(stateful.inventory()?, inventory);
    stateful.prints(&["savepoint", "delete", "cars.yaml", "half"])?;
    assert_eq!(
        stateful.refusal(&["--restore", "half"])?,
        "pipeline cars: pipeline cars has no savepoint 'half'\n"
    );
    // The checkpoint does not need it.
    let log = stateful.finish(&[])?;
    assert!(
        log.contains("goes on from a checkpoint pipeline=\"cars\" checkpoint=1 "),
        "{log}"
    );
    Ok(())
}

/// A command as a user to whom permissions apply: root may do everything, so root becomes nobody.
fn as_a_user(command: &Command) -> Result<Command> {
    let is_root = files::run(Command::new("id").arg("-u"), LIMIT)?
        .stdout
        .trim()
        == "0";
    let mut other = Command::new(if is_root {
        "setpriv".into()
    } else {
        command.get_program().to_owned()
    });
    if is_root {
        other.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"]);
        other.arg(command.get_program());
    }
    other.args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        other.current_dir(folder);
    }
    Ok(other)
}

#[test]
fn a_folder_without_permission_is_named() -> Result<()> {
    let stateful = Stateful::killed_after(900, &events(1_000))?;
    let allow =
        |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    allow(stateful.at(), 0o777)?;
    let state = stateful.path("state");
    // The owner of a file may write to it in a folder that may not be written to.
    fs::remove_file(state.join("LOCK"))?;
    let before = footprint(&state)?;
    let run = stateful.command(&["run", "cars.yaml", "--listen", "none"]);
    let weir = as_a_user(&run)?;
    let readable = files::run(
        &as_a_user(Command::new("test").arg("-x").arg(run.get_program()))?,
        LIMIT,
    )?;
    if !readable.status.success() {
        eprintln!("skipped: nobody may not run {:?}", run.get_program());
        return Ok(());
    }
    let expected =
        "weir: pipeline cars: cannot lock the folder state: Permission denied (os error 13)\n";
    for mode in [0o000, 0o555] {
        allow(&state, mode)?;
        let output = files::run(&weir, LIMIT)?;
        allow(&state, 0o755)?;
        assert_eq!(
            (output.status.code(), &*output.stderr),
            (Some(1), expected),
            "{mode:o}"
        );
        ensure!(footprint(&state)? == before, "the state was changed");
    }
    Ok(())
}

/// A way to a server that can be closed: then everything is answered as expired credentials are.
struct Gate {
    address: String,
    shared: Arc<Mutex<Passing>>,
}

#[derive(Default)]
struct Passing {
    is_closed: bool,
    streams: Vec<TcpStream>,
}

const EXPIRED: &str = "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message>\
                       </Error>";

impl Gate {
    fn start(to: String) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = format!("http://{}", listener.local_addr()?);
        let shared: Arc<Mutex<Passing>> = Arc::default();
        let known = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (to, known) = (to.clone(), Arc::clone(&known));
                // Who goes away in the middle is answered no more.
                thread::spawn(move || drop(pass(stream, &to, &known)));
            }
        });
        Ok(Self { address, shared })
    }

    /// Closes or opens it. Connections that there are end.
    fn set_closed(&self, is_closed: bool) {
        let mut passing = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        passing.is_closed = is_closed;
        for stream in passing.streams.drain(..) {
            // One that has ended is as good.
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

fn pass(mut stream: TcpStream, to: &str, shared: &Mutex<Passing>) -> io::Result<()> {
    let server = TcpStream::connect(to.trim_start_matches("http://"))?;
    let is_closed = {
        let mut passing = shared.lock().unwrap_or_else(PoisonError::into_inner);
        passing
            .streams
            .extend([stream.try_clone()?, server.try_clone()?]);
        passing.is_closed
    };
    if is_closed {
        // Who closes early is answered early.
        let mut request = [0; 4_096];
        if stream.read(&mut request)? == 0 {
            return Ok(());
        }
        return write!(
            stream,
            "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{EXPIRED}",
            EXPIRED.len()
        );
    }
    let (mut from_server, mut to_server) = (server.try_clone()?, server);
    let mut back = stream.try_clone()?;
    thread::spawn(move || {
        let copied = io::copy(&mut from_server, &mut back);
        drop(back.shutdown(Shutdown::Both));
        copied
    });
    io::copy(&mut stream, &mut to_server)?;
    to_server.shutdown(Shutdown::Both)
}

#[test]
fn a_pipeline_goes_on_while_its_object_store_refuses() -> Result<()> {
    let moto = Moto::start()?;
    moto.put("fleet", "")?;
    let gate = Gate::start(moto.endpoint())?;
    let events = events(2_000);
    let stateful = Stateful::new(CARS)?;
    let expected = stateful.uninterrupted(&events)?;
    let with_credentials = |arguments: &[&str]| {
        let mut command = stateful.command(&["run", "cars.yaml"]);
        command
            .args(arguments)
            .args(["--set", "state.checkpoints=s3://fleet/weir"]);
        command.args(["--set", "state.checkpoint.every=100ms"]);
        for (name, value) in [
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ENDPOINT_URL", &gate.address),
            ("AWS_ALLOW_HTTP", "true"),
            ("NO_PROXY", "127.0.0.1"),
        ] {
            command.env(name, value);
        }
        command
    };
    // It is heard of at the start.
    gate.set_closed(true);
    let refused = files::run(&with_credentials(&["--listen", "none"]), LIMIT)?;
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let words = "weir: pipeline cars: s3://fleet/weir";
    assert!(refused.stderr.contains(words), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("ExpiredToken"),
        "{}",
        refused.stderr
    );
    gate.set_closed(false);

    let mut feed = stateful.feed()?;
    let mut service = stateful.serve(&mut with_credentials(&[]))?;
    let (first, rest) = events.split_at(800);
    feed.write(first)?;
    service.await_metric("weir_checkpoints_total", &[], 2.0)?;
    gate.set_closed(true);
    service.await_metric("weir_checkpoint_failures_total", &[], 1.0)?;
    feed.write(&rest[..600])?;
    service.await_metric("weir_events_total", &[], 1_400.0)?;
    assert_eq!(service.get("/-/ready")?.status, 200);
    assert_eq!(service.metric("weir_restarts_total", &[])?, 0.0);
    let log = service.log()?;
    let warning = "a checkpoint has failed; the one before stays the latest checkpoint=";
    assert!(
        log.contains(warning) && log.contains("ExpiredToken"),
        "{log}"
    );

    gate.set_closed(false);
    let completed = service.metric("weir_checkpoints_total", &[])?;
    service.await_metric("weir_checkpoints_total", &[], completed + 2.0)?;
    service.kill()?;
    stateful.replace(&events)?;
    let finished = files::run(&with_credentials(&["--listen", "none"]), LIMIT)?;
    assert!(finished.status.success(), "{finished:?}");
    expect_same(&stateful.samples("samples.ndjson")?, &expected)
}
