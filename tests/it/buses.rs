//! City buses: protobuf over Kafka through `pipelines/buses.yaml`, and the same reports out of a file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use prost::{Message, Oneof};

use crate::reference::service::Service;
use crate::support::files::{self, weir};
use crate::support::kafka::Kafka;
use crate::support::kinesis::base64;
use crate::support::samples::{Sample, read_ndjson};

const BUSES: &str = "pipelines/buses.yaml";
/// 2024-11-03T08:00:00Z, a full minute.
const START_S: i64 = 1_730_620_800;
const MINUTES: i64 = 8;
const PARTITIONS: usize = 3;

/// `transit.v1.BusReport`, in the words of another library.
#[derive(Clone, PartialEq, Message)]
struct BusReport {
    #[prost(string, tag = "1")]
    vehicle_id: String,
    #[prost(string, tag = "2")]
    depot: String,
    #[prost(message, optional, tag = "3")]
    trip: Option<Trip>,
    #[prost(message, repeated, tag = "4")]
    readings: Vec<Reading>,
}

#[derive(Clone, PartialEq, Message)]
struct Trip {
    #[prost(string, tag = "1")]
    line: String,
    #[prost(string, tag = "2")]
    trip_id: String,
    #[prost(uint32, tag = "3")]
    direction: u32,
}

