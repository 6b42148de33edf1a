//! The functions of texts. They count characters, not bytes, from 1, as PostgreSQL does.

use std::borrow::Cow;

use crate::model::hash::StableHash;
use crate::model::{Interner, Symbol};

use super::row::{MAX_TEXT, append, booleans, numbers, texts};
use super::vector::{Kernel, Scalar, Values, Vector, View, unary};

/// `lower(a)`
pub(super) const LOWER: Kernel = |interner, a, _| rewrite(interner, a, str::to_lowercase);
/// `upper(a)`
pub(super) const UPPER: Kernel = |interner, a, _| rewrite(interner, a, str::to_uppercase);
/// `reverse(a)`
pub(super) const REVERSE: Kernel =
    |interner, a, _| rewrite(interner, a, |text| text.chars().rev().collect());

/// `length(a)`: in characters.
pub(super) const LENGTH: Kernel =
    |interner, a, rows| numbers(interner, a, rows, |row| Some(length(row.text(0)?) as f64));

/// `a || b`, `concat(a, ...)`: NULL where one of them is.
pub(super) const CONCAT: Kernel = |interner, a, rows| {
    let parts: Vec<View<'_, Symbol>> = a.iter().map(Symbol::view).collect();
    let mut text = String::new();
    let mut join = |row| {
        text.clear();
        for part in &parts {
            let symbol = part.at(row);
            if symbol.is_null() || append(&mut text, interner.text(symbol)).is_none() {
                return Symbol::NULL;
            }
        }
        interner.intern(&text)
    };
    if parts.iter().all(|part| part.is_constant()) {
        return Vector::Text(Values::Constant(join(0)));
    }
    Vector::Text(Values::Rows(Cow::Owned((0..rows).map(join).collect())))
};

/// The stable hash of a text as an integer below 2^53, which a number holds exactly. No function of
/// the language: aggregates that compare texts of several interners take it.
pub(super) const HASH: Kernel = |interner, a, _| {
    unary(a, |symbol: Symbol| {
        if symbol.is_null() {
            return f64::NULL;
        }
        let hash = StableHash::default().text(interner.text(symbol)).finish();
        (hash >> 11) as f64
    })
};

/// `concat_ws(separator, a, ...)`: leaves out those that are NULL.
pub(super) const CONCAT_WITH_SEPARATOR: Kernel = |interner, a, rows| {
    texts(interner, a, rows, |row, result| {
        let separator = row.text(0)?;
        let mut is_first = true;
        for part in (1..row.len()).filter_map(|index| row.text(index)) {
            if !is_first {
                append(result, separator)?;
            }
            is_first = false;
            append(result, part)?;
        }
        Some(())
    })
};

/// `substring(a, start[, length])`: a start before the first character takes from the length.
pub(super) const SUBSTRING: Kernel = |interner, a, rows| {
    texts(interner, a, rows, |row, result| {
        let (text, start) = (row.text(0)?, row.count(1)?);
        let end = match row.has(2) {
            true => start.saturating_add(row.count(2).filter(|length| *length >= 0)?),
            false => i64::MAX,
        };
        result.push_str(slice(text, start.saturating_sub(1), end.saturating_sub(1)));
        Some(())
    })
};

/// `left(a, count)`: all but the last ones where the count is negative.
pub(super) const LEFT: Kernel = |interner, a, rows| {
    texts(interner, a, rows, |row, result| {
        let (text, count) = (row.text(0)?, row.count(1)?);
        result.push_str(slice(text, 0, from_either_end(text, count)));
        Some(())
    })
};

/// `right(a, count)`: all but the first ones where the count is negative.
pub(super) const RIGHT: Kernel = |interner, a, rows| {
    texts(interner, a, rows, |row, result| {
        let (text, count) = (row.text(0)?, row.count(1)?);
        let start = from_either_end(text, count.saturating_neg());
        let start = if count == 0 { i64::MAX } else { start };
        result.push_str(slice(text, start, i64::MAX));
        Some(())
    })
};

/// `trim(a[, characters])`
pub(super) const TRIM: Kernel = |interner, a, rows| strip(interner, a, rows, true, true);
/// `ltrim(a[, characters])`
pub(super) const TRIM_LEFT: Kernel = |interner, a, rows| strip(interner, a, rows, true, false);
/// `rtrim(a[, characters])`
pub(super) const TRIM_RIGHT: Kernel = |interner, a, rows| strip(interner, a, rows, false, true);

/// `lpad(a, length[, fill])`
pub(super) const PAD_LEFT: Kernel = |interner, a, rows| pad(interner, a, rows, true);
/// `rpad(a, length[, fill])`
pub(super) const PAD_RIGHT: Kernel = |interner, a, rows| pad(interner, a, rows, false);

