//! `weir dead-letters show`.

use std::fmt::Write as _;
use std::ops::ControlFlow;

use anyhow::{Context as _, Result};

use super::super::state::time;
use super::Found;
use super::arguments::ShowArguments;
use crate::write::dead_letters::StoredLetter;

/// How many characters of a line are shown before and behind the place of an error.
const AROUND: usize = 60;

/// How many bytes stand on a line of a dump.
const DUMPED: usize = 16;

pub(super) fn show(arguments: &ShowArguments) -> Result<()> {
    let found = Found::load(&arguments.letters)?;
    let replayed = found.replayed()?;
    let mut wanted = None;
    found.each(|number, letter| {
        if number != arguments.number {
            return Ok(ControlFlow::Continue(()));
        }
        wanted = Some(letter);
        Ok(ControlFlow::Break(()))
    })?;
    let letter = wanted.with_context(|| {
        let number = arguments.number;
        format!("there is no dead letter {number}; weir dead-letters list shows which there are")
    })?;
    let is_parsed = found.pipeline.unwrap.is_empty();
    print!("{}", shown(&letter, replayed.has(&letter.id()), is_parsed));
    Ok(())
}

/// `is_parsed`: what is told of places is told of the record as it came, of which nothing was unwrapped.
fn shown(letter: &StoredLetter, is_replayed: bool, is_parsed: bool) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let time_of = |ms: Option<i64>| ms.map(time).unwrap_or_default();
    let events_used = match letter.events_used {
        0 => String::new(),
        events => events.to_string(),
    };
    let lines = [
        ("reason", letter.reason.clone()),
        ("detail", letter.detail.clone()),
        ("split", letter.split.clone()),
        ("position", letter.position.to_string()),
        ("topic", text(&letter.topic)),
        ("key", text(&letter.key)),
        ("taken by transport", time_of(letter.timestamp_ms)),
        ("received", time_of(letter.received_at_ms)),
        ("dropped", time(letter.dropped_at_ms)),
        ("event time", time_of(letter.event_time_ms)),
        ("watermark", time_of(letter.watermark_ms)),
        ("metrics", letter.metrics.join(", ")),
        ("events used", events_used),
        (
            "sent again",
            if is_replayed { "yes" } else { "no" }.to_owned(),
        ),
    ];
    let mut shown = String::new();
    for (name, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
        // Writing to a text cannot fail.
        let _infallible = writeln!(shown, "{name:<18}  {value}");
    }
    let _infallible = writeln!(shown, "\n{} bytes:", letter.record.len());
    let place = is_parsed.then(|| place(&letter.detail)).flatten();
    shown.push_str(&record(&letter.record, place));
    shown
}

/// A record as it can be read: JSON over several lines, other text as it is, and all else as a dump. The
/// place of an error (line and column, from 1) is marked where it is known.
fn record(record: &[u8], place: Option<(usize, usize)>) -> String {
    let is_readable = |text: &&str| {
        text.chars()
            .all(|character| !character.is_control() || matches!(character, '\n' | '\r' | '\t'))
    };
    let Some(text) = std::str::from_utf8(record).ok().filter(is_readable) else {
        return dump(record);
    };
    if let Some((line, column)) = place
        && let Some(marked) = marked(text, line, column)
    {
        return marked;
    }
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(value) => format!("{value:#}\n"),
        Err(_) => format!("{}\n", text.trim_end_matches('\n')),
    }
}

/// The line and column, from 1, that a message names; none where it speaks of something within the record.
fn place(detail: &str) -> Option<(usize, usize)> {
    let (what, rest) = detail.split_once("at line ")?;
    if what.starts_with("data_base64: ") {
        return None;
    }
    let (line, rest) = rest.split_once(" column ")?;
    let digits = rest
        .split(|character: char| !character.is_ascii_digit())
        .next();
    Some((line.parse().ok()?, digits?.parse().ok()?))
}

/// The line of an error with a sign below its place; a long line without what is far from it.
fn marked(text: &str, line: usize, column: usize) -> Option<String> {
    let line = text.lines().nth(line.checked_sub(1)?)?;
    // Columns are counted in bytes.
    let at = line
        .char_indices()
        .take_while(|(byte, _)| *byte + 1 < column)
        .count();
    let from = at.saturating_sub(AROUND);
    let part: String = line.chars().skip(from).take(2 * AROUND).collect();
    let (before, behind) = (from > 0, line.chars().count() > from + 2 * AROUND);
    let (before, behind) = (if before { "…" } else { "" }, if behind { "…" } else { "" });
    let indent = at - from + before.chars().count();
    let sign = "^ here";
    Some(format!("{before}{part}{behind}\n{:indent$}{sign}\n", ""))
}

/// Bytes as hexadecimal digits, with the characters that can be shown.
fn dump(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (number, line) in bytes.chunks(DUMPED).enumerate() {
        let digits: Vec<_> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let characters: String = line
            .iter()
            .map(|byte| match byte {
                b' '..=b'~' => char::from(*byte),
                _ => '.',
            })
            .collect();
        let _infallible = writeln!(
            text,
            "{:08x}  {:<47}  {characters}",
            number * DUMPED,
            digits.join(" ")
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_set_and_text_is_left() {
        assert_eq!(record(b"{\"a\":1}", None), "{\n  \"a\": 1\n}\n");
        assert_eq!(record(b"a,b\n1,2\n", None), "a,b\n1,2\n");
    }

    #[test]
    fn what_is_no_text_is_dumped() {
        assert_eq!(
            record(b"0123456789abcdef\xff\x00a", None),
            "00000000  30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66  0123456789abcdef\n\
             00000010  ff 00 61                                         ..a\n"
        );
    }

    #[test]
    fn the_place_of_an_error_is_marked() {
        let detail = "Expected this character at line 1 column 8\n\n\tetc.";
        assert_eq!(
            record("{\"ä\": 7".as_bytes(), place(detail)),
            "{\"ä\": 7\n      ^ here\n"
        );
        let long = format!("{}x{}", "a".repeat(100), "b".repeat(100));
        let shown = record(long.as_bytes(), Some((1, 101)));
        let expected = format!("…{}x{}…\n{:61}^ here\n", "a".repeat(60), "b".repeat(59), "");
        assert_eq!(shown, expected);
        let within = "data_base64: Expected this character at line 1 column 8";
        assert_eq!(place(within), None);
        // A place that is not in it.
        assert_eq!(record(b"a", Some((7, 1))), "a\n");
    }
}
