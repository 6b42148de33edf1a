//! The reference of expressions: every example of the page is computed, and nothing is left out.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use weir::expr::Program;
use weir::model::{Column, DataType, Interner, Schema, Symbol, Trilean};
use weir::window::aggregate;

use crate::markdown::{Row, page, rows};
use crate::support::files::{self, weir};
use crate::support::samples::read_ndjson;

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
const START_MS: u64 = 1_730_621_745_000;

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

/// A row of an aggregate's example as an event.
fn event(example: usize, row: usize, given: &str) -> Result<String> {
    let mut event = serde_json::Map::new();
    event.insert("example".to_owned(), example.into());
    event.insert("time".to_owned(), (START_MS + row as u64).into());
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

#[test]
fn every_example_of_an_aggregate_has_its_result() {
    let page = page("expressions.md").unwrap();
    let examples = rows(&page, &["Expression", "Rows", "Result"]).unwrap();
    assert!(examples.len() > 15);
    let mut events = String::new();
    let mut metrics = serde_json::Map::new();
    for (number, example) in examples.iter().enumerate() {
        for (index, row) in example.code(1).split(';').enumerate() {
            events += &event(number, index, row).unwrap();
        }
        metrics.insert(
            format!("example_{number}"),
            serde_json::json!({
                "where": format!("example = {number}"),
                "window": { "tumbling": "5s" },
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

    let folder = files::temporary_folder().unwrap();
    let pipeline = files::write(folder.path(), "examples.yaml", &pipeline.to_string()).unwrap();
    let input = files::write(folder.path(), "events.ndjson", &events).unwrap();
    let output = folder.path().join("samples.ndjson");
    let [pipeline, input, samples] =
        [&pipeline, &input, &output].map(|path| path.to_str().unwrap());
    let command = weir(["run", pipeline, "--input", input, "--output", samples]);
    let run = files::run(&command, Duration::from_secs(60)).unwrap();
    assert_eq!(run.status.code(), Some(0), "{}", run.stderr);

    let samples = read_ndjson(&output).unwrap();
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
    assert_eq!(
        documented,
        listed("zzzzzzzzzzzz(1)", "known functions are ").unwrap()
    );

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
