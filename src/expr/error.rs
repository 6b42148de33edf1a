//! What is wrong with an expression, and where.

/// A fault of an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExprError {
    /// What was found and what would do.
    pub message: String,
    /// Where the fault begins: a byte offset into the expression's text.
    pub start: usize,
    /// Where it ends: the offset of the byte behind it.
    pub end: usize,
}

/// More names than this are not listed in a message.
const LISTED: usize = 24;

/// The end of a message about an unknown name: the most similar of the known names, or else all of
/// them. `what` is their plural.
pub(super) fn suggestion(name: &str, what: &str, known: &[&str]) -> String {
    if let Some(similar) = most_similar(name, known) {
        return format!("did you mean '{similar}'?");
    }
    if known.is_empty() {
        return format!("there are no {what}");
    }
    let listed: Vec<&str> = known.iter().take(LISTED).copied().collect();
    let listed = listed.join(", ");
    match known.len().checked_sub(LISTED) {
        None | Some(0) => format!("known {what} are {listed}"),
        Some(more) => format!("known {what} are {listed} and {more} more"),
    }
}

fn most_similar<'n>(name: &str, known: &[&'n str]) -> Option<&'n str> {
    let length = name.chars().count();
    // A name of one letter is similar to nothing but its other case.
    let allowed = (length / 3).max(1).min(length.saturating_sub(1));
    let name = name.to_lowercase();
    known
        .iter()
        .map(|known| (edit_distance(&name, &known.to_lowercase()), *known))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// How many characters must be inserted, removed or replaced (Levenshtein).
fn edit_distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (above, from) in from.chars().enumerate() {
        let mut diagonal = above;
        let mut left = above + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(&to) {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = *cell;
            left = replaced.min(*cell + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = above + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        let cases = [
            ("", "", 0),
            ("a", "", 1),
            ("", "ab", 2),
            ("kitten", "sitting", 3),
        ];
        for (from, to, distance) in cases {
            assert_eq!(edit_distance(from, to), distance, "{from} {to}");
        }
    }

    #[test]
    fn suggests_the_nearest_or_lists_all() {
        assert_eq!(
            suggestion("Kind", "fields", &["king", "kind"]),
            "did you mean 'kind'?"
        );
        assert_eq!(
            suggestion("speed", "fields", &["a", "b"]),
            "known fields are a, b"
        );
        assert_eq!(suggestion("speed", "fields", &[]), "there are no fields");
    }
}
