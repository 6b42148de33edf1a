//! Enhanced fan-out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::Result;
use serde_json::json;

use super::changing;
use super::faults::forward;
use super::load::Load;
use super::session::{Saved, Session, settings};
use crate::support::fake_http::serve;
use crate::support::kinesis::Kinesis;
use crate::support::proxy::Proxy;

#[test]
fn subscriptions_lose_nothing_through_splits_merges_and_crashes() -> Result<()> {
    let kinesis = Kinesis::start()?;
    let more = json!({ "mode": "enhanced_fan_out", "consumer": "weir" });
    let settings = settings(&kinesis.endpoint(), "fan-out", &more);
    changing(&kinesis, "fan-out", &settings, 4)?.crash()
}

#[test]
fn a_subscription_that_is_silent_begins_anew() -> Result<()> {
    let kinesis = Kinesis::start()?;
    kinesis.create("silent", 1)?;
    let mut load = Load::new(&kinesis, "silent", 2);
    load.put(3)?;
    // The next event of a subscription does not come through, nor does anything behind it. The connection
    // stays.
    let armed = Arc::new(AtomicBool::new(false));
    let is_armed = Arc::clone(&armed);
    let proxy = Proxy::start(kinesis.port(), move || {
        let is_armed = Arc::clone(&is_armed);
        Box::new(move |piece| {
            let name = b"SubscribeToShardEvent";
            let is_event = piece.windows(name.len()).any(|window| window == name);
            if is_event && is_armed.swap(false, Ordering::AcqRel) {
                loop {
                    std::thread::park();
                }
            }
        })
    })?;
    let more = json!({ "mode": "enhanced_fan_out", "consumer": "weir" });
    let settings = settings(&format!("http://{}", proxy.address()), "silent", &more);
    let mut session = Session::start(&settings, &Saved::default())?;
    session.take_until(6)?;
    armed.store(true, Ordering::Release);
    load.put(2)?;
    session.take_metric("reason=\"stalled\",pipeline=\"test\"} 1")?;
    session.take_until(10)?;
    load.check(&session.ledger)?;
    session.crash()
}

#[test]
fn a_subscription_that_ends_at_once_is_not_begun_again_at_once() -> Result<()> {
    let kinesis = Kinesis::start()?;
    kinesis.create("closing", 1)?;
    // Listings, of which there is one every 200 ms, and subscriptions, which end without a word.
    let counts = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let (server, counted) = (kinesis.endpoint(), Arc::clone(&counts));
    let proxy = serve(move |request| {
        let [listings, subscriptions] = &*counted;
        let target = request.header("x-amz-target");
        if target.ends_with("SubscribeToShard") {
            subscriptions.fetch_add(1, Ordering::Relaxed);
            return (200, String::new());
        }
        if target.ends_with("ListShards") {
            listings.fetch_add(1, Ordering::Relaxed);
        }
        forward(&server, request)
    })?;
    let more = json!({ "mode": "enhanced_fan_out", "consumer": "weir" });
    let settings = settings(&proxy, "closing", &more);
    let mut session = Session::start(&settings, &Saved::default())?;
    session.take_metric("reason=\"ended\",pipeline=\"test\"} 6")?;
    // Without waits, there would be time for the two listings of the start.
    let [listings, subscriptions] = &*counts;
    let counts = [listings, subscriptions].map(|count| count.load(Ordering::Relaxed));
    assert!(2 * counts[0] >= counts[1], "{counts:?}");
    session.crash()
}
