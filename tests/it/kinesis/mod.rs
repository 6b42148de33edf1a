//! Kinesis: against kinesis-local, which really splits and merges, and through proxies that spoil what it
//! says.

mod end_to_end;
mod fan_out;
mod faults;
mod load;
mod measures;
mod session;
mod stream_anew;

use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::markdown::{page, rows};
use crate::support::http::post;
use crate::support::kinesis::{Kinesis, arn};
use crate::support::moto::Moto;
use load::{Load, aggregated};
use session::{Saved, Session, settings};

/// How many records are taken between two checkpoints, and between two crashes.
const CHECKPOINT_EVERY: usize = 150;
const CRASH_EVERY: usize = 700;

/// Reads until a writer has ended and everything is there, with checkpoints, and with crashes that lose
/// everything since the last one.
fn read_all(
    settings: &serde_json::Value,
    writer: thread::ScopedJoinHandle<'_, Result<usize>>,
) -> Result<Session> {
    let mut session = Session::start(settings, &Saved::default())?;
    let (mut saved, mut writer, mut written) = (session.save(), Some(writer), usize::MAX);
    let (mut next_save, mut next_crash) = (CHECKPOINT_EVERY, CRASH_EVERY);
    let began = Instant::now();
    while session.ledger.count() < written {
        ensure!(
            began.elapsed() < 2 * session::LIMIT,
            "{}",
            session.metrics()
        );
        if writer.as_ref().is_some_and(|writer| writer.is_finished())
            && let Some(ended) = writer.take()
        {
            written = ended.join().ok().context("the writer panicked")??;
        }
        let target = session.ledger.count() + 1;
        if target <= written {
            session.take(Duration::from_millis(20))?;
        }
        if session.ledger.count() >= next_save {
            next_save = session.ledger.count() + CHECKPOINT_EVERY;
            saved = session.save();
        }
        if session.ledger.count() >= next_crash {
            next_crash = session.ledger.count() + CRASH_EVERY;
            session.crash()?;
            session = Session::start(settings, &saved)?;
            next_save = session.ledger.count() + CHECKPOINT_EVERY;
        }
    }
    Ok(session)
}

/// Writes while shards are split and merged, and reads meanwhile. All records must come, once and in order,
/// and of those that are there twice, because a shard had changed under the producer, the right one.
fn changing(
    kinesis: &Kinesis,
    stream: &str,
    settings: &serde_json::Value,
    rounds: usize,
) -> Result<Session> {
    kinesis.create(stream, 3)?;
    let mut load = Load::new(kinesis, stream, 12);
    let session = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            load.put_while_changing(rounds)?;
            Ok(load.count())
        });
        read_all(settings, writer)
    })?;
    load.check(&session.ledger)?;
    ensure!(load.put_again() > 0, "nothing was put again");
    Ok(session)
}

#[test]
fn nothing_is_lost_twice_or_out_of_order_through_splits_merges_and_crashes() -> Result<()> {
    let kinesis = Kinesis::start()?;
    let settings = settings(&kinesis.endpoint(), "changing", &json!({}));
    let session = changing(&kinesis, "changing", &settings, 12)?;
    // All that the page says of Kinesis is there after such a run.
    let page = page("metrics.md")?;
    let documented = rows(&page, &["Metric", "Type", "Labels", "Meaning"])?;
    let names = documented.iter().map(|row| row.code(0));
    let names: Vec<_> = names
        .filter(|name| name.starts_with("weir_kinesis_"))
        .collect();
    assert_eq!(names.len(), 8);
    for name in names {
        let start = format!("{name}{{");
        let metrics = session.metrics();
        assert!(
            metrics.lines().any(|line| line.starts_with(&start)),
            "{name}: {metrics}"
        );
    }
    let saved = session.save();
    session.crash()?;
    // All that is over stays so, and nothing is read again.
    let mut session = Session::start(&settings, &saved)?;
    session.take_idle()?;
    let mut load = Load::new(&kinesis, "changing", 12);
    let before = session.ledger.count();
    load.put(1)?;
    session.take_until(before + 12)?;
    session.take_idle()?;
    assert_eq!(session.ledger.count(), before + 12);
    session.crash()
}

