//! The chargers of `pipelines/chargers.yaml`: meter values of OCPP 1.6 over HTTP, and what must come of them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use serde_json::{Value, json};

use crate::http_push::address;
use crate::reference::fleet::START_MS;
use crate::reference::service::Service;
use crate::support::files::{repository, temporary_folder, weir};
use crate::support::http;
use crate::support::samples::{Sample, read_ndjson};

/// The start of a minute, ms since the epoch.
const MINUTE: i64 = START_MS / 60_000 * 60_000;

/// How often a charger samples, ms, and how often it does.
const EVERY: i64 = 10_000;
const TIMES: i64 = 18;

/// How many of these are in a message.
const TOGETHER: i64 = 2;

/// A charger: its site and model.
struct Charger {
    number: i64,
    site: &'static str,
    model: &'static str,
}

fn chargers() -> Vec<Charger> {
    let sites = ["leeds", "york", "hull"];
    let models = ["Voltline 150", "Ampera 50"];
    let (sites, models) = (sites.into_iter().cycle(), models.into_iter().cycle());
    let kinds = (0..12).zip(sites.zip(models));
    kinds
        .map(|(number, (site, model))| Charger {
            number,
            site,
            model,
        })
        .collect()
}

impl Charger {
    fn time(&self, turn: i64) -> i64 {
        MINUTE + turn * EVERY + self.number * 100
    }

    /// Power in W; whole kilowatts, so that no sum is rounded.
    fn power(&self, turn: i64) -> i64 {
        1_000 * (self.number * 7 + turn * 3) % 150_000
    }

    /// The register in Wh; whole eighths of a kilowatt-hour, for the same reason.
    fn energy(&self, turn: i64) -> i64 {
        10_000 * self.number + turn * 125 * (8 + self.number)
    }

    /// Degrees; some chargers have no sensor, and say so instead of a number.
    fn temperature(&self, turn: i64) -> Option<i64> {
        (self.number % 5 != 2).then_some(30 + (self.number + turn * 7) % 20)
    }

    /// What is sampled at once, as MeterValues.req of OCPP 1.6 has it: all values are texts.
    fn meter_value(&self, turn: i64) -> Value {
        // Some report in thousands.
        let in_thousands = self.number % 3 == 0;
        let of = |unit: &str, value: i64| match in_thousands {
            true => {
                json!({ "value": (value as f64 / 1_000.0).to_string(), "unit": format!("k{unit}") })
            }
            false => json!({ "value": value.to_string(), "unit": unit }),
        };
        let with = |mut sample: Value, more: &[(&str, &str)]| {
            if let Value::Object(members) = &mut sample {
                let more = more.iter();
                members.extend(more.map(|(key, value)| ((*key).to_owned(), json!(value))));
            }
            sample
        };
        let power = |value: i64| with(of("W", value), &[("measurand", "Power.Active.Import")]);
        let mut energy = of("Wh", self.energy(turn));
        // Where these are left out, they are the energy, in Wh.
        if self.number % 2 == 0 {
            energy = with(energy, &[("measurand", "Energy.Active.Import.Register")]);
        } else if !in_thousands {
            energy = json!({ "value": self.energy(turn).to_string() });
        }
        let temperature = self.temperature(turn);
        let temperature = temperature.map_or("none".to_owned(), |degrees| degrees.to_string());
        let time = jiff::Timestamp::from_millisecond(self.time(turn)).map(|time| time.to_string());
        json!({
            "timestamp": time.unwrap_or_default(),
            "sampledValue": [
                with(energy, &[("context", "Sample.Periodic")]),
                power(self.power(turn)),
                with(power(9_999_000), &[("phase", "L1")]),
                { "value": temperature, "measurand": "Temperature", "location": "Outlet", "unit": "Celsius" },
            ],
        })
    }

