//! The `time` section of a pipeline file and the `window` of a metric.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::panes::Panes;
use super::windows::{Windows, zone_of};
use crate::model::Duration;

/// How event time behaves.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TimeConfig {
    /// How far events of one split may be out of order. The split's watermark is its highest event
    /// time minus this.
    pub out_of_order: Duration,
    /// A connected split with nothing to read for this long no longer holds back the watermark.
    pub idle_after: Duration,
    /// Events further ahead of the clock than this are dropped and move no watermark.
    pub max_ahead: Duration,
    /// What happens to late events.
    pub late: LatePolicy,
}

impl Default for TimeConfig {
    fn default() -> Self {
        Self {
            out_of_order: Duration::from_secs(2),
            idle_after: Duration::from_secs(10),
            max_ahead: Duration::from_secs(60),
            late: LatePolicy::Drop,
        }
    }
}

/// What happens to late events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LatePolicy {
    /// They are dropped and counted by metric and reason.
    Drop,
}

/// How a metric's events are cut into windows: exactly one of `tumbling`, `sliding` and `session`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WindowConfig {
    /// The size of windows that follow each other without overlap, aligned to the epoch.
    pub tumbling: Option<Duration>,
    /// The size of windows that overlap; a new one ends every `slide`.
    pub sliding: Option<Duration>,
    /// With `sliding`: from one window's end to the next one's.
    pub slide: Option<Duration>,
    /// The silence that ends a session: a window for each key that lasts as long as events come.
    pub session: Option<Duration>,
    /// With `session` and `per`: how often the sessions that have ended are gathered to a sample.
    pub every: Option<Duration>,
    /// With `tumbling` and `sliding`: how far windows are shifted from the epoch, or with `timezone`
    /// how long after midnight a day begins.
    pub offset: Option<Duration>,
    /// With `tumbling` of whole days: the IANA name of the time zone whose days these are, such as
    /// `Europe/Berlin`.
    pub timezone: Option<String>,
    /// For how long behind its end a window takes in events that would be late. Its sample is
    /// written that much later, once.
    pub allowed_lateness: Option<Duration>,
}

/// What is wrong with a window: at a key, or with the window as a whole.
pub type WindowProblem = (Option<&'static str>, String);

/// More panes in a window than this are refused: each is kept until its last window is over.
const MAX_PANES: i64 = 10_000;
/// Longer windows are refused, ms: a hundred years.
const MAX_SIZE_MS: i64 = 100 * 365 * DAY_MS;
const DAY_MS: i64 = 86_400_000;

impl WindowConfig {
    /// The windows.
    ///
    /// # Errors
    /// Everything that is missing, contradictory or zero.
    pub fn build(&self) -> Result<Windows, Vec<WindowProblem>> {
        let mut problems = self.contradictions();
        let kinds = [
            ("tumbling", self.tumbling),
            ("sliding", self.sliding),
            ("session", self.session),
        ];
        let mut given = kinds
            .iter()
            .filter_map(|(key, size)| Some((*key, (*size)?)));
        let Some((key, size)) = given.next() else {
            problems.push((
                None,
                "missing key: one of 'tumbling', 'sliding' or 'session'".into(),
            ));
            return Err(problems);
        };
        for (other, _) in given {
            problems.push((
                Some(other),
                format!("'{other}' does not go with '{key}'; remove one of them"),
            ));
        }
        for (key, duration) in [
            (key, Some(size)),
            ("slide", self.slide),
            ("every", self.every),
        ] {
            match duration.map(Duration::as_signed_millis) {
                Some(0) => problems.push((Some(key), "must be longer than 0s".into())),
                Some(ms) if ms > MAX_SIZE_MS => {
                    problems.push((Some(key), "must be at most 36500d".into()));
                }
                _ => {}
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let windows = match key {
            "tumbling" => self.tumbling_windows(size),
            "sliding" => self.sliding_windows(size),
            _ => Ok(Windows::session(
                size.as_signed_millis(),
                self.every.map(Duration::as_signed_millis),
            )),
        };
        let lateness = self.allowed_lateness.unwrap_or(Duration::from_millis(0));
        windows
            .map(|windows| windows.with_allowed_lateness(lateness.as_signed_millis()))
            .map_err(|problem| vec![problem])
    }

    /// Keys that mean nothing beside the kind of window that is given.
    fn contradictions(&self) -> Vec<WindowProblem> {
        let (tumbling, sliding) = (self.tumbling.is_some(), self.sliding.is_some());
        let session = self.session.is_some();
        let needs = [
            ("slide", self.slide.is_some(), sliding, "'sliding'"),
            ("every", self.every.is_some(), session, "'session'"),
            (
                "offset",
                self.offset.is_some(),
                tumbling || sliding,
                "'tumbling' or 'sliding'",
            ),
            ("timezone", self.timezone.is_some(), tumbling, "'tumbling'"),
        ];
        needs
            .into_iter()
            .filter(|(_, given, allowed, _)| *given && !*allowed)
            .map(|(key, _, _, with)| {
                (
                    Some(key),
                    format!("'{key}' is for windows with {with}; remove it"),
                )
            })
            .collect()
    }

    fn tumbling_windows(&self, size: Duration) -> Result<Windows, WindowProblem> {
        let (size_ms, offset_ms) = (size.as_signed_millis(), self.offset_ms());
        let Some(name) = &self.timezone else {
            check_offset(offset_ms, size_ms, "the window")?;
            return Ok(Windows::tumbling(Panes::Fixed { size_ms, offset_ms }));
        };
        if size_ms % DAY_MS != 0 {
            let message =
                format!("a time zone is for windows of whole days, found {size}; such as 1d");
            return Err((Some("timezone"), message));
        }
        check_offset(offset_ms, DAY_MS, "a day")?;
        let zone = zone_of(name).ok_or_else(|| {
            let message = format!(
                "unknown time zone '{name}'; use an IANA name such as 'Europe/Berlin' or 'UTC'"
            );
            (Some("timezone"), message)
        })?;
        Ok(Windows::tumbling(Panes::Days {
            days: size_ms / DAY_MS,
            offset_ms,
            zone,
        }))
    }

    fn sliding_windows(&self, size: Duration) -> Result<Windows, WindowProblem> {
        let Some(slide) = self.slide else {
            return Err((
                None,
                "missing key 'slide': how often a window of 'sliding' ends".into(),
            ));
        };
        let (size_ms, slide_ms) = (size.as_signed_millis(), slide.as_signed_millis());
        if slide_ms > size_ms {
            let message = format!(
                "must be at most the size, {size}: events between windows would be in none"
            );
            return Err((Some("slide"), message));
        }
        check_offset(self.offset_ms(), slide_ms, "the slide")?;
        let windows = Windows::sliding(size_ms, slide_ms, self.offset_ms());
        let panes = size_ms / windows.pane(0).length_ms();
        if panes > MAX_PANES {
            let message = format!(
                "makes {panes} panes of a window; at most {MAX_PANES} are allowed, so take a slide with a larger common divisor with {size}"
            );
            return Err((Some("slide"), message));
        }
        Ok(windows)
    }

    fn offset_ms(&self) -> i64 {
        self.offset.map_or(0, Duration::as_signed_millis)
    }
}

fn check_offset(offset_ms: i64, below_ms: i64, what: &str) -> Result<(), WindowProblem> {
    if offset_ms < below_ms {
        return Ok(());
    }
    Err((Some("offset"), format!("must be shorter than {what}")))
}
