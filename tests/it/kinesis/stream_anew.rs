//! A stream that is deleted and made anew under its name.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;

use super::load::Load;
use super::session::{LIMIT, Saved, Session, settings};
use crate::support::kinesis::Kinesis;

/// Sequence numbers begin with the second in which their shard was made.
const SECOND: Duration = Duration::from_millis(1_100);

/// Deletes a stream, all of whose shards are older than `since`, and makes it anew in a later second than theirs.
fn make_anew(kinesis: &Kinesis, stream: &str, since: Instant) -> Result<()> {
    kinesis.call("DeleteStream", &json!({ "StreamName": stream }))?;
    while since.elapsed() < SECOND || kinesis.create(stream, 1).is_err() {
        ensure!(since.elapsed() < LIMIT, "the stream is not deleted");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

#[test]
fn nothing_is_read_of_a_stream_that_was_made_anew() -> Result<()> {
    let kinesis = Kinesis::start()?;
    kinesis.create("anew", 1)?;
    let since = Instant::now();
    let mut load = Load::new(&kinesis, "anew", 2);
    load.put(3)?;
    let settings = settings(&kinesis.endpoint(), "anew", &json!({}));
    let mut session = Session::start(&settings, &Saved::default())?;
    session.take_until(6)?;
    let saved = session.save();
    // While it is read.
    make_anew(&kinesis, "anew", since)?;
    load.put(1)?;
    let message = session.failure()?;
    ensure!(message.contains("is another stream"), "{message}");
    // And at the next start.
    let message = Session::start(&settings, &saved)?.failure()?;
    let expected = "source kinesis anew: shard shardId-000000000000 is not the one that was read";
    ensure!(message.starts_with(expected), "{message}");
    let mut session = Session::start(&settings, &Saved::default())?;
    session.take_until(2)?;
    session.crash()
}

#[test]
fn a_shard_that_had_ended_and_is_open_again_is_one_of_another_stream() -> Result<()> {
    let kinesis = Kinesis::start()?;
    kinesis.create("reborn", 1)?;
    let since = Instant::now();
    let mut load = Load::new(&kinesis, "reborn", 2);
    load.put(3)?;
    kinesis.split("reborn", 0)?;
    load.put(3)?;
    let settings = settings(&kinesis.endpoint(), "reborn", &json!({}));
    let mut session = Session::start(&settings, &Saved::default())?;
    // The parent was read to its end.
    session.take_until(12)?;
    session.take_assigned(3)?;
    let saved = session.save();
    session.crash()?;
    // The new stream has the parent alone, of which the state has no sequence number.
    make_anew(&kinesis, "reborn", since)?;
    let message = Session::start(&settings, &saved)?.failure()?;
    let expected = "source kinesis reborn: shard shardId-000000000000 is not the one that was read";
    ensure!(message.starts_with(expected), "{message}");
    Ok(())
}
