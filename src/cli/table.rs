//! Tables on a terminal.

/// How a column is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// Rows under headings, in columns as wide as their widest cell, with two spaces between them.
pub(super) fn table<const N: usize>(
    headings: [(&str, Align); N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut lines = vec![headings.map(|(heading, _)| heading.to_owned())];
    lines.extend(rows);
    let mut widths = [0; N];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for line in lines {
        let mut row = String::new();
        for ((cell, width), (_, align)) in line.iter().zip(widths).zip(headings) {
            match align {
                Align::Left => row.push_str(&format!("{cell:<width$}  ")),
                Align::Right => row.push_str(&format!("{cell:>width$}  ")),
            }
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let rows = [["a", "1"], ["wide-é", "12345"]];
        let rows = rows.map(|row| row.map(str::to_owned));
        assert_eq!(
            table([("NAME", Align::Left), ("SIZE", Align::Right)], rows),
            "NAME     SIZE\na           1\nwide-é  12345\n"
        );
        assert_eq!(
            table([("A", Align::Right), ("B", Align::Left)], []),
            "A  B\n"
        );
    }
}
