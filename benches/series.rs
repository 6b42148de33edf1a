//! What grows: the points of each curve, with their inputs and pipelines.

use std::path::Path;

use anyhow::Result;
use weir::config::Overrides;

use crate::engine::Job;
use crate::fleet::{Inputs, Size};
use crate::records::Records;
use crate::two_metrics;

/// What grows.
pub(crate) struct Series {
    /// The name in files.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// The x axis, with its unit.
    pub(crate) axis: &'static str,
    /// Whether the state grows with it, and is shown.
    pub(crate) shows_state: bool,
    /// Writes the inputs to a folder and gives the jobs, with a divisor of the numbers of events.
    pub(crate) jobs: fn(&Path, u64) -> Result<Vec<Planned>>,
}

/// A point that is to be measured.
pub(crate) struct Planned {
    pub(crate) curve: &'static str,
    pub(crate) x: u32,
    pub(crate) job: Job,
}

/// All series.
pub(crate) const SERIES: [Series; 6] = [
    Series {
        name: "vehicles",
        title: "vehicles",
        axis: "vehicles",
        shows_state: true,
        jobs: vehicles,
    },
    Series {
        name: "fields",
        title: "fields an event",
        axis: "fields an event",
        shows_state: false,
        jobs: fields,
    },
    Series {
        name: "metrics",
        title: "metrics",
        axis: "metrics",
        shows_state: false,
        jobs: metrics,
    },
    Series {
        name: "groups",
        title: "groups",
        axis: "groups of the metric",
        shows_state: true,
        jobs: groups,
    },
    Series {
        name: "overlap",
        title: "the overlap of sliding windows",
        axis: "windows that an event is in (size ÷ slide)",
        shows_state: false,
        jobs: overlap,
    },
    Series {
        name: "depth",
        title: "the depth of an expression",
        axis: "operators in the expression",
        shows_state: false,
        jobs: depth,
    },
];

/// How many events most points take.
const EVENTS: u64 = 2_000_000;
/// The most events of a point with many vehicles.
const MOST_EVENTS: u64 = 12_000_000;
/// The longest input of a point with wide events, bytes: it is the bytes that take the time.
const WIDE_BYTES: u64 = 400_000_000;
/// The most events times metrics of a point: more would take too long.
const ROWS_OF_ALL_METRICS: u64 = 20_000_000;

/// Connected cars: the two metrics of the bench `limit`. Every vehicle is there ten times, or as often
/// as the longest input allows: what is seen for the first time costs more.
fn vehicles(folder: &Path, divisor: u64) -> Result<Vec<Planned>> {
    let mut planned = Vec::new();
    for vehicles in [1_000, 10_000, 100_000, 300_000, 1_000_000, 3_000_000] {
        let events = (10 * u64::from(vehicles)).clamp(EVENTS, MOST_EVENTS) / divisor;
        let size = Size {
            vehicles,
            events_per_second: 300_000,
            events,
        };
        let inputs = Inputs::write(folder, size, 1)?;
        planned.push(Planned {
            curve: "connected cars",
            x: vehicles,
            job: two_metrics::job(&inputs, 1, Path::new("/dev/null")),
        });
    }
    Ok(planned)
}

/// Wider and wider events, of which the pipeline reads a part or everything.
fn fields(folder: &Path, divisor: u64) -> Result<Vec<Planned>> {
    let mut planned = Vec::new();
    for count in [3_u32, 10, 30, 100, 200] {
        let mut records = Records {
            events: 0,
            events_per_second: 100_000,
            texts: &[("device", 1_000)],
            groups: None,
            numbers: count as usize - 2,
        };
        let bytes_per_event = 40 + 14 * u64::from(count);
        records.events = EVENTS.min(WIDE_BYTES / bytes_per_event) / divisor;
        let input = records.write(folder, &format!("fields-{count}"))?;
        let metric = metric(0, "", "{ tumbling: 5s }", "", "avg(v0)");
        for (curve, numbers) in [("3 of them read", 1), ("all read", records.numbers)] {
            let read = Records { numbers, ..records };
            planned.push(Planned {
                curve,
                x: count,
                job: job(&read, &input, "", &metric),
            });
        }
    }
    Ok(planned)
}

