//! What each receiver answers to each kind of request, and what of it is kept: docs/receivers.md.
//!
//! The requests are made by hand, since weir's own sender makes most of them impossible. A column is
//! compared where the receiver is of the version that the page names.

use std::fs;

use anyhow::{Context as _, Result, ensure};

use super::{HOUR, KINDS, Kind, Limits, MINUTE, Receiver, SECOND, expect_same, now_ms};
use crate::markdown::hold_to_file;
use crate::support::files::repository;
use crate::support::http::Response;
use crate::support::remote_write::{TimeSeries, VERSION_1, send, send_2, send_body};
use crate::support::samples::Sample;

const PAGE: &str = "docs/receivers.md";

/// Between these lines of the page stands what is written here.
const BEGIN: &str = "<!-- measured -->";
const END: &str = "<!-- end -->";

const NEWER: &str = "Remote-Write 2.0";
const NEWER_LATE: &str = "Remote-Write 2.0, a minute out of order";

/// What is sent last of a case; its answer counts.
#[derive(Debug)]
enum Request {
    Series(Vec<TimeSeries>),
    /// By Remote-Write 2.0.
    Series2(Vec<TimeSeries>),
    /// Not even a message; its samples are none.
    Bytes(Vec<u8>),
}

/// A row of the table.
#[derive(Debug)]
struct Case {
    name: &'static str,
    limits: Limits,
    /// What is there already; each receiver takes it.
    before: Vec<TimeSeries>,
    request: Request,
}

/// One receiver's column.
#[derive(Debug)]
struct Column {
    title: String,
    cells: Vec<String>,
}

/// A series of a case, told from others by `series`; selected by `case`.
fn series(case: &str, series: &str, points: &[(i64, f64)]) -> TimeSeries {
    labelled(case, series, &[], points)
}

/// The same with further labels, which come last.
fn labelled(case: &str, series: &str, more: &[(&str, &str)], points: &[(i64, f64)]) -> TimeSeries {
    let case = id(case);
    let mut labels = vec![("__name__", "answers"), ("case", &case), ("series", series)];
    labels.extend(more);
    TimeSeries::new(&labels, points)
}

/// A label value for a case that is short enough for every limit.
fn id(case: &str) -> String {
    format!("{:08x}", crc32fast::hash(case.as_bytes()))
}

fn case(name: &'static str, before: Vec<TimeSeries>, request: Vec<TimeSeries>) -> Case {
    Case {
        name,
        limits: as_it_comes(),
        before,
        request: Request::Series(request),
    }
}

/// No server is told to do away with doubles.
fn as_it_comes() -> Limits {
    Limits {
        doubles: true,
        ..Limits::default()
    }
}

/// A bad series between two good ones.
fn between(name: &'static str, at: i64, bad: TimeSeries) -> Case {
    let request = vec![
        series(name, "a", &[(at, 1.0)]),
        bad,
        series(name, "z", &[(at, 1.0)]),
    ];
    case(name, vec![], request)
}

fn cases_of_order(at: i64) -> Vec<Case> {
    let later = at + MINUTE;
    let window = Limits {
        window: Some("1h"),
        ..as_it_comes()
    };
    let late_by = |name: &'static str, by: i64| {
        case(
            name,
            vec![series(name, "a", &[(later, 1.0)])],
            vec![
                series(name, "a", &[(later - by, 2.0)]),
                series(name, "z", &[(later, 1.0)]),
            ],
        )
    };
    let late = |name: &'static str| late_by(name, MINUTE);
    vec![
        case(
            "in order",
            vec![series("in order", "a", &[(at, 1.0)])],
            vec![
                series("in order", "a", &[(later, 2.0)]),
                series("in order", "z", &[(later, 1.0)]),
            ],
        ),
        case(
            "the newest sample again",
            vec![series("the newest sample again", "a", &[(at, 1.0)])],
            vec![
                series("the newest sample again", "a", &[(at, 1.0)]),
                series("the newest sample again", "z", &[(at, 1.0)]),
            ],
        ),
        case(
            "an older sample again",
            vec![series(
                "an older sample again",
                "a",
                &[(at, 1.0), (later, 2.0)],
            )],
            vec![
                series("an older sample again", "a", &[(at, 1.0)]),
                series("an older sample again", "z", &[(at, 1.0)]),
            ],
        ),
        case(
            "the newest time with another value",
            vec![series(
                "the newest time with another value",
                "a",
                &[(at, 1.0)],
            )],
            vec![
                series("the newest time with another value", "a", &[(at, 2.0)]),
                series("the newest time with another value", "z", &[(at, 1.0)]),
            ],
        ),
        late("a minute out of order"),
        Case {
            limits: window.clone(),
            ..late("the same with `out_of_order_time_window: 1h`")
        },
        Case {
            limits: window,
            ..late_by(
                "3 hours out of order with `out_of_order_time_window: 1h`",
                3 * HOUR,
            )
        },
        case(
            "out of order within the request",
            vec![],
            vec![
                series(
                    "out of order within the request",
                    "a",
                    &[(later, 1.0), (at, 2.0)],
                ),
                series("out of order within the request", "z", &[(at, 1.0)]),
            ],
        ),
    ]
}