/// A point in time, or a length of time.
#[derive(Clone, PartialEq, Message)]
struct Seconds {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Reading {
    #[prost(message, optional, tag = "1")]
    at: Option<Seconds>,
    #[prost(sint32, optional, tag = "2")]
    delay_seconds: Option<i32>,
    #[prost(oneof = "What", tags = "3, 4, 5")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, Oneof)]
enum What {
    #[prost(message, tag = "3")]
    Position(Position),
    #[prost(message, tag = "4")]
    Passengers(Passengers),
    #[prost(message, tag = "5")]
    DoorCycle(DoorCycle),
}

#[derive(Clone, PartialEq, Message)]
struct Position {
    #[prost(float, tag = "1")]
    latitude: f32,
    #[prost(float, tag = "2")]
    longitude: f32,
    #[prost(float, tag = "3")]
    speed: f32,
}

#[derive(Clone, PartialEq, Message)]
struct Passengers {
    #[prost(uint32, tag = "1")]
    on_board: u32,
    #[prost(int32, tag = "2")]
    occupancy: i32,
}

#[derive(Clone, PartialEq, Message)]
struct DoorCycle {
    #[prost(uint32, tag = "1")]
    door: u32,
    #[prost(message, optional, tag = "2")]
    open_for: Option<Seconds>,
    #[prost(bool, tag = "3")]
    obstructed: bool,
}

/// What twelve buses of three lines and two depots report: every ten seconds the readings of these.
fn reports() -> Vec<BusReport> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut reports = Vec::new();
    for tick in 0..MINUTES * 6 {
        for bus in 0..12_usize {
            // One in the depot says nothing for two minutes.
            if bus == 5 && (12..24).contains(&tick) {
                continue;
            }
            let at = |second: i64| {
                Some(Seconds {
                    seconds: START_S + tick * 10 + second,
                    nanos: 500_000_000,
                })
            };
            let delay_seconds = (bus % 4 != 3).then(|| random.i32(-60..600));
            let reading = |second, what| Reading {
                at: at(second),
                delay_seconds,
                what: Some(what),
            };
            let on_board = random.u32(0..90);
            let occupancy = match on_board / 18 {
                0 => 0,
                1 => 1,
                2 => 2,
                3 => 3,
                _ => 5,
            };
            let mut readings = vec![
                reading(
                    1,
                    What::Position(Position {
                        latitude: 51.5,
                        longitude: -0.1,
                        speed: random.u8(0..20).into(),
                    }),
                ),
                reading(
                    3,
                    What::Passengers(Passengers {
                        on_board,
                        occupancy,
                    }),
                ),
            ];
            if random.u8(0..3) == 0 {
                let open_for = Some(Seconds {
                    seconds: random.i64(2..30),
                    nanos: 500_000_000,
                });
                let obstructed = random.u8(0..4) == 0;
                let door = random.u32(1..4);
                readings.push(reading(
                    5,
                    What::DoorCycle(DoorCycle {
                        door,
                        open_for,
                        obstructed,
                    }),
                ));
            }
            reports.push(BusReport {
                vehicle_id: format!("B{bus}"),
                depot: if bus % 2 == 0 { "north" } else { "south" }.to_owned(),
                trip: Some(Trip {
                    line: format!("{}", 10 + bus % 3),
                    trip_id: format!("t{tick}"),
                    direction: 1,
                }),
                readings,
            });
        }
    }
    reports
}

/// A window's labels and time.
type Group = (Vec<(&'static str, String)>, i64);

/// The samples of a metric.
fn samples<'s, T>(
    name: &'s str,
    groups: &'s BTreeMap<Group, T>,
    value: impl Fn(&T) -> f64 + 's,
) -> impl Iterator<Item = Sample> + 's {
    groups.iter().map(move |((labels, end_ms), group)| {
        let labels: Vec<_> = labels
            .iter()
            .map(|(label, text)| (*label, text.as_str()))
            .collect();
        Sample::new(name, &labels, *end_ms, value(group))
    })
}

/// All samples but those of the quantile, the plain way.
fn reference(reports: &[BusReport]) -> Vec<Sample> {
    let mut in_service: BTreeMap<Group, BTreeSet<&str>> = BTreeMap::new();
    let mut crowded: BTreeMap<Group, BTreeSet<&str>> = BTreeMap::new();
    let mut on_board: BTreeMap<Group, BTreeMap<&str, u32>> = BTreeMap::new();
    let mut fastest: BTreeMap<Group, f32> = BTreeMap::new();
    let mut doors: BTreeMap<Group, Vec<f64>> = BTreeMap::new();
    let mut obstructed: BTreeMap<Group, u32> = BTreeMap::new();
    for report in reports {
        let bus = report.vehicle_id.as_str();
        let line = || ("line", report.trip.clone().unwrap_or_default().line);
        let depot = || ("depot", report.depot.clone());
        for reading in &report.readings {
            let second = reading.at.clone().unwrap_or_default().seconds;
            let end_ms = (second.div_euclid(60) + 1) * 60_000;
            let by_line = (vec![line()], end_ms);
            let by_depot = (vec![depot()], end_ms);
            let by_both = (vec![depot(), line()], end_ms);
            in_service.entry(by_both.clone()).or_default().insert(bus);
            // A reading of another kind has no speed and no doors, and a window without any has no value.
            match &reading.what {
                Some(What::Position(position)) => {
                    let speed = fastest.entry(by_line).or_insert(0.0);
                    *speed = speed.max(position.speed);
                    doors.entry(by_depot).or_default();
                }
                Some(What::Passengers(passengers)) => {
                    on_board
                        .entry(by_line.clone())
                        .or_default()
                        .insert(bus, passengers.on_board);
                    if passengers.occupancy >= 3 {
                        crowded.entry(by_line).or_default().insert(bus);
                    }
                }
                Some(What::DoorCycle(cycle)) => {
                    let open = cycle.open_for.clone().unwrap_or_default();
                    let open = open.seconds as f64 + f64::from(open.nanos) / 1e9;
                    doors.entry(by_depot).or_default().push(open);
                    if cycle.obstructed {
                        *obstructed.entry(by_both).or_default() += 1;
                    }
                }
                None => {}
            }
        }
    }
    let cycles = doors.iter().filter(|(_, open)| !open.is_empty());
    let cycles: BTreeMap<Group, Vec<f64>> = cycles
        .map(|(group, open)| (group.clone(), open.clone()))
        .collect();
    let mut all: Vec<Sample> = samples("buses_in_service", &in_service, |buses| buses.len() as f64)
        .chain(samples("buses_crowded", &crowded, |buses| {
            buses.len() as f64
        }))
        .chain(samples("bus_passengers", &on_board, |buses| {
            buses.values().sum::<u32>().into()
        }))
        .chain(samples("bus_speed_max", &fastest, |speed| {
            f64::from(*speed)
        }))
        .chain(samples("bus_door_cycles", &doors, |open| open.len() as f64))
        .chain(samples("bus_door_open_seconds", &cycles, |open| {
            open.iter().sum()
        }))
        .chain(samples("bus_doors_obstructed", &obstructed, |count| {
            f64::from(*count)
        }))
        .collect();
    all.sort();
    all
}

/// The samples of a file, those of the quantile apart.
fn read(output: &Path) -> Result<(Vec<Sample>, Vec<Sample>)> {
    let all = read_ndjson(output)?;
    let (quantiles, mut others): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|sample| sample.name == "bus_delay_seconds");
    others.sort();
    Ok((quantiles, others))
}