/// More and more metrics: copies of one, or each with a condition, labels and a value of its own.
fn metrics(folder: &Path, divisor: u64) -> Result<Vec<Planned>> {
    const LABELS: [&str; 7] = [
        "kind",
        "region",
        "model",
        "kind, region",
        "kind, model",
        "region, model",
        "kind, region, model",
    ];
    const FUNCTIONS: [&str; 5] = ["avg", "sum", "min", "max", "count"];
    let mut planned = Vec::new();
    for count in [1_u32, 3, 10, 25, 50] {
        let records = Records {
            events: EVENTS.min(ROWS_OF_ALL_METRICS / u64::from(count)) / divisor,
            events_per_second: 100_000,
            texts: &[("kind", 4), ("region", 16), ("model", 8)],
            groups: None,
            numbers: 6,
        };
        let input = records.write(folder, &format!("metrics-{count}"))?;
        let (mut same, mut different) = (String::new(), String::new());
        for number in 0..count as usize {
            let window = "{ tumbling: 5s }";
            same += &metric(number, "v0 > 50", window, "region, model", "avg(v1)");
            let pick =
                |names: &[&'static str]| names.get(number % names.len()).copied().unwrap_or("");
            let condition = format!("v{} > {}", number % 6, 45 + number % 10);
            let value = format!("{}(v{})", pick(&FUNCTIONS), (number + 1) % 6);
            different += &metric(number, &condition, window, pick(&LABELS), &value);
        }
        for (curve, metrics) in [("same where and by", same), ("all different", different)] {
            planned.push(Planned {
                curve,
                x: count,
                job: job(&records, &input, "", &metrics),
            });
        }
    }
    Ok(planned)
}

/// More and more series of one metric.
fn groups(folder: &Path, divisor: u64) -> Result<Vec<Planned>> {
    let mut planned = Vec::new();
    for count in [10, 100, 1_000, 10_000, 100_000, 1_000_000] {
        let records = Records {
            events: EVENTS / divisor,
            events_per_second: 200_000,
            texts: &[("device", 0)],
            groups: Some(count),
            numbers: 2,
        };
        let input = records.write(folder, &format!("groups-{count}"))?;
        let metric = metric(0, "", "{ tumbling: 5s }", "device", "avg(v0)");
        planned.push(Planned {
            curve: "by: [device]",
            x: count,
            job: job(&records, &input, "", &metric),
        });
    }
    Ok(planned)
}

/// Longer and longer sliding windows with one slide.
fn overlap(folder: &Path, divisor: u64) -> Result<Vec<Planned>> {
    let records = Records {
        events: EVENTS / divisor,
        events_per_second: 10_000,
        texts: &[("device", 1_000)],
        groups: None,
        numbers: 2,
    };
    let input = records.write(folder, "overlap")?;
    let planned = [1_u32, 2, 6, 12, 30, 60].map(|count| {
        let window = format!("{{ sliding: {count}s, slide: 1s }}");
        Planned {
            curve: "slide of 1 s",
            x: count,
            job: job(
                &records,
                &input,
                "",
                &metric(0, "", &window, "device", "avg(v0)"),
            ),
        }
    });
    Ok(planned.into())
}

/// Deeper and deeper expressions of numbers, and of a text with a thousand values.
fn depth(folder: &Path, divisor: u64) -> Result<Vec<Planned>> {
    let records = Records {
        events: EVENTS / divisor,
        events_per_second: 100_000,
        texts: &[("device", 1_000)],
        groups: None,
        numbers: 2,
    };
    let input = records.write(folder, "depth")?;
    let mut planned = Vec::new();
    for count in [1_u32, 2, 5, 10, 20, 50] {
        // Operators of one rank group to the left: each takes the one before as its operand.
        let mut number = "v0".to_owned();
        let mut text = "device".to_owned();
        for step in 0..count {
            number += if step % 2 == 0 { " + v1" } else { " - 0.5" };
            // The comparison is an operator as well.
            if step > 0 {
                text += " || 'x'";
            }
        }
        let derive = format!("derive: {{ depth: \"{number}\" }}\n");
        let window = "{ tumbling: 5s }";
        planned.push(Planned {
            curve: "of numbers",
            x: count,
            job: job(
                &records,
                &input,
                &derive,
                &metric(0, "", window, "", "avg(depth)"),
            ),
        });
        let condition = format!("{text} <> 'y'");
        planned.push(Planned {
            curve: "of one text",
            x: count,
            job: job(
                &records,
                &input,
                "",
                &metric(0, &condition, window, "", "avg(v0)"),
            ),
        });
    }
    Ok(planned)
}

/// A metric's lines in the pipeline file.
fn metric(number: usize, condition: &str, window: &str, by: &str, value: &str) -> String {
    let mut line = format!("  m{number}: {{ window: {window}, value: \"{value}\"");
    if !condition.is_empty() {
        line += &format!(", where: \"{condition}\"");
    }
    if !by.is_empty() {
        line += &format!(", by: [{by}]");
    }
    line + " }\n"
}

/// One worker over one file with these fields.
fn job(fields: &Records, input: &Path, derive: &str, metrics: &str) -> Job {
    let mut pipeline = String::from(
        "pipeline: growth
source: { file: { path: none }, decode: json }
event:
  time: { from: timestamp, unit: ms }
  fields:
",
    );
    for (text, _) in fields.texts {
        pipeline += &format!("    {text}: text\n");
    }
    for field in 0..fields.numbers {
        pipeline += &format!("    v{field}: number\n");
    }
    pipeline += &format!(
        "time: {{ out_of_order: 2s }}\n{derive}metrics:\n{metrics}\
         write: {{ file: {{ path: /dev/null }} }}\n"
    );
    Job {
        pipeline,
        overrides: Overrides {
            set: Vec::new(),
            input: vec![input.display().to_string()],
            output: None,
        },
        workers: 1,
        events: fields.events,
    }
}
