//! The reference of expressions: every example of the page is computed, and nothing is left out.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use weir::expr::{Program, function_names};
use weir::model::{Column, DataType, Interner, Schema, Symbol, Trilean};
use weir::window::aggregate;

use crate::markdown::{Row, page, rows};
use crate::support::files::{self, weir};
use crate::support::samples::{Sample, read_ndjson};

/// The fields of the examples.
const FIELDS: [(&str, DataType); 6] = [
    ("a", DataType::Number),
    ("b", DataType::Number),
    ("p", DataType::Boolean),
    ("q", DataType::Boolean),
    ("s", DataType::Text),
    ("t", DataType::Text),
];

/// The time of the first row of every example of an aggregate, ms since the epoch.
const START_MS: u64 = 1_730_621_740_000;

fn schema() -> Schema {
    let mut schema = Schema::new();
    for (name, data_type) in FIELDS {
        schema.push(name, data_type);
    }
    schema
}

/// The assignments of a row: `a = 7, s = 'x'`.
fn assignments(given: &str) -> Result<Vec<(&str, &str)>> {
    let mut found = Vec::new();
    for assignment in given.split(", ").filter(|part| !part.trim().is_empty()) {
        let (name, value) = assignment
            .split_once(" = ")
            .context("expected NAME = VALUE")?;
        found.push((name.trim(), value.trim()));
    }
    Ok(found)
}

/// The columns of one row; what is not given is NULL.
fn columns(given: &str, interner: &mut Interner) -> Result<Vec<Column>> {
    let given = assignments(given)?;
    let mut columns = Vec::new();
    for (name, data_type) in FIELDS {
        let value = given
            .iter()
            .find(|(given, _)| *given == name)
            .map_or("NULL", |(_, v)| v);
        columns.push(match (data_type, value) {
            (_, "NULL") => {
                let mut column = Column::empty(data_type);
                column.push_null();
                column
            }
            (DataType::Number, number) => Column::Number(vec![number.parse()?]),
            (DataType::Boolean, truth) => Column::Boolean(vec![Trilean::from(truth == "TRUE")]),
            (DataType::Text, text) => Column::Text(vec![interner.intern(text.trim_matches('\''))]),
        });
    }
    Ok(columns)
}

/// The only value of a column as a literal.
fn literal(column: &Column, interner: &Interner) -> Result<String> {
    Ok(match column {
        Column::Number(values) => {
            let value = values.first().context("no row")?;
            if value.is_nan() {
                "NULL".to_owned()
            } else {
                value.to_string()
            }
        }
        Column::Boolean(values) => match values.first().context("no row")? {
            Trilean::True => "TRUE".to_owned(),
            Trilean::False => "FALSE".to_owned(),
            Trilean::Null => "NULL".to_owned(),
        },
        Column::Text(values) => match *values.first().context("no row")? {
            Symbol::NULL => "NULL".to_owned(),
            symbol => format!("'{}'", interner.text(symbol)),
        },
    })
}

fn evaluate(expression: &str, given: &str) -> Result<String> {
    let mut interner = Interner::new();
    let columns = columns(given, &mut interner)?;
    let mut program = match Program::compile(expression, &schema()) {
        Ok(program) => program,
        Err(errors) => bail!("{errors:?}"),
    };
    let result = program.evaluate(&columns, 1, &mut interner).into_owned();
    literal(&result, &interner)
}

#[test]
fn every_example_of_an_expression_has_its_result() {
    let page = page("expressions.md").unwrap();
    let examples = rows(&page, &["Expression", "Given", "Result"]).unwrap();
    assert!(examples.len() > 60);
    for row in examples {
        let (line, expression, given) = (row.line, row.code(0), row.code(1));
        let result = evaluate(expression, given)
            .unwrap_or_else(|error| panic!("line {line}: {expression}: {error:#}"));
        assert_eq!(
            result,
            row.code(2),
            "line {line}: {expression} given {given}"
        );
    }
}

#[test]
fn every_form_is_the_function_that_the_page_says() {
    let page = page("expressions.md").unwrap();
    let forms = rows(&page, &["Form of SQL", "The same as"]).unwrap();
    assert!(forms.len() > 5);
    for row in forms {
        let given = "s = 'x-ab-x', a = 1730621745000";
        let [form, call] = [0, 1].map(|cell| evaluate(row.code(cell), given).unwrap());
        assert_ne!(form, "NULL");
        assert_eq!(form, call, "line {}: {}", row.line, row.code(0));
    }
}

/// A row of an aggregate's example as an event. It may begin with its second in the window: `2s a = 5`.
fn event(example: usize, row: usize, given: &str) -> Result<String> {
    let mut event = serde_json::Map::new();
    event.insert("example".to_owned(), example.into());
    let given = given.trim();
    let second = given
        .split_once("s ")
        .and_then(|(second, rest)| Some((second.parse::<u64>().ok()?, rest)));
    let (time, given) = match second {
        Some((second, rest)) => (second * 1_000, rest),
        None => (row as u64, given),
    };
    event.insert("time".to_owned(), (START_MS + time).into());
    for (name, value) in assignments(given)? {
        let value = match value {
            "NULL" => serde_json::Value::Null,
            "TRUE" => true.into(),
            "FALSE" => false.into(),
            text if text.starts_with('\'') => text.trim_matches('\'').into(),
            number => number.parse::<f64>()?.into(),
        };
        event.insert(name.to_owned(), value);
    }
    Ok(format!("{}\n", serde_json::Value::from(event)))
}

