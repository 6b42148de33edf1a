//! Durations on the command line: `250ms`, `2s`, `1m30s`.

/// Unit names with their length in milliseconds.
const UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// Reads a duration as milliseconds.
pub(crate) fn parse_millis(text: &str) -> Result<u64, String> {
    let wrong = || {
        format!(
            "'{text}' is not a duration; write a number with a unit, such as 250ms, 2s or 1m30s"
        )
    };
    if text.is_empty() {
        return Err(wrong());
    }
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, tail) = split_where(rest, |c| !c.is_ascii_digit());
        let (unit, tail) = split_where(tail, |c| c.is_ascii_digit());
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let (_, millis) = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(wrong)?;
        total = number
            .checked_mul(*millis)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(wrong)?;
        rest = tail;
    }
    Ok(total)
}

/// Splits before the first character that matches.
fn split_where(text: &str, matches: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(matches).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers_with_units() {
        for (text, millis) in [("0s", 0), ("250ms", 250), ("2s", 2_000), ("1m30s", 90_000)] {
            assert_eq!(parse_millis(text), Ok(millis));
        }
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "",
            "5",
            "s",
            "5 s",
            "-5s",
            "1.5s",
            "5x",
            "99999999999999999999s",
            "ä",
        ] {
            let message = format!(
                "'{text}' is not a duration; write a number with a unit, such as 250ms, 2s or 1m30s"
            );
            assert_eq!(parse_millis(text), Err(message));
        }
    }
}
