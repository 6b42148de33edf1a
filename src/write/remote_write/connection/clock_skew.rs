//! A clock that is wrong: signatures are good for some minutes only.

use std::time::Duration;

/// Receivers take a signature for some minutes before and after its time. A difference that is less
/// than this, in milliseconds, is not why they refuse it.
const TOLERATED_MS: u64 = 60_000;

/// What Amazon answers when the time of a signature is too far from its own.
const WORDS: [&str; 4] = [
    "Signature expired",
    "Signature not yet current",
    "not yet current",
    "RequestTimeTooSkewed",
];

/// What to do about a 401 or 403 whose cause is this machine's clock; `None` where it is not.
/// `date` is the answer's `Date` header, `now_ms` is since the epoch.
pub(in crate::write::remote_write) fn remedy(
    status: u16,
    body: &str,
    date: Option<&str>,
    now_ms: i64,
) -> Option<String> {
    if status != 401 && status != 403 {
        return None;
    }
    let theirs = date.and_then(|date| {
        let parser = jiff::fmt::rfc2822::DateTimeParser::new();
        let date = parser.parse_timestamp(date.trim()).ok()?;
        Some(date.as_millisecond())
    });
    let skew_ms = theirs.map(|theirs| now_ms.saturating_sub(theirs));
    let skewed = skew_ms.filter(|skew| skew.unsigned_abs() > TOLERATED_MS);
    match skewed {
        Some(skew_ms) => {
            let skew = Duration::from_secs(skew_ms.unsigned_abs() / 1_000);
            let direction = if skew_ms > 0 { "ahead of" } else { "behind" };
            Some(format!(
                "this machine's clock is {skew:?} {direction} the receiver's; have NTP set it"
            ))
        }
        None if WORDS.iter().any(|words| body.contains(words)) => {
            Some("this machine's clock may be wrong; have NTP set it".to_owned())
        }
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tue, 15 Nov 1994 08:12:31 GMT
    const NOW_MS: i64 = 784_887_151_000;
    const DATE: Option<&str> = Some("Tue, 15 Nov 1994 08:12:31 GMT");

    fn says(body: &str, date: Option<&str>, now_ms: i64) -> Option<String> {
        remedy(403, body, date, now_ms)
    }

    #[test]
    fn the_difference_and_the_remedy_are_named() {
        let ahead = "this machine's clock is 432s ahead of the receiver's; have NTP set it";
        let behind = "this machine's clock is 432s behind the receiver's; have NTP set it";
        let body = "Signature expired: 19941115T081231Z is now earlier than …";
        for body in [body, "forbidden"] {
            assert_eq!(says(body, DATE, NOW_MS + 432_000).as_deref(), Some(ahead));
            assert_eq!(says(body, DATE, NOW_MS - 432_000).as_deref(), Some(behind));
        }
        let maybe = "this machine's clock may be wrong; have NTP set it";
        for date in [None, Some("yesterday"), DATE] {
            assert_eq!(says(body, date, NOW_MS).as_deref(), Some(maybe));
        }
    }

    #[test]
    fn other_refusals_are_not_blamed_on_the_clock() {
        assert_eq!(says("not authorized", DATE, NOW_MS + 59_000), None);
        assert_eq!(says("not authorized", None, NOW_MS), None);
        assert_eq!(remedy(400, "Signature expired", None, NOW_MS), None);
        assert_eq!(remedy(503, "", DATE, 0), None);
    }
}