    fn message(&self, first: i64) -> Value {
        let sampled: Vec<_> = (first..first + TOGETHER)
            .map(|turn| self.meter_value(turn))
            .collect();
        json!({
            "chargePoint": {
                "id": format!("UK-{:04}", self.number), "site": self.site, "model": self.model },
            "connectorId": 1,
            "transactionId": 7_000 + self.number,
            "meterValue": sampled,
        })
    }
}

/// The values by name, site, model and the window's end.
fn expected() -> Vec<Sample> {
    let mut sums: BTreeMap<(&str, &str, &str, i64), f64> = BTreeMap::new();
    let mut hottest: BTreeMap<(&str, &str, i64), i64> = BTreeMap::new();
    for charger in chargers() {
        let mut power = BTreeMap::new();
        let mut energy: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
        let mut ends = BTreeSet::new();
        for turn in 0..TIMES {
            let end = |size: i64| (charger.time(turn).div_euclid(size) + 1) * size;
            power.insert(end(30_000), charger.power(turn));
            ends.insert(end(30_000));
            if let Some(degrees) = charger.temperature(turn) {
                let place = (charger.site, charger.model, end(30_000));
                let hottest = hottest.entry(place).or_insert(degrees);
                *hottest = degrees.max(*hottest);
            }
            let reading = charger.energy(turn);
            let (least, most) = energy.entry(end(60_000)).or_insert((reading, reading));
            (*least, *most) = (reading.min(*least), reading.max(*most));
        }
        let mut add = |name, end, value: f64| {
            *sums
                .entry((name, charger.site, charger.model, end))
                .or_default() += value;
        };
        for (end, power) in power {
            add("charging_power_watts", end, power as f64);
        }
        for (end, (least, most)) in energy {
            add("session_energy_watt_hours", end, (most - least) as f64);
        }
        for end in ends {
            add("chargers_reporting", end, 1.0);
        }
    }
    let hottest = hottest.into_iter().map(|((site, model, end), degrees)| {
        (
            ("charger_temperature_celsius", site, model, end),
            degrees as f64,
        )
    });
    sums.extend(hottest);
    let sample = |((name, site, model, end), value): (&(&str, &str, &str, i64), &f64)| {
        Sample::new(name, &[("model", model), ("site", site)], *end, *value)
    };
    let mut samples: Vec<_> = sums.iter().map(sample).collect();
    samples.sort();
    samples
}

fn post(service: &Service, body: &Value) -> Result<()> {
    let url = format!("http://{}/ingest/chargers", address(service)?);
    let headers = [("Content-Type", "application/json")];
    let response = http::post(&url, &headers, body.to_string().as_bytes())?;
    assert_eq!(response.status, 202, "{}", response.body);
    Ok(())
}

#[test]
fn meter_values_over_http_become_samples_by_site_and_model() -> Result<()> {
    let folder = temporary_folder()?;
    let file = repository().join("pipelines/chargers.yaml");
    let letters = folder.path().join("letters.ndjson");
    let mut command = weir([]);
    command
        .arg("run")
        .arg(file)
        .args(["--output", "samples.ndjson", "--workers", "2"])
        .current_dir(folder.path())
        .env("CHARGERS_LISTEN", "127.0.0.1:0")
        .env("CHARGERS_LETTERS", &letters);
    let mut service = Service::start(&mut command, &folder)?;
    for first in (0..TIMES / TOGETHER).map(|message| message * TOGETHER) {
        // A gateway forwards those of a turn together.
        let messages: Vec<_> = chargers().iter().map(|one| one.message(first)).collect();
        post(&service, &Value::from(messages))?;
    }
    post(&service, &json!({ "chargePoint": { "id": "UK-0099" } }))?;
    let events = 12 * TIMES * 4;
    service.await_metric("weir_events_total", &[], events as f64)?;
    service.await_metric(
        "weir_dead_letters_total",
        &[("reason", "not_an_array")],
        1.0,
    )?;
    // What cannot be read again is written when it stops, open windows and all.
    service.stop()?;
    let mut samples = read_ndjson(&folder.path().join("samples.ndjson"))?;
    samples.sort();
    assert_eq!(samples, expected());
    Ok(())
}
