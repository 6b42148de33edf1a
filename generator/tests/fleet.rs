//! What a fleet promises: the same events again, in the order of emission, within the bounds.
#![expect(
    clippy::unwrap_used,
    reason = "a failed assumption of a test is its failure"
)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use weirgen::{Event, Fleet, FleetConfig, Kind, Region, VehicleId};

const START_MS: u64 = 1_730_621_749_000;

fn config(vehicles: u32) -> FleetConfig {
    FleetConfig {
        start_ms: START_MS,
        ..FleetConfig::new(vehicles)
    }
}

fn events(config: &FleetConfig, count: usize) -> Vec<Event> {
    let mut fleet = Fleet::new(config.clone()).unwrap();
    (0..count).map(|_| fleet.next_event()).collect()
}

/// All events that are emitted in so many milliseconds.
fn events_of(config: &FleetConfig, millis: u64) -> Vec<Event> {
    let mut fleet = Fleet::new(config.clone()).unwrap();
    let mut events = Vec::new();
    loop {
        let event = fleet.next_event();
        if event.emission_ms >= config.start_ms + millis {
            return events;
        }
        events.push(event);
    }
}

fn json(events: &[Event]) -> Vec<u8> {
    let mut out = Vec::new();
    for event in events {
        event.write_json(&mut out);
        out.push(b'\n');
    }
    out
}

fn by_vehicle(events: Vec<Event>) -> BTreeMap<u32, Vec<Event>> {
    let mut vehicles: BTreeMap<u32, Vec<Event>> = BTreeMap::new();
    for event in events {
        vehicles.entry(event.vehicle).or_default().push(event);
    }
    for events in vehicles.values_mut() {
        events.sort_by_key(|event| (event.emission_ms, event.timestamp_ms));
    }
    vehicles
}

#[test]
fn the_same_seed_makes_the_same_bytes() {
    let config = FleetConfig {
        disorder_ms: 500,
        late_share: 0.1,
        ..config(100)
    };
    let first = json(&events(&config, 10_000));
    assert_eq!(first, json(&events(&config, 10_000)));
    let other = FleetConfig { seed: 2, ..config };
    assert_ne!(first, json(&events(&other, 10_000)));
}

#[test]
fn the_bytes_stay_the_same_from_version_to_version() {
    let config = FleetConfig {
        disorder_ms: 1_000,
        ..config(3)
    };
    let expected = concat!(
        r#"{"eventType":"WARNINGS","vehicleId":"V0000000002","region":"Norway","#,
        r#""timestamp":1730621749222,"measurement":0}"#,
        r#"{"eventType":"ELECTRIC_RPM","vehicleId":"V0000000000","region":"US","#,
        r#""timestamp":1730621749444,"measurement":0}"#,
        r#"{"eventType":"WARNINGS","vehicleId":"V0000000001","region":"Japan","#,
        r#""timestamp":1730621749000,"measurement":1}"#,
        r#"{"eventType":"IC_RPM","vehicleId":"V0000000000","region":"US","#,
        r#""timestamp":1730621749111,"measurement":0}"#,
        r#"{"eventType":"IC_RPM","vehicleId":"V0000000002","region":"Norway","#,
        r#""timestamp":1730621749555,"measurement":992}"#,
    );
    let text = String::from_utf8(json(&events(&config, 5))).unwrap();
    assert_eq!(text.replace('\n', ""), expected);
}

#[test]
fn shards_together_make_the_whole() {
    let whole = FleetConfig {
        disorder_ms: 700,
        late_share: 0.05,
        late_by_ms: 2_000,
        ..config(101)
    };
    let expected = by_vehicle(events_of(&whole, 20_000));
    assert_eq!(expected.len(), 101);
    for shards in [2, 3, 8] {
        let mut together = Vec::new();
        for shard in 0..shards {
            let part = events_of(
                &FleetConfig {
                    shard,
                    shards,
                    ..whole.clone()
                },
                20_000,
            );
            assert!(part.iter().all(|event| event.vehicle % shards == shard));
            together.extend(part);
        }
        assert_eq!(by_vehicle(together), expected, "{shards} shards");
    }
}

