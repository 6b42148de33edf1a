//! The metrics of `pipelines/connected-cars.yaml`.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::samples::Sample;

use super::event::{Event, read};
use super::metric::{Labels, Metric, labels_from};

/// Models by vehicle.
pub(crate) type Models = BTreeMap<String, String>;

const WINDOW_MS: i64 = 5_000;

/// What the pipeline must give.
pub(crate) struct Cars {
    /// The samples by series and time.
    pub(crate) samples: Vec<Sample>,
    /// How many events were late for each metric.
    pub(crate) late: BTreeMap<&'static str, u64>,
}

/// Evaluates the pipeline over some splits, each a text with an event a line.
pub(crate) fn connected_cars(splits: &[Vec<u8>], models: &Models) -> Cars {
    let events = read(splits);
    let labels = |event: &Event| labels_of(event, models);
    let metrics = [
        Metric {
            name: "vehicles_in_motion",
            window_ms: WINDOW_MS,
            filter: &|event| event.is("IC_RPM") || event.is("ELECTRIC_RPM"),
            labels: &labels,
            value: &|events| Some(vehicles(events, |measurement| measurement != 0.0)),
        },
        Metric {
            name: "vehicles_reporting",
            window_ms: WINDOW_MS,
            filter: &|_| true,
            labels: &labels,
            value: &|events| Some(distinct(events.iter().copied())),
        },
        Metric {
            name: "warnings",
            window_ms: WINDOW_MS,
            filter: &|event| event.is("WARNINGS"),
            labels: &labels,
            value: &sum_of_firsts,
        },
    ];
    let mut cars = Cars {
        samples: Vec::new(),
        late: BTreeMap::new(),
    };
    for metric in metrics {
        let evaluated = metric.evaluate(&events);
        cars.samples.extend(evaluated.samples);
        cars.late.insert(metric.name, evaluated.late);
    }
    cars.samples.sort();
    cars
}

fn labels_of(event: &Event, models: &Models) -> Labels {
    let mut labels = labels_from(event, &[("region", "region")]);
    let model = event
        .text("vehicleId")
        .and_then(|vehicle| models.get(&vehicle));
    labels.insert(
        "model".to_owned(),
        model.map_or("unknown", String::as_str).to_owned(),
    );
    labels
}

/// How many vehicles have a measurement like that.
fn vehicles(events: &[&Event], is_wanted: impl Fn(f64) -> bool) -> f64 {
    let wanted = |event: &&Event| event.number("measurement").is_some_and(&is_wanted);
    distinct(events.iter().copied().filter(wanted))
}

fn distinct<'a>(events: impl Iterator<Item = &'a Event>) -> f64 {
    let vehicles: BTreeSet<_> = events.filter_map(|event| event.text("vehicleId")).collect();
    vehicles.len() as f64
}

/// The sum of each vehicle's first measurement.
fn sum_of_firsts(events: &[&Event]) -> Option<f64> {
    let mut first: BTreeMap<String, f64> = BTreeMap::new();
    for event in events {
        if let (Some(vehicle), Some(lights)) =
            (event.text("vehicleId"), event.number("measurement"))
        {
            first.entry(vehicle).or_insert(lights);
        }
    }
    (!first.is_empty()).then(|| first.values().sum())
}

#[test]
fn a_window_by_hand() {
    let line = |kind, vehicle, time_ms: i64, measurement| {
        format!(
            "{{\"eventType\":\"{kind}\",\"vehicleId\":\"{vehicle}\",\"region\":\"UK\",\
             \"timestamp\":{time_ms},\"measurement\":{measurement}}}\n"
        )
    };
    let base = 1_730_621_750_000;
    let events = [
        line("IC_RPM", "A", base, 0),
        line("IC_RPM", "A", base + 1, 900),
        line("ELECTRIC_RPM", "A", base + 2, -5),
        line("IC_RPM", "B", base + 4_999, 0),
        line("WARNINGS", "A", base + 10, 2),
        line("WARNINGS", "A", base + 9, 3),
        line("WARNINGS", "C", base + 9, 4),
        line("WARNINGS", "A", base + 5_000, 1),
    ];
    let models = [("A", "Helion"), ("B", "Helion")];
    let models = models.map(|(vehicle, model)| (vehicle.to_owned(), model.to_owned()));
    let cars = connected_cars(&[events.concat().into_bytes()], &models.into());
    let helion = [("model", "Helion"), ("region", "UK")];
    let unknown = [("model", "unknown"), ("region", "UK")];
    let (first, second) = (base + 5_000, base + 10_000);
    let expected = [
        Sample::new("vehicles_in_motion", &helion, first, 1.0),
        Sample::new("vehicles_reporting", &helion, first, 2.0),
        Sample::new("vehicles_reporting", &helion, second, 1.0),
        Sample::new("vehicles_reporting", &unknown, first, 1.0),
        Sample::new("warnings", &helion, first, 3.0),
        Sample::new("warnings", &helion, second, 1.0),
        Sample::new("warnings", &unknown, first, 4.0),
    ];
    assert_eq!(cars.samples, expected);
    assert!(cars.late.values().all(|late| *late == 0));
}