#[test]
fn latest_is_the_time_of_the_first_start() -> Result<()> {
    let kinesis = Kinesis::start()?;
    kinesis.create("latest", 2)?;
    let mut load = Load::new(&kinesis, "latest", 6);
    load.put(5)?;
    // What was written in the same millisecond would count.
    thread::sleep(Duration::from_millis(5));
    let settings = settings(&kinesis.endpoint(), "latest", &json!({ "start": "latest" }));
    let mut session = Session::start(&settings, &Saved::default())?;
    session.take_assigned(2)?;
    let saved = session.save();
    session.crash()?;
    load.put(3)?;
    kinesis.split("latest", 0)?;
    load.put(2)?;
    let mut session = Session::start(&settings, &saved)?;
    session.take_until(30)?;
    session.take_idle()?;
    for (key, seen) in &session.ledger.seen {
        assert_eq!(*seen, [5, 6, 7, 8, 9], "{key}");
    }
    session.crash()
}

#[test]
fn latest_reads_nothing_before_a_checkpoint_has_the_time() -> Result<()> {
    let kinesis = Kinesis::start()?;
    kinesis.create("held", 2)?;
    let mut load = Load::new(&kinesis, "held", 4);
    let settings = settings(&kinesis.endpoint(), "held", &json!({ "start": "latest" }));
    let mut session = Session::start(&settings, &Saved::default())?;
    session.take_assigned(2)?;
    load.put(3)?;
    // Five times as long as between two requests.
    for _ in 0..20 {
        session.take(Duration::from_millis(50))?;
    }
    assert_eq!(session.ledger.count(), 0);
    session.save();
    session.take_until(12)?;
    load.check(&session.ledger)?;
    session.crash()
}

#[test]
fn the_state_of_another_instance_is_refused() -> Result<()> {
    let kinesis = Kinesis::start()?;
    kinesis.create("divided", 4)?;
    let mut load = Load::new(&kinesis, "divided", 8);
    load.put(2)?;
    let of = |instance| {
        settings(
            &kinesis.endpoint(),
            "divided",
            &json!({ "instance": instance }),
        )
    };
    let mut session = Session::start(&of("1/2"), &Saved::default())?;
    session.take_assigned(2)?;
    session.take_idle()?;
    let saved = session.save();
    session.crash()?;
    for other in ["1/4", "2/2"] {
        let message = Session::start(&of(other), &saved)?.failure()?;
        let expected =
            format!("source kinesis divided: instance is {other}, and the state is that of 1/2: ");
        ensure!(message.starts_with(&expected), "{message}");
    }
    let mut session = Session::start(&of("1/2"), &saved)?;
    session.take_idle()?;
    session.crash()
}

#[test]
fn a_start_at_a_time_leaves_out_what_came_before() -> Result<()> {
    let kinesis = Kinesis::start()?;
    kinesis.create("time", 1)?;
    let mut load = Load::new(&kinesis, "time", 2);
    load.put(3)?;
    let written = SystemTime::now();
    while written.elapsed()? < Duration::from_millis(1_100) {
        thread::sleep(Duration::from_millis(10));
    }
    let seconds = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)?
        .as_secs();
    let time = jiff::Timestamp::from_second(i64::try_from(seconds)?)?;
    load.put(4)?;
    let start = json!({ "start": { "timestamp": time.to_string() } });
    let settings = settings(&kinesis.endpoint(), "time", &start);
    let mut session = Session::start(&settings, &Saved::default())?;
    session.take_until(8)?;
    for (key, seen) in &session.ledger.seen {
        assert_eq!(*seen, [3, 4, 5, 6], "{key}");
    }
    session.crash()
}