#[test]
fn every_vehicle_sends_each_kind_once_a_second() {
    let vehicles = by_vehicle(events_of(&config(50), 10_000));
    assert_eq!(vehicles.len(), 50);
    for (vehicle, events) in vehicles {
        assert_eq!(events.len(), 30, "vehicle {vehicle}");
        for second in events.chunks(3) {
            for kind in Kind::ALL {
                assert!(
                    second.iter().any(|event| event.kind == kind),
                    "{kind:?} in {second:?}"
                );
            }
        }
        for kind in Kind::ALL {
            let times: Vec<u64> = events
                .iter()
                .filter(|e| e.kind == kind)
                .map(|e| e.timestamp_ms)
                .collect();
            assert!(
                times.windows(2).all(|pair| pair[1] - pair[0] == 1_000),
                "{times:?}"
            );
        }
    }
}

#[test]
fn the_rate_is_that_of_the_event_time() {
    let config = FleetConfig {
        events_per_second: 1_234,
        ..config(10)
    };
    assert_eq!(events_of(&config, 10_000).len(), 12_340);
}

#[test]
fn disorder_changes_when_events_arrive_and_nothing_else() {
    let readings = |config: &FleetConfig| {
        let mut readings: Vec<_> = events_of(config, 30_000)
            .iter()
            .filter(|event| event.timestamp_ms < START_MS + 20_000)
            .map(|event| (event.timestamp_ms, event.vehicle, event.measurement))
            .collect();
        readings.sort_unstable();
        readings
    };
    let ordered = config(40);
    let in_order = readings(&ordered);
    let disordered = FleetConfig {
        disorder_ms: 3_000,
        late_share: 0.2,
        late_by_ms: 5_000,
        ..ordered
    };
    assert_eq!(in_order, readings(&disordered));
}

#[test]
fn late_events_are_late_by_exactly_that() {
    let config = FleetConfig {
        late_share: 0.1,
        late_by_ms: 30_000,
        ..config(100)
    };
    let events = events(&config, 100_000);
    let mut late = 0;
    for event in events
        .iter()
        .filter(|event| event.emission_ms >= START_MS + 30_000)
    {
        match event.emission_ms - event.timestamp_ms {
            0 => {}
            30_000 => late += 1,
            other => panic!("late by {other} ms"),
        }
    }
    let seen = events
        .iter()
        .filter(|e| e.emission_ms >= START_MS + 30_000)
        .count();
    let share = f64::from(late) / seen as f64;
    assert!((share - 0.1).abs() < 0.01, "{share}");
}

#[test]
fn delays_fill_the_whole_disorder() {
    let config = FleetConfig {
        disorder_ms: 9,
        ..config(1_000)
    };
    let mut delays = [0; 10];
    for event in events(&config, 100_000) {
        delays[(event.emission_ms - event.timestamp_ms) as usize] += 1;
    }
    assert!(
        delays.iter().all(|count| (9_000..11_000).contains(count)),
        "{delays:?}"
    );
}

#[test]
fn json_holds_what_the_event_says() {
    let config = FleetConfig {
        disorder_ms: 100,
        move_probability: 0.5,
        ..config(500)
    };
    for event in events(&config, 5_000) {
        let value: serde_json::Value = serde_json::from_slice(&json(&[event])).unwrap();
        let expected = serde_json::json!({
            "eventType": event.kind.name(),
            "vehicleId": VehicleId(event.vehicle).to_string(),
            "region": Region::of_vehicle(event.vehicle).name(),
            "timestamp": event.timestamp_ms,
            "measurement": event.measurement,
        });
        assert_eq!(value, expected);
    }
}

