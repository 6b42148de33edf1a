//! The guides of windows and of formats: every example of a page is run, and its samples are compared.
//!
//! An example is three blocks of the page, behind its `fleet.proto` where there is one: a pipeline file (`yaml`), its input (`json`, an event a
//! line) and the samples that come out (`text`, a line each: time, series, value). `UPDATE=1`
//! rewrites the samples.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;

use crate::markdown::{hold_to_file, page};
use crate::support::files::{self, repository, weir};
use crate::support::samples::{Sample, read_ndjson};

const PAGE: &str = "windows.md";
const FORMATS: &str = "formats.md";

/// A fenced block of a page.
#[derive(Debug)]
struct Block {
    language: String,
    /// The numbers of the lines between the fences, from 0.
    lines: std::ops::Range<usize>,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in page.lines().enumerate() {
        let Some(language) = line.strip_prefix("```") else {
            continue;
        };
        match open.take() {
            Some(mut block) => {
                block.lines.end = number;
                blocks.push(block);
            }
            None => {
                open = Some(Block {
                    language: language.to_owned(),
                    lines: number + 1..number + 1,
                });
            }
        }
    }
    blocks
}

/// `2024-11-04T10:00:05Z  vehicles{region="UK"}  2`.
fn shown(sample: &Sample) -> Result<String> {
    let time = Timestamp::from_millisecond(sample.timestamp_ms)?;
    let labels = sample.labels.iter();
    let labels: Vec<_> = labels
        .map(|(name, value)| format!("{name}=\"{value}\""))
        .collect();
    let labels = match labels.as_slice() {
        [] => String::new(),
        labels => format!("{{{}}}", labels.join(", ")),
    };
    Ok(format!("{time}  {}{labels}  {}", sample.name, sample.value))
}

/// The samples of a pipeline in order of time, a line each.
fn run(proto: &str, pipeline: &str, events: &str, workers: &str) -> Result<Vec<String>> {
    let folder = files::temporary_folder()?;
    files::write(folder.path(), "fleet.proto", proto)?;
    let pipeline = files::write(folder.path(), "example.yaml", pipeline)?;
    let input = files::write(folder.path(), "events.ndjson", events)?;
    let output = folder.path().join("samples.ndjson");
    let [pipeline, input, samples] =
        [&pipeline, &input, &output].map(|path| path.display().to_string());
    let command = weir([
        "run", &pipeline, "--input", &input, "--output", &samples, "--set", workers,
    ]);
    let run = files::run(&command, Duration::from_secs(60))?;
    ensure!(run.status.code() == Some(0), "{}", run.stderr);
    let mut samples = read_ndjson(&output)?;
    samples.sort_by_key(|sample| sample.timestamp_ms);
    samples.iter().map(shown).collect()
}

#[test]
fn every_example_of_the_guide_has_its_samples() {
    check_examples(PAGE, 7).unwrap();
}

#[test]
fn every_example_of_a_format_has_its_samples() {
    check_examples(FORMATS, 7).unwrap();
}

/// Runs the examples of a page, of which there are `least` at least.
fn check_examples(name: &str, least: usize) -> Result<()> {
    let page = page(name)?;
    let lines: Vec<&str> = page.lines().collect();
    let text = |block: &Block| {
        let lines = lines.get(block.lines.clone()).unwrap_or_default();
        lines
            .iter()
            .flat_map(|line| [line, "\n"])
            .collect::<String>()
    };
    let blocks = blocks(&page);
    let is_pipeline = |block: &Block| text(block).starts_with("pipeline: ");
    let mut found: Vec<String> = Vec::new();
    let mut copied = 0;
    let mut examples = 0;
    for (index, block) in blocks.iter().enumerate() {
        if !is_pipeline(block) {
            continue;
        }
        let line = block.lines.start;
        let (input, samples) = blocks
            .get(index + 1)
            .zip(blocks.get(index + 2))
            .with_context(|| format!("line {line}: an example without input or samples"))?;
        assert_eq!(
            [&*input.language, &*samples.language],
            ["json", "text"],
            "line {line}"
        );
        found.extend(
            lines
                .get(copied..samples.lines.start)
                .unwrap_or_default()
                .iter()
                .map(|line| (*line).to_owned()),
        );
        copied = samples.lines.end;
        let before = index.checked_sub(1).and_then(|before| blocks.get(before));
        let proto = before.filter(|block| block.language == "proto").map(&text);
        let proto = proto.unwrap_or_default();
        let one = run(&proto, &text(block), &text(input), "workers=1")
            .with_context(|| format!("line {line}"))?;
        assert!(!one.is_empty(), "line {line}: no samples");
        let three = run(&proto, &text(block), &text(input), "workers=3")?;
        assert_eq!(one, three, "line {line}: with 1 and with 3 workers");
        found.extend(one);
        examples += 1;
    }
    let rest = lines.get(copied..).unwrap_or_default();
    found.extend(rest.iter().map(|line| (*line).to_owned()));
    assert!(examples >= least, "only {examples} examples were found");
    let inputs = blocks.iter().filter(|block| block.language == "json");
    assert_eq!(inputs.count(), examples, "every input is one of an example");
    hold_to_file(
        &repository().join("docs").join(name),
        &(found.join("\n") + "\n"),
    )
}

#[test]
fn every_picture_is_there_and_shown() {
    let page = page(PAGE).unwrap();
    let mut shown: Vec<&str> = page
        .split("](images/")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .collect();
    shown.sort_unstable();
    let folder = repository().join("docs/images");
    let mut there: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("windows-"))
        .collect();
    there.sort_unstable();
    assert!(there.len() >= 5, "{there:?}");
    assert_eq!(shown, there);
}