/// The samples of a page's examples of aggregates, all computed by one run; the metric of example `n`
/// is `example_n`.
fn run_examples(examples: &[Row]) -> Result<Vec<Sample>> {
    let mut events = String::new();
    let mut metrics = serde_json::Map::new();
    for (number, example) in examples.iter().enumerate() {
        for (index, row) in example.code(1).split(';').enumerate() {
            events += &event(number, index, row)?;
        }
        metrics.insert(
            format!("example_{number}"),
            serde_json::json!({
                "where": format!("example = {number}"),
                "window": { "tumbling": "10s" },
                "value": example.code(0),
            }),
        );
    }
    let mut fields = serde_json::Map::new();
    fields.insert("example".to_owned(), "number".into());
    for (name, data_type) in FIELDS {
        fields.insert(name.to_owned(), data_type.name().into());
    }
    let pipeline = serde_json::json!({
        "pipeline": "examples",
        "source": { "file": { "path": "-" } },
        "event": { "time": { "from": "time" }, "fields": fields },
        "metrics": metrics,
        "write": { "file": { "path": "-" } },
    });

    let folder = files::temporary_folder()?;
    let pipeline = files::write(folder.path(), "examples.yaml", &pipeline.to_string())?;
    let input = files::write(folder.path(), "events.ndjson", &events)?;
    let output = folder.path().join("samples.ndjson");
    let [pipeline, input, samples] =
        [&pipeline, &input, &output].map(|path| path.display().to_string());
    let command = weir(["run", &pipeline, "--input", &input, "--output", &samples]);
    let run = files::run(&command, Duration::from_secs(60))?;
    assert_eq!(run.status.code(), Some(0), "{}", run.stderr);

    read_ndjson(&output)
}

#[test]
fn every_example_of_an_aggregate_has_its_result() {
    let page = page("expressions.md").unwrap();
    let examples = rows(&page, &["Expression", "Rows", "Result"]).unwrap();
    assert!(examples.len() > 15);
    hold(&examples).unwrap();
}

/// Compares the examples with what they give.
fn hold(examples: &[Row]) -> Result<()> {
    let samples = run_examples(examples)?;
    for (number, example) in examples.iter().enumerate() {
        let name = format!("example_{number}");
        let found = samples.iter().find(|sample| sample.name == name);
        let found = found.map_or("NULL".to_owned(), |sample| sample.value.to_string());
        let (line, expression, rows) = (example.line, example.cell(0), example.cell(1));
        assert_eq!(
            found,
            example.code(2),
            "line {line}: {expression} of {rows}"
        );
    }
    Ok(())
}

#[test]
fn the_page_of_aggregates_is_complete_and_every_example_has_its_result() {
    let page = page("aggregates.md").unwrap();
    let examples = rows(&page, &["Expression", "Rows", "Result"]).unwrap();
    hold(&examples).unwrap();
    let series = rows(&page, &["Expression", "Rows", "Series"]).unwrap();
    let samples = run_examples(&series).unwrap();
    for (number, example) in series.iter().enumerate() {
        let found = samples_of(number, &samples);
        let (line, expression) = (example.line, example.cell(0));
        assert_eq!(found, example.code(2), "line {line}: {expression}");
    }

    let titles: Vec<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .collect();
    for name in aggregate::NAMES {
        let title = titles
            .iter()
            .filter(|title| title.split(['`', ',', ' ']).any(|word| word == name));
        assert_eq!(title.count(), 1, "sections of {name}");
        // Native histograms are shown by their own tests.
        let is_call = |row: &Row| row.code(0).contains(&format!("{name}("));
        let shown = examples.iter().chain(&series).any(is_call);
        assert!(
            shown || name == "histogram",
            "there is no example of {name}"
        );
    }
}

/// The samples of an example with several series: `bucket{le="1"} 2, count 3`.
fn samples_of(example: usize, samples: &[Sample]) -> String {
    let prefix = format!("example_{example}_");
    let of_example = samples
        .iter()
        .filter_map(|sample| Some((sample.name.strip_prefix(&prefix)?, sample)));
    let shown = of_example.map(|(name, sample)| {
        let bound = sample.labels.get("le");
        let bound = bound.map_or(String::new(), |bound| format!("{{le=\"{bound}\"}}"));
        format!("{name}{bound} {}", sample.value)
    });
    shown.collect::<Vec<_>>().join(", ")
}

#[test]
fn the_page_names_every_operator_function_and_aggregate() {
    let page = page("expressions.md").unwrap();
    let names = |header: &[&str]| -> Vec<String> {
        let first = |row: Row| row.code(0).split('(').next().unwrap_or_default().to_owned();
        rows(&page, header)
            .unwrap()
            .into_iter()
            .map(first)
            .collect()
    };

    let mut documented = names(&["Function", "Gives", "NULL"]);
    documented.sort();
    let functions: Vec<&str> = function_names().collect();
    assert_eq!(documented, functions);

    let mut aggregates = names(&["Aggregate", "Gives", "Of nothing"]);
    aggregates.dedup();
    assert_eq!(aggregates, aggregate::NAMES);

    let operators = rows(&page, &["Operator", "Takes and gives", "NULL"]).unwrap();
    let documented: Vec<_> = operators
        .iter()
        .flat_map(|row| row.cell(0).split('`'))
        .flat_map(str::split_whitespace)
        .collect();
    for operator in listed("a ^ b", "supported are ")
        .unwrap()
        .join(" ")
        .split_whitespace()
    {
        assert!(
            documented.contains(&operator),
            "{operator} is not on the page"
        );
    }
}

/// The names that an error message lists.
fn listed(expression: &str, before: &str) -> Result<Vec<String>> {
    let Err(errors) = Program::compile(expression, &schema()) else {
        bail!("{expression} is accepted");
    };
    let message = &errors.first().context("no error")?.message;
    let (_, names) = message
        .split_once(before)
        .with_context(|| message.clone())?;
    Ok(names.split(", ").map(str::to_owned).collect())
}
