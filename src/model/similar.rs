//! What somebody may have meant.

/// The known name that is nearest to a misspelt one, where one is near: at most one letter in three
/// is wrong, missing, too many or swapped with its neighbour.
pub fn suggest<'k>(found: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let found: Vec<char> = found.chars().flat_map(char::to_lowercase).collect();
    // A long text is no misspelt name, and comparing takes the product of the lengths.
    if found.len() > 64 {
        return None;
    }
    let mut best = None;
    for candidate in known {
        let letters: Vec<char> = candidate.chars().flat_map(char::to_lowercase).collect();
        let allowed = (found.len().max(letters.len()) / 3).max(1);
        if found.len().abs_diff(letters.len()) > allowed {
            continue;
        }
        let distance = distance(&found, &letters);
        // Of two letters one is wrong: that is another word.
        if distance > allowed || distance >= letters.len() {
            continue;
        }
        if best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// How many letters must be changed, added, removed or swapped with their neighbour.
fn distance(left: &[char], right: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (row, a) in left.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, b) in right.iter().enumerate() {
            let cell = |cells: &[usize], at: usize| cells.get(at).copied().unwrap_or(usize::MAX);
            let changed = cell(&last, column) + usize::from(a != b);
            let removed = cell(&last, column + 1) + 1;
            let added = cell(&current, column) + 1;
            let mut least = changed.min(removed).min(added);
            let swapped = row > 0
                && column > 0
                && left.get(row - 1) == Some(b)
                && right.get(column - 1) == Some(a);
            if swapped {
                least = least.min(cell(&before, column - 1) + 1);
            }
            current.push(least);
        }
        before = std::mem::replace(&mut last, current);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_what_is_near_and_nothing_else() {
        let known = ["window", "where", "value", "by", "help"];
        for (found, expected) in [
            ("windw", Some("window")),
            ("Window", Some("window")),
            ("vlaue", Some("value")),
            ("hlep", Some("help")),
            ("bi", Some("by")),
            ("b", Some("by")),
            ("x", None),
            ("xx", None),
            ("", None),
            ("frequency", None),
        ] {
            assert_eq!(suggest(found, known), expected, "{found}");
        }
        assert_eq!(suggest(&"x".repeat(100_000), known), None);
    }
}
