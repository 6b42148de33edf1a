//! `weir dead-letters list`.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use anyhow::Result;
use indicatif::HumanCount;
use serde_json::json;

use super::super::state::time;
use super::super::table::{Align, table};
use super::Found;
use super::arguments::{ListArguments, ListFormat};
use crate::model::TimestampMs;
use crate::write::dead_letters::StoredLetter;

/// How many characters of a record are shown.
const EXCERPT: usize = 60;

/// What is shown of a letter.
struct Row {
    number: u64,
    letter: StoredLetter,
    is_replayed: bool,
}

/// The letters of a reason.
struct Sum {
    letters: u64,
    replayed: u64,
    first_ms: TimestampMs,
    last_ms: TimestampMs,
}

pub(super) fn list(arguments: &ListArguments) -> Result<()> {
    let found = Found::load(&arguments.letters)?;
    let replayed = found.replayed()?;
    let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
    // A topic is read a partition after the other: the last ones are those that were dropped last.
    let (mut rows, mut count) = (BTreeMap::new(), 0_u64);
    found.each(|number, letter| {
        if !arguments.selection.has(&letter) {
            return Ok(ControlFlow::Continue(()));
        }
        count += 1;
        let is_replayed = replayed.has(&letter.id());
        let dropped_at_ms = letter.dropped_at_ms;
        let sum = sums.entry(letter.reason.clone()).or_insert(Sum {
            letters: 0,
            replayed: 0,
            first_ms: dropped_at_ms,
            last_ms: dropped_at_ms,
        });
        sum.letters += 1;
        sum.replayed += u64::from(is_replayed);
        sum.first_ms = sum.first_ms.min(dropped_at_ms);
        sum.last_ms = sum.last_ms.max(dropped_at_ms);
        let row = Row {
            number,
            letter,
            is_replayed,
        };
        rows.insert((dropped_at_ms, number), row);
        if rows.len() > arguments.limit {
            rows.pop_first();
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if arguments.format == ListFormat::Json {
        rows.values().for_each(|row| println!("{}", json_of(row)));
        return Ok(());
    }
    if count == 0 {
        println!("there are no dead letters");
        return Ok(());
    }
    if count > rows.len() as u64 {
        let (shown, all) = (rows.len(), HumanCount(count));
        println!("the last {shown} of {all}; --limit shows more");
    }
    print!("{}", letters(rows.values()));
    println!();
    print!("{}", totals(sums));
    Ok(())
}

fn letters<'a>(rows: impl Iterator<Item = &'a Row>) -> String {
    let cells = rows.map(|row| {
        let letter = &row.letter;
        [
            row.number.to_string(),
            time(letter.dropped_at_ms),
            letter.split.clone(),
            letter.position.to_string(),
            letter.reason.clone(),
            if row.is_replayed { "yes" } else { "" }.to_owned(),
            letter.record.len().to_string(),
            excerpt(&letter.record),
        ]
    });
    table(
        [
            ("NUMBER", Align::Right),
            ("DROPPED", Align::Left),
            ("SPLIT", Align::Left),
            ("POSITION", Align::Right),
            ("REASON", Align::Left),
            ("REPLAYED", Align::Left),
            ("BYTES", Align::Right),
            ("RECORD", Align::Left),
        ],
        cells,
    )
}

fn totals(sums: BTreeMap<String, Sum>) -> String {
    let cells = sums.into_iter().map(|(reason, sum)| {
        [
            reason,
            HumanCount(sum.letters).to_string(),
            HumanCount(sum.replayed).to_string(),
            time(sum.first_ms),
            time(sum.last_ms),
        ]
    });
    table(
        [
            ("REASON", Align::Left),
            ("LETTERS", Align::Right),
            ("REPLAYED", Align::Right),
            ("FIRST", Align::Left),
            ("LAST", Align::Left),
        ],
        cells,
    )
}

/// The beginning of a record on one line.
fn excerpt(record: &[u8]) -> String {
    let text = String::from_utf8_lossy(record);
    let mut characters = text.chars();
    let mut excerpt: String = characters
        .by_ref()
        .take(EXCERPT)
        .map(|character| {
            if character.is_control() {
                '·'
            } else {
                character
            }
        })
        .collect();
    if characters.next().is_some() {
        excerpt.push('…');
    }
    excerpt
}

fn json_of(row: &Row) -> serde_json::Value {
    let letter = &row.letter;
    json!({
        "number": row.number,
        "replayed": row.is_replayed,
        "split": letter.split,
        "position": letter.position,
        "reason": letter.reason,
        "detail": letter.detail,
        "metrics": letter.metrics,
        "event_time_ms": letter.event_time_ms,
        "watermark_ms": letter.watermark_ms,
        "timestamp_ms": letter.timestamp_ms,
        "received_at_ms": letter.received_at_ms,
        "dropped_at_ms": letter.dropped_at_ms,
        "events_used": letter.events_used,
        "topic": String::from_utf8_lossy(&letter.topic),
        "key": String::from_utf8_lossy(&letter.key),
        "bytes": letter.record.len(),
        "record": String::from_utf8_lossy(&letter.record),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_one_line() {
        assert_eq!(excerpt(b"{\"a\":\n\"\xff\"}"), "{\"a\":·\"\u{fffd}\"}");
        assert_eq!(excerpt("ä".repeat(60).as_bytes()), "ä".repeat(60));
        assert_eq!(
            excerpt("ä".repeat(61).as_bytes()),
            format!("{}…", "ä".repeat(60))
        );
    }
}
