//! What is wrong with an expression, and where.

use crate::model::suggest;

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
    if let Some(similar) = suggest(name, known.iter().copied()) {
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

#[cfg(test)]
mod tests {
    use super::*;

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
