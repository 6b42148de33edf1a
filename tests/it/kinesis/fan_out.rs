//! Enhanced fan-out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use serde_json::json;

use super::changing;
use super::load::Load;
use super::session::{Saved, Session, settings};
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
