//! Errors in words.

/// An error with its causes, of which the last often is the only one that says something.
#[must_use]
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{words}")]
    struct Failure {
        words: &'static str,
        #[source]
        cause: Option<Box<Self>>,
    }

    #[test]
    fn every_cause_is_said_once() {
        let failure = |words, cause: Option<Failure>| Failure {
            words,
            cause: cause.map(Box::new),
        };
        let refused = failure("connection refused", None);
        let again = failure("cannot connect: connection refused", Some(refused));
        let error = failure("no answer", Some(again));
        assert_eq!(
            with_causes(&error),
            "no answer: cannot connect: connection refused"
        );
    }
}
