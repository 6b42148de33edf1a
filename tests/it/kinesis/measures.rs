//! What the metrics say of the distance to the end of a shard.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;

use super::faults::{forward, refusal};
use super::session::{LIMIT, Saved, Session, settings};
use crate::support::fake_http::serve;
use crate::support::kinesis::Kinesis;

const BEHIND: &str = "weir_kinesis_millis_behind_latest";
const AGE: &str = "weir_kinesis_iterator_age_seconds";

#[test]
fn the_distance_to_the_end_is_that_of_the_records() -> Result<()> {
    let kinesis = Kinesis::start()?;
    kinesis.create("behind", 1)?;
    let put = |number: u64| -> Result<(Instant, Instant)> {
        let before = Instant::now();
        kinesis.put(
            "behind",
            &[("k".to_owned(), format!("k:{number}").into_bytes())],
        )?;
        Ok((before, Instant::now()))
    };
    let first = put(0)?;
    std::thread::sleep(Duration::from_millis(1_500));
    let second = put(1)?;

    // After the first record, Kinesis has no more time for us.
    let (server, allowed) = (kinesis.endpoint(), Arc::new(AtomicUsize::new(1)));
    let left = Arc::clone(&allowed);
    let proxy = serve(move |request| {
        let is_records = request.header("x-amz-target").ends_with("GetRecords");
        let take = |left: usize| left.checked_sub(1);
        if is_records
            && left
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, take)
                .is_err()
        {
            return (400, refusal("ProvisionedThroughputExceededException"));
        }
        forward(&server, request)
    })?;
    let settings = settings(&proxy, "behind", &json!({ "max_records": 1 }));
    let started = Instant::now();
    let mut session = Session::start(&settings, &Saved::default())?;
    session.take_until(1)?;
    let deadline = Instant::now() + LIMIT;
    while session.metric(BEHIND) == 0.0 {
        ensure!(Instant::now() < deadline, "{}", session.metrics());
        session.take(Duration::from_millis(5))?;
    }
    // A clock of milliseconds may be wrong by one at either end.
    let behind = session.metric(BEHIND);
    let least = (second.0 - first.1).as_millis() as f64 - 2.0;
    let most = (second.1 - first.0).as_millis() as f64 + 2.0;
    ensure!((least..=most).contains(&behind), "{least} {behind} {most}");
    let age = session.metric(AGE);
    let least = (started - first.1).as_secs_f64() - 0.002;
    let most = first.0.elapsed().as_secs_f64() + 0.002;
    ensure!((least..=most).contains(&age), "{least} {age} {most}");

    allowed.store(usize::MAX, Ordering::Release);
    session.take_until(2)?;
    let deadline = Instant::now() + LIMIT;
    while session.metric(BEHIND) != 0.0 {
        ensure!(Instant::now() < deadline, "{}", session.metrics());
        session.take(Duration::from_millis(5))?;
    }
    let age = session.metric(AGE);
    let most = second.0.elapsed().as_secs_f64() + 0.002;
    ensure!((0.0..=most).contains(&age), "{age} {most}");
    session.crash()
}
