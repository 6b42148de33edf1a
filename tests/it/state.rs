//! State in S3. Credentials come from the environment, so each test runs once more in a process of its
//! own that has them.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use weir::state::{
    About, Checkpoint, Checkpoints, Identity, S3Options, S3Store, Savepoints, StateError, Store,
    StoreErrorKind, StoreLocation,
};

use crate::support::moto::Moto;

/// Where a test's process finds the server.
const ENDPOINT: &str = "WEIR_TEST_S3_ENDPOINT";

/// Runs a test of this file again, with credentials and the server's address.
fn again(test: &str, endpoint: &str) -> Result<()> {
    let output = Command::new(std::env::current_exe()?)
        .args(["--exact", &format!("state::{test}"), "--nocapture"])
        .env(ENDPOINT, endpoint)
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .env("NO_PROXY", "127.0.0.1")
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{text}{words}");
    ensure!(text.contains("1 passed"), "the test did not run: {text}");
    Ok(())
}

fn options(endpoint: String) -> S3Options {
    S3Options {
        region: Some("us-east-1".to_owned()),
        endpoint: Some(endpoint),
        allow_http: true,
    }
}

fn open(store: &Arc<dyn Store>, epoch: u64) -> Result<Checkpoints> {
    Ok(Checkpoints::open(Arc::clone(store), identity(epoch))?)
}

fn identity(epoch: u64) -> Identity {
    Identity {
        pipeline: "cars".to_owned(),
        writer: format!("host:{epoch}"),
        epoch,
    }
}

fn commit(checkpoints: &mut Checkpoints, parts: &[(&str, &[u8])]) -> Result<u64, StateError> {
    let number = checkpoints.next_number();
    let mut draft = checkpoints.begin(number);
    for (part, bytes) in parts {
        draft.add("windows", part, bytes)?;
    }
    let about = About {
        created_ms: 1_730_592_000_000,
        acknowledged_ms: None,
        weir_version: "0.1.0".to_owned(),
    };
    Ok(draft.commit(about)?.new_bytes)
}

fn parts(checkpoint: &Checkpoint) -> Result<Vec<(String, Vec<u8>)>> {
    let mut parts = Vec::new();
    for entry in checkpoint.entries() {
        parts.push((entry.part.clone(), checkpoint.read(entry)?));
    }
    Ok(parts)
}

#[test]
fn checkpoints_in_s3() -> Result<()> {
    let Ok(endpoint) = std::env::var(ENDPOINT) else {
        let moto = Moto::start()?;
        moto.put("fleet", "")?;
        return again("checkpoints_in_s3", &moto.endpoint());
    };
    let location: StoreLocation = "s3://fleet/weir/state"
        .parse()
        .map_err(anyhow::Error::msg)?;
    let store = location.open(&options(endpoint.clone()))?;

    assert_eq!(store.list("")?, Vec::<String>::new());
    store.put("a/b", b"one")?;
    store.put("ab", b"")?;
    store.put("a/b", b"two")?;
    assert_eq!(store.get("a/b")?.as_deref(), Some(&b"two"[..]));
    assert_eq!(store.get("ab")?.as_deref(), Some(&b""[..]));
    assert_eq!(store.get("none")?, None);
    assert_eq!(store.list("")?, ["a/b", "ab"]);
    assert_eq!(store.list("a/")?, ["a/b"]);
    store.create("a/n", b"mine")?;
    let error = store
        .create("a/n", b"theirs")
        .err()
        .context("it was created twice")?;
    assert_eq!(error.kind, StoreErrorKind::AlreadyExists, "{error}");
    assert_eq!(store.get("a/n")?.as_deref(), Some(&b"mine"[..]));
    for name in ["a/b", "ab", "a/n", "none"] {
        store.delete(name)?;
    }
    assert_eq!(store.list("")?, Vec::<String>::new());

    // Blobs are of 8 MiB, and read at once.
    let mut large = vec![0; 20_000_000];
    fastrand::Rng::with_seed(1).fill(&mut large);
    let mut checkpoints = open(&store, 1)?;
    for number in 1..=5_u8 {
        let new = commit(&mut checkpoints, &[("large", &large), ("small", &[number])])?;
        assert_eq!(
            new > 20_000_000,
            number == 1,
            "checkpoint {number} has put {new} bytes"
        );
    }
    assert_eq!(checkpoints.numbers(), [3, 4, 5]);
    let read = open(&store, 2)?
        .latest()?
        .context("there is no checkpoint")?;
    let expected = [("large".to_owned(), large), ("small".to_owned(), vec![5])];
    assert!(parts(&read)? == expected);

    let savepoints = Savepoints::new(Arc::clone(&store), identity(2));
    savepoints.save("one", &read)?;
    assert!(parts(&savepoints.load("one")?)? == expected);
    savepoints.delete("one")?;
    assert_eq!(savepoints.list()?, []);

    let mut other = open(&store, 3)?;
    commit(&mut checkpoints, &[("small", b"one")])?;
    let error = commit(&mut other, &[("small", b"other")])
        .err()
        .context("both have won")?;
    assert_eq!(
        error.to_string(),
        "another weir writes the state of pipeline cars: checkpoint 6 was written by host:1 at \
         2024-11-03T00:00:00Z; this one stops"
    );
    commit(&mut checkpoints, &[("small", b"goes on")])?;

    let missing = S3Store::open("nowhere", "", &options(endpoint))?;
    for error in [
        missing.list("").err(),
        missing.get("a").err(),
        missing.put("a", b"").err(),
    ] {
        let error = error.context("there is no such bucket")?;
        assert_eq!(error.kind, StoreErrorKind::Missing, "{error}");
    }
    Ok(())
}

/// A server that answers every request with a status and a code of S3's errors.
fn refuses(status: &'static str, code: &'static str) -> Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut request = [0; 4096];
            let body = format!("<Error><Code>{code}</Code><Message>no</Message></Error>");
            let answer = format!(
                "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            // Who closes early is answered early.
            if stream.read(&mut request).is_ok() {
                drop(stream.write_all(answer.as_bytes()));
            }
        }
    });
    Ok(format!("http://{address}"))
}

#[test]
fn what_s3_refuses() -> Result<()> {
    if std::env::var(ENDPOINT).is_err() {
        return again("what_s3_refuses", "none");
    }
    let cases = [
        ("403 Forbidden", "AccessDenied", StoreErrorKind::Denied),
        (
            "403 Forbidden",
            "InvalidAccessKeyId",
            StoreErrorKind::Denied,
        ),
        ("400 Bad Request", "ExpiredToken", StoreErrorKind::Denied),
        ("400 Bad Request", "Strange", StoreErrorKind::Unavailable),
        ("503 Slow Down", "SlowDown", StoreErrorKind::Unavailable),
        (
            "507 Insufficient Storage",
            "XMinioStorageFull",
            StoreErrorKind::Full,
        ),
    ];
    for (status, code, kind) in cases {
        let store = S3Store::open("fleet", "state", &options(refuses(status, code)?))?;
        let error = store
            .put("cars/data/x", b"bytes")
            .err()
            .context("it was written")?;
        assert_eq!(error.kind, kind, "{error}");
        let text = error.to_string();
        assert!(text.starts_with("s3://fleet/state/cars/data/x: "), "{text}");
        assert!(text.contains(code), "{text}");
    }
    Ok(())
}