/// In the Base64 of RFC 4648, without padding.

#[test]
fn reports_over_kafka_and_out_of_a_file_give_the_same_samples() -> Result<()> {
    let reports = reports();
    let expected = reference(&reports);
    let folder = files::temporary_folder()?;

    // Out of a file, a report in Base64 a line.
    let lines: String = reports
        .iter()
        .map(|report| base64(&report.encode_to_vec()) + "\n")
        .collect();
    let input = files::write(folder.path(), "reports.txt", &lines)?
        .display()
        .to_string();
    let output = folder.path().join("file.ndjson");
    let shown = output.display().to_string();
    let command = weir([
        "run",
        BUSES,
        "--set",
        "source.unwrap=[base64]",
        "--input",
        &input,
        "--output",
        &shown,
    ]);
    let run = files::run(&command, Duration::from_secs(60))?;
    assert_eq!(run.status.code(), Some(0), "{}", run.stderr);
    let (quantiles, others) = read(&output)?;
    assert_eq!(others, expected);
    // Windows of five minutes every minute, for three lines.
    assert_eq!(quantiles.len() as i64, 3 * (MINUTES + 4));
    assert!(
        quantiles
            .iter()
            .all(|sample| (-60.0..606.0).contains(&sample.value)),
        "{quantiles:?}"
    );

    // Over Kafka, the reports of a bus in one partition.
    let kafka = Kafka::shared()?;
    kafka.create_topic("bus-reports", i32::try_from(PARTITIONS)?)?;
    for partition in 0..PARTITIONS {
        let of_partition = |report: &&BusReport| {
            let last = report.vehicle_id.bytes().last().unwrap_or_default();
            usize::from(last) % PARTITIONS == partition
        };
        let payloads: Vec<_> = reports
            .iter()
            .filter(of_partition)
            .map(BusReport::encode_to_vec)
            .collect();
        kafka.produce("bus-reports", i32::try_from(partition)?, &payloads)?;
    }
    // What is no report is counted, and stops nothing.
    kafka.produce("bus-reports", 0, &[b"\x0a\xff"])?;
    let output = folder.path().join("kafka.ndjson");
    let shown = output.display().to_string();
    let brokers = format!("source.kafka.brokers={}", kafka.address());
    let mut command = weir([
        "run",
        BUSES,
        "--set",
        &brokers,
        "--set",
        "time.idle_after=2s",
        "--workers",
        "2",
        "--output",
        &shown,
    ]);
    let mut service = Service::start(&mut command, &folder)?;
    service.await_metric("weir_source_records_total", &[], reports.len() as f64 + 1.0)?;
    service.await_metric("weir_decode_errors_total", &[("reason", "malformed")], 1.0)?;
    // The first two minutes are closed by what follows them.
    let is_early = |sample: &Sample| sample.timestamp_ms <= (START_S + 120) * 1_000;
    let early = |samples: Vec<Sample>| samples.into_iter().filter(is_early).collect::<Vec<_>>();
    let expected = early(expected);
    service.await_condition("two windows", || {
        read(&output).is_ok_and(|(_, others)| early(others).len() >= expected.len())
    })?;
    service.stop()?;
    let (_, others) = read(&output)?;
    assert_eq!(early(others), expected);
    Ok(())
}