fn cases_of_labels(at: i64) -> Vec<Case> {
    let low = Limits {
        low: true,
        ..as_it_comes()
    };
    let point = [(at, 1.0)];
    let one = |name: &'static str, more: &[(&str, &str)]| {
        between(name, at, labelled(name, "bad", more, &point))
    };
    let many = [("u", "1"), ("v", "1"), ("w", "1"), ("x", "1")];
    vec![
        one("a label twice", &[("text", "1"), ("text", "2")]),
        one("a label name with a hyphen", &[("text-1", "x")]),
        one("an empty label value", &[("text", "")]),
        one("labels not sorted", &[("about", "x")]),
        between(
            "no metric name",
            at,
            TimeSeries::new(
                &[("case", &id("no metric name")), ("series", "bad")],
                &point,
            ),
        ),
        Case {
            limits: low.clone(),
            ..one("more labels than `-maxLabelsPerTimeseries`", &many)
        },
        Case {
            limits: low,
            ..one(
                "a longer value than `-maxLabelValueLen`",
                &[("text", "a value that is cut off")],
            )
        },
    ]
}

fn cases_of_requests(at: i64) -> Vec<Case> {
    let bytes = |name: &'static str, bytes: Vec<u8>| Case {
        name,
        limits: as_it_comes(),
        before: vec![],
        request: Request::Bytes(bytes),
    };
    vec![
        Case {
            request: Request::Series2(vec![series(NEWER, "a", &[(at, 1.0)])]),
            ..case(NEWER, vec![], vec![])
        },
        Case {
            request: Request::Series2(vec![
                series(NEWER_LATE, "a", &[(at, 2.0)]),
                series(NEWER_LATE, "z", &[(at, 1.0)]),
            ]),
            ..case(
                NEWER_LATE,
                vec![series(NEWER_LATE, "a", &[(at + MINUTE, 1.0)])],
                vec![],
            )
        },
        bytes("no message of the protocol", b"\x0a\x05hello".to_vec()),
        bytes("33 MiB before compression", large()),
    ]
}

/// A message with 33 MiB in a field that nobody knows, which is to be skipped.
fn large() -> Vec<u8> {
    const LENGTH: usize = 33 << 20;
    // Field 15, bytes.
    let mut message = vec![0x7a];
    prost::encoding::encode_varint(LENGTH as u64, &mut message);
    message.resize(message.len() + LENGTH, 0);
    message
}

/// What is too old or too new. After samples of the future a receiver may refuse the present.
fn cases_of_time(now: i64) -> Vec<Case> {
    let low = || Limits {
        low: true,
        ..as_it_comes()
    };
    let at = |name: &'static str, time: i64| Case {
        limits: low(),
        ..case(
            name,
            vec![series(name, "z", &[(now - MINUTE, 1.0)])],
            vec![
                series(name, "bad", &[(time, 1.0)]),
                series(name, "z", &[(now, 2.0)]),
            ],
        )
    };
    vec![
        at("50 hours old (`-retentionPeriod=1d`)", now - 50 * HOUR),
        at("5 minutes ahead", now + 5 * MINUTE),
        at("15 minutes ahead", now + 15 * MINUTE),
        at("3 days ahead", now + 72 * HOUR),
        Case {
            before: vec![],
            ..at("now, behind the samples of the rows above", now)
        },
    ]
}

/// The samples that a receiver is asked to keep. A label without a value is no label.
fn samples_of(all: &[TimeSeries]) -> Vec<Sample> {
    let mut samples: Vec<Sample> = all.iter().flat_map(TimeSeries::samples).collect();
    for sample in &mut samples {
        sample.labels.retain(|_, value| !value.is_empty());
    }
    samples
}

/// Sends the request of a case, and says what came of it.
fn cell(receiver: &Receiver, case: &Case) -> Result<String> {
    let url = receiver.url();
    let before = samples_of(&case.before);
    let selector = format!("{{case={:?}}}", id(case.name));
    if !case.before.is_empty() {
        let answer = send(&url, case.before.clone())?;
        ensure!(answer.status == 204, "{answer:?}");
        expect_same(&receiver.samples(&selector)?, &before)?;
    }
    let (answer, sent) = match &case.request {
        Request::Series(all) => (send(&url, all.clone())?, samples_of(all)),
        Request::Series2(all) => (send_2(&url, all)?, samples_of(all)),
        Request::Bytes(bytes) => return Ok(words(&send_body(&url, VERSION_1, bytes)?)),
    };
    let mut found = receiver.samples(&selector)?;
    let all_found = found.len();
    found.dedup();
    let (kept, asked) = (except(&found, &before), except(&sent, &before));
    let as_sent = kept.iter().filter(|sample| asked.contains(sample)).count();
    let mut cell = words(&answer);
    cell.push_str(&match as_sent {
        0 => "; nothing kept".to_owned(),
        all if all == asked.len() => "; all kept".to_owned(),
        some => format!("; {some} of {} kept", asked.len()),
    });
    if kept.len() > as_sent {
        cell.push_str(&format!(", {} with other labels", kept.len() - as_sent));
    }
    if found.len() < all_found {
        cell.push_str(&format!(", {} twice", all_found - found.len()));
    }
    Ok(cell)
}

