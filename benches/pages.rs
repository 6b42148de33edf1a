//! `docs/performance.md` and its plots, made from what the benches have written to `target/bench`.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::plot::{Curve, Plot, short};
use crate::points::Point;
use crate::series::{SERIES, Series};

/// Writes the tables between the markers of the page, and the plots.
pub(crate) fn write(points: &[Point]) -> Result<()> {
    let path = docs().join("performance.md");
    let mut page =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    for series in &SERIES {
        let of_series: Vec<_> = points
            .iter()
            .filter(|point| point.series == series.name)
            .collect();
        if of_series.is_empty() {
            continue;
        }
        let image = format!("images/growth-{}.svg", series.name);
        fs::write(docs().join(&image), plot(series, &of_series).svg()?)?;
        let link = format!("![Events a second against {}]({image})", series.title);
        let text = format!("{link}\n\n{}", table(series, &of_series)?);
        page = replaced(&page, series.name, &text)?;
    }
    if let Some(point) = points.first() {
        page = replaced(&page, "machine", &format!("> {}\n", point.machine))?;
    }
    if let Some(limit) = limit_table()? {
        page = replaced(&page, "limit", &limit)?;
    }
    if let Some(state) = state_table()? {
        page = replaced(&page, "state", &state)?;
    }
    fs::write(&path, page)?;
    println!("written: {} and its plots", path.display());
    Ok(())
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

/// The page with another text between the two markers of a name.
fn replaced(page: &str, name: &str, text: &str) -> Result<String> {
    let begin = format!("<!-- begin measured {name} -->\n");
    let end = format!("<!-- end measured {name} -->");
    let missing = || format!("docs/performance.md has no markers for {name:?}");
    let (before, rest) = page.split_once(&begin).with_context(missing)?;
    let (_, after) = rest.split_once(&end).with_context(missing)?;
    Ok(format!("{before}{begin}\n{text}\n{end}{after}"))
}

/// The names of the curves, in the order of their first points.
fn curves<'p>(points: &[&'p Point]) -> Vec<&'p str> {
    let mut names: Vec<&str> = Vec::new();
    for point in points {
        if !names.contains(&point.curve.as_str()) {
            names.push(&point.curve);
        }
    }
    names
}

fn plot(series: &Series, points: &[&Point]) -> Plot {
    let curves = curves(points).into_iter().map(|name| Curve {
        name: name.to_owned(),
        points: points
            .iter()
            .filter(|point| point.curve == name)
            .map(|point| (f64::from(point.x), point.events_per_s / 1e6))
            .collect(),
    });
    Plot {
        title: format!("Events a second against {}", series.title),
        x: series.axis.to_owned(),
        y: "million events/s".to_owned(),
        curves: curves.collect(),
    }
}

fn table(series: &Series, points: &[&Point]) -> Result<String> {
    let curves = curves(points);
    let mut head = vec![series.axis.to_owned()];
    for curve in &curves {
        let prefix = if curves.len() > 1 {
            format!("{curve}: ")
        } else {
            String::new()
        };
        head.push(format!("{prefix}events/s"));
        head.push(format!("{prefix}ns/event"));
    }
    if series.shows_state {
        head.extend(["samples", "open windows", "texts"].map(str::to_owned));
    }
    let mut table = String::new();
    writeln!(
        table,
        "| {} |\n|{}",
        head.join(" | "),
        "---|".repeat(head.len())
    )?;
    let mut rows: Vec<u32> = points.iter().map(|point| point.x).collect();
    rows.sort_unstable();
    rows.dedup();
    for x in rows {
        let mut cells = vec![short(f64::from(x))];
        let in_row: Vec<_> = points.iter().filter(|point| point.x == x).collect();
        for curve in &curves {
            let point = in_row.iter().find(|point| point.curve == *curve);
            cells.push(point.map_or("–".to_owned(), |point| short(point.events_per_s)));
            cells.push(point.map_or("–".to_owned(), |point| {
                format!("{:.0}", point.ns_per_event)
            }));
        }
        if let (true, Some(point)) = (series.shows_state, in_row.first()) {
            cells.push(short(point.samples as f64));
            cells.push(megabytes(point.state_bytes as f64));
            cells.push(megabytes(point.interned_bytes as f64));
        }
        writeln!(table, "| {} |", cells.join(" | "))?;
    }
    Ok(table)
}

fn megabytes(bytes: f64) -> String {
    format!("{:.1} MB", bytes / 1e6)
}

/// The rows of the bench `limit`, where it was run.
fn limit_table() -> Result<Option<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench/summary.jsonl");
    let Ok(rows) = fs::read_to_string(&path) else {
        println!(
            "the table of the limit stays as it is: there is no {}",
            path.display()
        );
        return Ok(None);
    };
    let mut table = String::from(
        "| | events/s | ns/event | of limit | speedup | peak memory | bytes an aggregate |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for row in rows.lines() {
        let row: Value = serde_json::from_str(row)?;
        let number = |key: &str| row.get(key).and_then(Value::as_f64);
        let cell = |key: &str, shown: fn(f64) -> String| number(key).map_or("–".to_owned(), shown);
        let two = |value: f64| format!("{value:.2}");
        let whole = |value: f64| format!("{value:.0}");
        writeln!(
            table,
            "| {} | {} | {} | {} | {} | {} | {} |",
            row.get("bench").and_then(Value::as_str).unwrap_or_default(),
            cell("events_per_s", short),
            cell("ns_per_event", whole),
            cell("ratio_to_limit", two),
            cell("speedup", two),
            cell("peak_rss_bytes", megabytes),
            cell("bytes_per_aggregate", whole),
        )?;
    }
    Ok(Some(table))
}

/// The figures of the bench `state`, where it was run.
fn state_table() -> Result<Option<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench/state.jsonl");
    let Ok(figures) = fs::read_to_string(&path) else {
        println!(
            "the table of state stays as it is: there is no {}",
            path.display()
        );
        return Ok(None);
    };
    let mut table = String::from("| | figure | target | |\n|---|---|---|---|\n");
    for figure in figures.lines() {
        let figure: Value = serde_json::from_str(figure)?;
        let text = |key: &str| figure.get(key).and_then(Value::as_str).unwrap_or_default();
        let number = |key: &str| figure.get(key).and_then(Value::as_f64);
        let value = number("value").unwrap_or(f64::NAN);
        let decimals = number("decimals").unwrap_or_default() as usize;
        let (what, unit) = (text("what"), text("unit"));
        let (target, met) = match number("at_most") {
            Some(most) if value <= most => (format!("≤ {most} {unit}"), "met"),
            Some(most) => (format!("≤ {most} {unit}"), "not met"),
            None => ("–".to_owned(), "–"),
        };
        writeln!(
            table,
            "| {what} | {value:.decimals$} {unit} | {target} | {met} |"
        )?;
    }
    Ok(Some(table))
}