#[test]
fn measurements_are_in_range_and_agree_on_the_motion() {
    let config = FleetConfig {
        warning_probability: 0.1,
        ..config(100)
    };
    let (mut stopped, mut moving, mut lights) = (0, 0, [0; 6]);
    for event in events(&config, 100_000) {
        match event.kind {
            Kind::IcRpm => assert!((0..=3_000).contains(&event.measurement)),
            Kind::ElectricRpm => assert!((-10_000..=10_000).contains(&event.measurement)),
            Kind::Warnings => {
                lights[usize::try_from(event.measurement).unwrap()] += 1;
                continue;
            }
        }
        if event.measurement == 0 {
            stopped += 1;
        } else {
            moving += 1;
        }
    }
    assert!(
        stopped > 20_000 && moving > 20_000,
        "{stopped} stopped, {moving} moving"
    );
    assert!(lights.iter().all(|count| *count > 4_000), "{lights:?}");
}

#[test]
fn state_changes_with_its_probability() {
    let config = FleetConfig {
        move_probability: 0.05,
        warning_probability: 0.02,
        ..config(100)
    };
    let (mut motor, mut starts, mut lights, mut switches) = (0, 0, 0, 0);
    for events in by_vehicle(events(&config, 300_000)).into_values() {
        let moving: Vec<bool> = events
            .iter()
            .filter(|event| event.kind != Kind::Warnings)
            .map(|event| event.measurement != 0)
            .collect();
        motor += moving.len() - 1;
        starts += moving.windows(2).filter(|pair| pair[0] != pair[1]).count();
        let warnings: Vec<i32> = events
            .iter()
            .filter(|event| event.kind == Kind::Warnings)
            .map(|event| event.measurement)
            .collect();
        lights += warnings.len() - 1;
        switches += warnings
            .windows(2)
            .filter(|pair| pair[0] != pair[1])
            .count();
    }
    let (starts, switches) = (
        starts as f64 / motor as f64,
        switches as f64 / lights as f64,
    );
    assert!((starts - 0.05).abs() < 0.005, "{starts}");
    assert!((switches - 0.02).abs() < 0.002, "{switches}");
}

#[test]
fn without_probabilities_nothing_changes_and_with_certainty_all_does() {
    let still = FleetConfig {
        move_probability: 0.0,
        warning_probability: 0.0,
        ..config(20)
    };
    for events in by_vehicle(events(&still, 6_000)).into_values() {
        let motors = events.iter().filter(|event| event.kind != Kind::Warnings);
        let moving = motors.filter(|event| event.measurement != 0).count();
        assert!(moving == 0 || moving == 200, "{moving}");
    }
    let restless = FleetConfig {
        move_probability: 1.0,
        ..config(20)
    };
    for events in by_vehicle(events(&restless, 6_000)).into_values() {
        let motors = events.iter().filter(|event| event.kind != Kind::Warnings);
        assert_eq!(motors.filter(|event| event.measurement != 0).count(), 100);
    }
}

proptest! {
    #[test]
    fn events_come_in_the_order_of_emission_within_the_bounds(
        vehicles in 1_u32..50,
        rate in 1_u64..10_000,
        disorder_ms in 0_u64..3_000,
        late_share in 0.0..=1.0,
        late_by_ms in 0_u64..10_000,
        seed: u64,
    ) {
        let config = FleetConfig {
            seed,
            events_per_second: rate,
            disorder_ms,
            late_share,
            late_by_ms,
            ..config(vehicles)
        };
        let mut last_ms = START_MS;
        for event in events(&config, 500) {
            prop_assert!(event.emission_ms >= last_ms);
            last_ms = event.emission_ms;
            let lag_ms = event.emission_ms - event.timestamp_ms;
            let on_time = lag_ms <= disorder_ms;
            let late = (late_by_ms..=late_by_ms + disorder_ms).contains(&lag_ms);
            prop_assert!(on_time || late, "lag of {} ms", lag_ms);
        }
    }
}
