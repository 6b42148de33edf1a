//! CSV as in RFC 4180: a row is an event.

use std::collections::BTreeMap;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::events::{Events, Refusal};
use super::metrics::Reason;
use super::plan::Wanted;

/// Reads records of one or several rows.
#[derive(Debug)]
pub(super) struct CsvReader {
    /// Where it stands in a row. To make one takes much longer than to read a row.
    rows: Box<Reader>,
    /// The columns of the row at hand.
    columns: Columns,
    /// Whether they are always the same, and not in each record's first row.
    is_fixed: bool,
    /// The leaves by the name of their column.
    leaves: BTreeMap<String, Vec<usize>>,
    /// The cells of the row at hand, one behind the other, and where each of them ends.
    cells: Vec<u8>,
    ends: Vec<usize>,
}

/// The columns of rows.
#[derive(Debug, Default)]
struct Columns {
    names: Vec<String>,
    /// The leaves of each.
    leaves: Vec<Vec<usize>>,
}

/// What comes next.
enum Row {
    /// A row of so many cells.
    Cells(usize),
    /// One of which a cell in quotes has no end: it is whatever follows.
    Unended,
    /// There is none.
    None,
}

impl CsvReader {
    /// The reader that finds the wanted columns. A name may have dots.
    pub(super) fn new(
        wanted: &[Wanted],
        delimiter: u8,
        quote: u8,
        columns: Option<Vec<String>>,
    ) -> Self {
        let mut leaves: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for Wanted { keys, leaf } in wanted {
            leaves.entry(keys.join(".")).or_default().push(*leaf);
        }
        Self {
            rows: Box::new(
                ReaderBuilder::new()
                    .delimiter(delimiter)
                    .quote(quote)
                    .build(),
            ),
            is_fixed: columns.is_some(),
            columns: Columns::new(columns.unwrap_or_default(), &leaves),
            leaves,
            cells: Vec::new(),
            ends: vec![0; 16],
        }
    }

    /// Hands over the events of a record.
    ///
    /// # Errors
    /// There are more of them than allowed.
    pub(super) fn read(&mut self, text: &str, events: &mut Events<'_>) -> Result<(), Refusal> {
        self.rows.reset();
        let mut rest = text.as_bytes();
        // Cells are never longer than what they are read from and the line end behind it.
        self.cells.resize(text.len() + 1, 0);
        let mut is_named = self.is_fixed;
        let mut rows = 0;
        loop {
            let cells = match self.next_row(&mut rest) {
                Row::Cells(cells) => cells,
                Row::Unended => {
                    let detail = "a cell in quotes without its end".to_owned();
                    return events.refuse(Reason::Malformed, detail);
                }
                Row::None if rows > 0 => return Ok(()),
                Row::None => return events.refuse(Reason::Malformed, self.no_row().to_owned()),
            };
            let row = texts(&self.cells, &self.ends, cells);
            let names_columns = row.clone().eq(&self.columns.names);
            if !is_named {
                if !names_columns {
                    self.columns = Columns::new(row.map(str::to_owned).collect(), &self.leaves);
                }
                is_named = true;
                continue;
            }
            rows += 1;
            // A header that is repeated, or stands before rows whose columns are known anyway.
            if self.is_fixed && names_columns {
                continue;
            }
            let columns = self.columns.names.len();
            if cells != columns {
                let detail = format!("a row of {cells} cells, where there are {columns} columns");
                events.refuse(Reason::Malformed, detail)?;
                continue;
            }
            for (cell, leaves) in row.zip(&self.columns.leaves) {
                for leaf in leaves {
                    events.take_text(*leaf, cell);
                }
            }
            events.end()?;
        }
    }

    /// What is wrong with a record that has no row.
    fn no_row(&self) -> &'static str {
        match self.is_fixed {
            true => "no row",
            false => {
                "no row behind that of the names; where records have no names, say them with columns"
            }
        }
    }

    /// Reads a row.
    fn next_row(&mut self, rest: &mut &[u8]) -> Row {
        let (mut written, mut cells) = (0, 0);
        // A line end behind the last row: within quotes it is part of the cell, which then has no end.
        let mut line_end: &[u8] = b"\n";
        loop {
            let is_behind = rest.is_empty();
            let input = if is_behind { &mut line_end } else { &mut *rest };
            let (result, read, wrote, ended) = self.rows.read_record(
                input,
                self.cells.get_mut(written..).unwrap_or_default(),
                self.ends.get_mut(cells..).unwrap_or_default(),
            );
            *input = input.get(read..).unwrap_or_default();
            written += wrote;
            cells += ended;
            match result {
                ReadRecordResult::InputEmpty if is_behind && wrote > 0 => return Row::Unended,
                // The next call has the line end, and the one behind that none.
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => self.cells.resize(self.cells.len() * 2 + 16, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::Record => return Row::Cells(cells),
                ReadRecordResult::End => return Row::None,
            }
        }
    }
}

impl Columns {
    fn new(names: Vec<String>, leaves: &BTreeMap<String, Vec<usize>>) -> Self {
        let leaves = names.iter().map(|name| leaves.get(name).cloned());
        Self {
            leaves: leaves.map(Option::unwrap_or_default).collect(),
            names,
        }
    }
}

/// The first so many cells, one behind the other, by where they end.
fn texts<'a>(
    cells: &'a [u8],
    ends: &'a [usize],
    count: usize,
) -> impl Iterator<Item = &'a str> + Clone {
    let mut start = 0;
    ends.iter().take(count).map(move |end| {
        let cell = cells.get(start..*end).unwrap_or_default();
        start = *end;
        // What is cut out of text between two of its characters is text.
        std::str::from_utf8(cell).unwrap_or_default()
    })
}
