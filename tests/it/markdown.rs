//! Tables of the reference pages under `docs/`, and files that tests keep up to date.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

use super::support::files::repository;

/// A row of a table, with its line in the page from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) line: usize,
    pub(crate) cells: Vec<String>,
}

impl Row {
    /// A cell by its number from 0; a missing one is empty.
    pub(crate) fn cell(&self, index: usize) -> &str {
        self.cells.get(index).map_or("", String::as_str)
    }

    /// A cell without its code marks.
    pub(crate) fn code(&self, index: usize) -> &str {
        code(self.cell(index))
    }
}

/// A page under `docs/`.
///
/// # Errors
/// It cannot be read.
pub(crate) fn page(name: &str) -> Result<String> {
    let path = repository().join("docs").join(name);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// The rows of all tables whose header cells are `header`.
///
/// # Errors
/// A row has another number of cells, or there is no row at all.
pub(crate) fn rows(page: &str, header: &[&str]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut inside = false;
    for (index, text) in page.lines().enumerate() {
        let line = index + 1;
        let Some(cells) = cells(text) else {
            inside = false;
            continue;
        };
        if cells == header {
            inside = true;
            continue;
        }
        let is_rule = cells
            .iter()
            .all(|cell| cell.chars().all(|c| c == '-') && !cell.is_empty());
        if !inside || is_rule {
            continue;
        }
        ensure!(
            cells.len() == header.len(),
            "line {line} has {} cells: {text}",
            cells.len()
        );
        rows.push(Row { line, cells });
    }
    ensure!(
        !rows.is_empty(),
        "there is no table with the header {header:?}"
    );
    Ok(rows)
}

/// A cell without its code marks.
pub(crate) fn code(cell: &str) -> &str {
    cell.strip_prefix('`')
        .and_then(|rest| rest.strip_suffix('`'))
        .unwrap_or(cell)
}

/// Whether a file holds a text; with `UPDATE=1` in the environment it is written instead.
///
/// # Errors
/// It holds another text, or cannot be written.
pub(crate) fn hold_to_file(path: &Path, text: &str) -> Result<()> {
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        return fs::write(path, text).with_context(|| format!("cannot write {}", path.display()));
    }
    let held = fs::read_to_string(path).unwrap_or_default();
    if held == text {
        return Ok(());
    }
    let same = held
        .lines()
        .zip(text.lines())
        .take_while(|(held, found)| held == found)
        .count();
    let line = |text: &str| text.lines().nth(same).unwrap_or("(the end)").to_owned();
    bail!(
        "{}:{}: out of date; UPDATE=1 rewrites it\n  held:  {}\n  found: {}",
        path.display(),
        same + 1,
        line(&held),
        line(text)
    )
}

/// The cells of a table's row. A bar within a cell is written `\|`.
fn cells(line: &str) -> Option<Vec<String>> {
    let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    let mut cells = vec![String::new()];
    let mut chars = inner.chars().peekable();
    while let Some(char) = chars.next() {
        match (char, cells.last_mut()) {
            ('|', _) => cells.push(String::new()),
            ('\\', Some(cell)) if chars.peek() == Some(&'|') => {
                cell.push('|');
                chars.next();
            }
            (char, Some(cell)) => cell.push(char),
            (_, None) => {}
        }
    }
    Some(cells.iter().map(|cell| cell.trim().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read_by_their_header() {
        let page = "# A\n\n| a | b |\n|---|---|\n| `x \\|\\| y` | 1 |\n\n| c | d |\n|---|---|\n| 2 | 3 |\n";
        let found = rows(page, &["a", "b"]).unwrap();
        let expected = Row {
            line: 5,
            cells: vec!["`x || y`".to_owned(), "1".to_owned()],
        };
        assert_eq!(found, [expected]);
        assert_eq!(found[0].code(0), "x || y");
        assert_eq!(found[0].cell(2), "");
        assert!(rows(page, &["e"]).is_err());
    }
}