/// What is among samples and not among others.
fn except<'a>(samples: &'a [Sample], others: &[Sample]) -> Vec<&'a Sample> {
    let samples = samples.iter();
    samples.filter(|sample| !others.contains(sample)).collect()
}

/// Status and words of an answer, without the numbers that differ from run to run.
fn words(answer: &Response) -> String {
    let mut text = answer.status.to_string();
    let body: String = answer.body.split_whitespace().collect::<Vec<_>>().join(" ");
    if !body.is_empty() {
        text.push_str(&format!(" `{}`", shown(&body)));
    }
    if let Some(written) = answer
        .headers
        .get("x-prometheus-remote-write-samples-written")
    {
        text.push_str(&format!(", Written {written}"));
    }
    text
}

/// At most so much of a body, and what differs from run to run left out.
fn shown(body: &str) -> String {
    let mut out = String::new();
    // Within code marks there are none.
    let body = body.replace('`', "'");
    for word in body.split(' ') {
        let digits = word.chars().filter(char::is_ascii_digit).count();
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(if digits > 9 { "…" } else { word });
    }
    out.replace('|', "\\|")
}

fn column(kind: Kind) -> Result<Column> {
    let now = now_ms()? / SECOND * SECOND;
    let at = now - 10 * MINUTE;
    let mut servers: Vec<(Limits, Receiver)> = Vec::new();
    let mut cells = Vec::new();
    let mut version = String::new();
    let cases = [
        cases_of_order(at),
        cases_of_labels(at),
        cases_of_requests(at),
        cases_of_time(now),
    ];
    for case in cases.iter().flatten() {
        let known = servers
            .iter()
            .position(|(limits, _)| *limits == case.limits);
        let place = match known {
            Some(place) => place,
            None => {
                servers.push((
                    case.limits.clone(),
                    Receiver::start_with(kind, &case.limits)?,
                ));
                servers.len() - 1
            }
        };
        let (_, receiver) = servers.get(place).context("no such server")?;
        version = receiver.version()?;
        cells.push(cell(receiver, case).with_context(|| format!("{kind:?}, {}", case.name))?);
    }
    let title = match kind {
        Kind::Prometheus2 | Kind::Prometheus3 => format!("Prometheus {version}"),
        Kind::VictoriaMetrics => format!("VictoriaMetrics {version}"),
    };
    Ok(Column { title, cells })
}

fn names() -> Vec<&'static str> {
    let cases = [
        cases_of_order(0),
        cases_of_labels(0),
        cases_of_requests(0),
        cases_of_time(0),
    ];
    cases.iter().flatten().map(|case| case.name).collect()
}

/// The columns of the page's table by their titles.
fn held(table: &str) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    for (number, line) in table
        .lines()
        .filter(|line| line.starts_with('|'))
        .enumerate()
    {
        let cells = line.trim_matches('|').split(" | ").map(str::trim).skip(1);
        for (place, cell) in cells.enumerate() {
            match (number, columns.get_mut(place)) {
                (0, _) => columns.push(Column {
                    title: cell.to_owned(),
                    cells: Vec::new(),
                }),
                (1, _) | (_, None) => {}
                (_, Some(column)) => column.cells.push(cell.to_owned()),
            }
        }
    }
    columns
}

fn table(columns: &[Column]) -> String {
    let titles: Vec<&str> = columns.iter().map(|column| column.title.as_str()).collect();
    let mut text = format!("| Request | {} |\n", titles.join(" | "));
    text.push_str(&format!("|---|{}\n", "---|".repeat(columns.len())));
    for (number, name) in names().into_iter().enumerate() {
        let cells = columns.iter().filter_map(|column| column.cells.get(number));
        let cells: Vec<&str> = cells.map(String::as_str).collect();
        text.push_str(&format!("| {name} | {} |\n", cells.join(" | ")));
    }
    text
}

#[test]
fn the_page_says_what_receivers_answer() -> Result<()> {
    let path = repository().join(PAGE);
    let page = fs::read_to_string(&path).unwrap_or_default();
    let (head, rest) = page.split_once(BEGIN).context("the page has no mark")?;
    let (old, tail) = rest.split_once(END).context("the page has no end mark")?;
    let update = std::env::var_os("UPDATE").is_some_and(|value| value == "1");
    let mut columns = Vec::new();
    for (place, kind) in KINDS.into_iter().enumerate() {
        let found = column(kind)?;
        // Another version of a distribution's server may answer otherwise: the page is of one.
        let known = held(old).into_iter().nth(place);
        match known {
            Some(known) if known.title != found.title && !update => columns.push(known),
            _ => columns.push(found),
        }
    }
    let text = format!("{head}{BEGIN}\n{}{END}{tail}", table(&columns));
    hold_to_file(&path, &text)
}