/// `replace(a, from, to)`: every place, from the left. The empty text is nowhere.
pub(super) const REPLACE: Kernel = |interner, a, rows| {
    texts(interner, a, rows, |row, result| {
        let (text, from, to) = (row.text(0)?, row.text(1)?, row.text(2)?);
        if from.is_empty() {
            result.push_str(text);
            return Some(());
        }
        for (index, part) in text.split(from).enumerate() {
            if index > 0 {
                append(result, to)?;
            }
            append(result, part)?;
        }
        Some(())
    })
};

/// `split_part(a, delimiter, part)`: from the end where the part is negative; the empty text where
/// there is no such part. The empty delimiter does not split.
pub(super) const SPLIT_PART: Kernel = |interner, a, rows| {
    texts(interner, a, rows, |row, result| {
        let (text, delimiter, part) = (row.text(0)?, row.text(1)?, row.count(2)?);
        let index = usize::try_from(part.unsigned_abs()).ok()?.checked_sub(1)?;
        let found = match (delimiter.is_empty(), part > 0) {
            (true, _) => (index == 0).then_some(text),
            (false, true) => text.split(delimiter).nth(index),
            (false, false) => text.rsplit(delimiter).nth(index),
        };
        result.push_str(found.unwrap_or_default());
        Some(())
    })
};

/// `starts_with(a, part)`
pub(super) const STARTS_WITH: Kernel = |interner, a, rows| {
    booleans(interner, a, rows, |row| {
        Some(row.text(0)?.starts_with(row.text(1)?))
    })
};
/// `ends_with(a, part)`
pub(super) const ENDS_WITH: Kernel = |interner, a, rows| {
    booleans(interner, a, rows, |row| {
        Some(row.text(0)?.ends_with(row.text(1)?))
    })
};
/// `contains(a, part)`
pub(super) const CONTAINS: Kernel = |interner, a, rows| {
    booleans(interner, a, rows, |row| {
        Some(row.text(0)?.contains(row.text(1)?))
    })
};

/// `strpos(a, part)`: the first place, 0 where there is none.
pub(super) const POSITION: Kernel = |interner, a, rows| {
    numbers(interner, a, rows, |row| {
        let (text, part) = (row.text(0)?, row.text(1)?);
        let before = text.find(part).and_then(|place| text.get(..place));
        Some(before.map_or(0.0, |before| (length(before) + 1) as f64))
    })
};

fn rewrite(
    interner: &mut Interner,
    arguments: &[Vector<'_>],
    f: fn(&str) -> String,
) -> Vector<'static> {
    unary(arguments, |symbol: Symbol| {
        if symbol.is_null() {
            return Symbol::NULL;
        }
        let text = f(interner.text(symbol));
        interner.intern(&text)
    })
}

fn length(text: &str) -> usize {
    text.chars().count()
}

/// The characters from one place to another, which need not be within the text.
fn slice(text: &str, from: i64, to: i64) -> &str {
    let offset = |place: i64| {
        let place = usize::try_from(place.max(0)).unwrap_or(usize::MAX);
        let mut offsets = text.char_indices().map(|(offset, _)| offset);
        offsets.nth(place).unwrap_or(text.len())
    };
    text.get(offset(from)..offset(to)).unwrap_or_default()
}

/// The place so many characters behind the beginning, or before the end where they are negative.
fn from_either_end(text: &str, count: i64) -> i64 {
    if count >= 0 {
        return count;
    }
    let length = i64::try_from(length(text)).unwrap_or(i64::MAX);
    length.saturating_add(count).max(0)
}

fn strip(
    interner: &mut Interner,
    arguments: &[Vector<'_>],
    rows: usize,
    left: bool,
    right: bool,
) -> Vector<'static> {
    texts(interner, arguments, rows, |row, result| {
        let mut text = row.text(0)?;
        let unwanted = if row.has(1) { row.text(1)? } else { " " };
        let is_unwanted = |character| unwanted.contains(character);
        if left {
            text = text.trim_start_matches(is_unwanted);
        }
        if right {
            text = text.trim_end_matches(is_unwanted);
        }
        result.push_str(text);
        Some(())
    })
}

fn pad(
    interner: &mut Interner,
    arguments: &[Vector<'_>],
    rows: usize,
    left: bool,
) -> Vector<'static> {
    texts(interner, arguments, rows, |row, result| {
        let (text, wanted) = (row.text(0)?, row.count(1)?);
        let fill = if row.has(2) { row.text(2)? } else { " " };
        let wanted = usize::try_from(wanted.max(0))
            .ok()
            .filter(|wanted| *wanted <= MAX_TEXT)?;
        let kept = slice(text, 0, i64::try_from(wanted).ok()?);
        let missing = wanted.saturating_sub(length(text));
        if !left {
            append(result, kept)?;
        }
        for character in fill.chars().cycle().take(missing) {
            append(result, character.encode_utf8(&mut [0; 4]))?;
        }
        if left {
            append(result, kept)?;
        }
        Some(())
    })
}