#[test]
fn two_instances_read_everything_once_together() -> Result<()> {
    let kinesis = Kinesis::start()?;
    kinesis.create("shared", 4)?;
    let mut load = Load::new(&kinesis, "shared", 16);
    load.put_while_changing(3)?;
    let one = settings(&kinesis.endpoint(), "shared", &json!({ "instance": "1/2" }));
    let other = settings(&kinesis.endpoint(), "shared", &json!({ "instance": "2/2" }));
    let mut sessions = [
        Session::start(&one, &Saved::default())?,
        Session::start(&other, &Saved::default())?,
    ];
    load.put_while_changing(3)?;
    let deadline = Instant::now() + session::LIMIT;
    let mut together = 0;
    while together < load.count() {
        ensure!(Instant::now() < deadline, "{together} records");
        for session in &mut sessions {
            session.take(Duration::from_millis(10))?;
        }
        together = sessions.iter().map(|session| session.ledger.count()).sum();
    }
    let mut all = sessions[0].ledger.clone();
    for (key, seen) in &sessions[1].ledger.seen {
        all.seen.entry(key.clone()).or_default().extend(seen);
    }
    for session in &sessions {
        assert!(session.ledger.count() > 0, "one of them has read nothing");
        // Of those of a key that an instance has, the order is kept.
        for (key, seen) in &session.ledger.seen {
            assert!(seen.is_sorted(), "{key}: {seen:?}");
        }
    }
    all.seen.values_mut().for_each(|seen| seen.sort_unstable());
    load.check(&all)?;
    sessions.into_iter().try_for_each(Session::crash)
}

#[test]
fn parts_that_went_to_the_wrong_shard_are_dropped_or_kept() -> Result<()> {
    let kinesis = Kinesis::start()?;
    kinesis.create("wrong", 2)?;
    // "a" and "b" have their places in different halves of the hash keys.
    let records = [
        (
            "a".to_owned(),
            aggregated("a", &[b"a:0".to_vec(), b"a:1".to_vec()]),
        ),
        ("a".to_owned(), aggregated("b", &[b"b:0".to_vec()])),
        ("b".to_owned(), b"b:1".to_vec()),
    ];
    kinesis.put("wrong", &records)?;
    for (outside_shard, count) in [("drop", 3), ("keep", 4)] {
        let more =
            json!({ "outside_shard": outside_shard, "stream": null, "stream_arn": arn("wrong") });
        let settings = settings(&kinesis.endpoint(), "wrong", &more);
        let mut session = Session::start(&settings, &Saved::default())?;
        session.take_until(count)?;
        session.take_idle()?;
        session.take_idle()?;
        assert_eq!(session.ledger.count(), count, "{outside_shard}");
        assert_eq!(session.metric("weir_kinesis_outside_shard_total"), 1.0);
        session.crash()?;
    }
    Ok(())
}

#[test]
fn what_waiting_does_not_mend_is_told_at_the_start() -> Result<()> {
    let kinesis = Kinesis::start()?;
    let nowhere = settings(&kinesis.endpoint(), "nowhere", &json!({}));
    let message = Session::start(&nowhere, &Saved::default())?.failure()?;
    ensure!(
        message.starts_with("source kinesis nowhere: ResourceNotFoundException"),
        "{message}"
    );

    let moto = Moto::start()?;
    let url = format!("{}/moto-api/reset-auth", moto.endpoint());
    let answer = post(&url, &[("Content-Type", "text/plain")], b"0")?;
    ensure!(answer.status == 200, "{answer:?}");
    let refused = settings(&moto.endpoint(), "scooters", &json!({}));
    let message = Session::start(&refused, &Saved::default())?.failure()?;
    ensure!(
        message.starts_with("source kinesis scooters: access is denied (status 403)")
            && message.contains("docs/kinesis.md"),
        "{message}"
    );
    Ok(())
}
