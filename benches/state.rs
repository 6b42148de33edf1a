//! What state costs: checkpoints of a pipeline that runs, a start with state, a receiver that is away,
//! the durable log and the journal.
//!
//! Everything runs as the command `weir run` in a process of its own, but for the durable log. What is
//! compared takes turns, and each figure is the median of its runs. Figures go to
//! `target/bench/state.jsonl` as well, from which the bench `growth` writes the table of
//! `docs/performance.md`.
//!
//! `cargo bench --profile release --bench state` measures all; names of parts measure only these.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]

mod cars;
mod command;
mod findings;
mod fleet;
mod journals;
mod keyed;
mod machine;
mod parts;
mod peak;
mod receiver;
mod receiver_down;
mod records;
mod restart;
mod steady;

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;

use findings::Findings;
use fleet::{Inputs, Size};
use keyed::Keyed;
use parts::Parts;
use restart::Restart;
use steady::Steady;

/// The fleet of the targets: three readings a second from 100,000 vehicles.
const FLEET: Size = Size {
    vehicles: 100_000,
    events_per_second: 300_000,
    events: 10_000_000,
};
/// Ten minutes of a small fleet.
const TEN_MINUTES: Size = Size {
    vehicles: 3_000,
    events_per_second: 10_000,
    events: 6_000_000,
};
/// A million keys, each many times.
const MANY_KEYS: Keyed = Keyed {
    keys: 1_000_000,
    more: 11_000_000,
};
/// What is started with.
const VERY_MANY_KEYS: Keyed = Keyed {
    keys: 10_000_000,
    more: 3_000_000,
};
/// The parts, as they are named on the command line.
const PARTS: [&str; 8] = [
    "cars",
    "keys",
    "keys-rocksdb",
    "restart-cars",
    "restart-keys",
    "receiver",
    "log",
    "journal",
];

fn main() -> Result<()> {
    let parts = Parts::of_arguments(&PARTS)?;
    let wants = |part: &str| parts.wants(part);
    let began = Instant::now();
    println!("{}", machine::description());
    let mut findings = Findings::create("state")?;
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    if wants("cars") || wants("restart-cars") {
        cars(folder, &wants, &mut findings)?;
    }
    if wants("keys") || wants("keys-rocksdb") {
        keys(folder, &wants, &mut findings)?;
    }
    if wants("restart-keys") {
        restart_keys(folder, &mut findings)?;
    }
    if wants("receiver") {
        let inputs = Inputs::write(folder, TEN_MINUTES, 1)?;
        receiver_down::measure(&inputs, &mut findings)?;
    }
    if wants("log") {
        journals::log(&mut findings)?;
    }
    if wants("journal") {
        journals::requests(folder, &mut findings)?;
    }
    println!("in {:.0} s", began.elapsed().as_secs_f64());
    Ok(())
}

fn cars(folder: &Path, wants: &dyn Fn(&str) -> bool, findings: &mut Findings) -> Result<()> {
    let inputs = Inputs::write(folder, FLEET, 1)?;
    if wants("cars") {
        let steady = Steady {
            name: "connected cars",
            events: FLEET.events,
            backend: "memory",
            every: "250ms",
            pipeline: &|state| cars::pipeline(&inputs, "file: { path: /dev/null }", state),
        };
        steady.measure(findings)?;
    }
    if wants("restart-cars") {
        let restart = Restart {
            name: "100,000 vehicles",
            stop_after: FLEET.events / 2,
            at_most: 2.0,
            pipeline: &|state| cars::pipeline(&inputs, "file: { path: \"-\" }", Some(state)),
        };
        restart.measure(folder, findings)?;
    }
    for file in &inputs.files {
        fs::remove_file(file)?;
    }
    Ok(())
}

fn keys(folder: &Path, wants: &dyn Fn(&str) -> bool, findings: &mut Findings) -> Result<()> {
    let input = MANY_KEYS.write(folder)?;
    let backends = [
        ("keys", "memory", "1,000,000 keys"),
        ("keys-rocksdb", "rocksdb", "1,000,000 keys, backend rocksdb"),
    ];
    for (part, backend, name) in backends {
        if wants(part) {
            let steady = Steady {
                name,
                events: MANY_KEYS.events(),
                backend,
                every: "1s",
                pipeline: &|state| Ok(keyed::pipeline(&input, "/dev/null", state)),
            };
            steady.measure(findings)?;
        }
    }
    Ok(fs::remove_file(input)?)
}

fn restart_keys(folder: &Path, findings: &mut Findings) -> Result<()> {
    let input = VERY_MANY_KEYS.write(folder)?;
    let restart = Restart {
        name: "10,000,000 keys",
        stop_after: VERY_MANY_KEYS.keys,
        at_most: 15.0,
        pipeline: &|state| Ok(keyed::pipeline(&input, "-", Some(state))),
    };
    restart.measure(folder, findings)?;
    Ok(fs::remove_file(input)?)
}
