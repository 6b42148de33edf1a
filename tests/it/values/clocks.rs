//! A device whose clock is wrong takes nothing from the others.

use std::fs;

use anyhow::Result;

use crate::reference::fleet::{CONNECTED_CARS, Fleet, START_MS, expect_same, succeed};
use crate::support::samples::{Sample, read_ndjson};

const DAY_MS: i64 = 86_400_000;

/// An event of a device that is a day ahead, and whose gateway has received it in time.
fn day_ahead(millis: i64) -> String {
    let (time, received) = (START_MS + DAY_MS + millis, START_MS + millis);
    format!(
        "{{\"vehicleId\":\"AHEAD\",\"eventType\":\"WARNINGS\",\"timestamp\":{time},\
         \"received\":{received},\"region\":\"UK\",\"measurement\":1.0}}"
    )
}

/// The samples of a run over events, of which the first and every hundredth one more is of a device
/// a day ahead.
fn run(fleet: &Fleet, events: &[u8], clock: &str) -> Result<Vec<Sample>> {
    let mut lines = Vec::new();
    for (number, line) in events.split_inclusive(|byte| *byte == b'\n').enumerate() {
        if number % 100 == 0 {
            lines.extend(format!("{}\n", day_ahead(number as i64)).into_bytes());
        }
        lines.extend(line);
    }
    let input = fleet.path("ahead.ndjson");
    fs::write(&input, lines)?;
    let output = fleet.path("ahead-samples.ndjson");
    let mut command = fleet.weir(CONNECTED_CARS, &["--set", clock]);
    command.arg("--input").arg(&input);
    succeed(command.arg("--output").arg(&output))?;
    read_ndjson(&output)
}

#[test]
fn one_device_a_day_ahead_does_not_make_the_others_late() -> Result<()> {
    let fleet = Fleet::new()?;
    let events = fleet.events(&["--seconds", "20", "--disorder", "2s"])?;
    let expected = fleet.reference(std::slice::from_ref(&events)).samples;
    let of_the_day = |samples: Vec<Sample>| {
        let (day, after): (Vec<_>, Vec<_>) = samples
            .into_iter()
            .partition(|sample| sample.timestamp_ms < START_MS + DAY_MS / 2);
        (day, after.len())
    };
    // Nothing is known of when the events were received.
    let samples = run(
        &fleet,
        &events,
        "time.clock={ device: vehicle, quarantine: true }",
    )?;
    let (day, after) = of_the_day(samples);
    expect_same(&day, &expected)?;
    assert!(after > 0, "nothing is dropped without a proof");
    // The records of the device say it, those of the others do not.
    let clock = "time.clock={ device: vehicle, received: received, quarantine: true }";
    let (day, after) = of_the_day(run(&fleet, &events, clock)?);
    expect_same(&day, &expected)?;
    assert_eq!(after, 0);
    Ok(())
}
