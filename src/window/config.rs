//! The `time` section of a pipeline file and the `window` of a metric.

use std::fmt;

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
    /// A split whose events are further ahead of the other splits' than this is not read until they
    /// have caught up.
    pub max_drift: Duration,
    /// What happens to late events.
    pub late: LatePolicy,
    /// How the clocks of the devices are judged. Without it none is.
    pub clock: Option<ClockConfig>,
}

/// How the clocks of devices are judged.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClockConfig {
    /// The text field of the event that tells devices apart.
    pub device: String,
    /// The text fields by which devices with wrong clocks are counted: a model, a firmware.
    #[serde(default)]
    pub by: Vec<String>,
    /// The path of the time at which the event was received, written as the event's own time is.
    /// Where it is left out, what the transport says, or else when weir received it.
    #[serde(default)]
    pub received: Option<String>,
    /// A clock that is wrong by more than this is not believed.
    #[serde(default = "default_max_skew")]
    pub max_skew: Duration,
    /// Drop the events of clocks that are wrong, and count them.
    #[serde(default)]
    pub quarantine: bool,
}

fn default_max_skew() -> Duration {
    Duration::from_secs(300)
}

impl Default for TimeConfig {
    fn default() -> Self {
        Self {
            out_of_order: Duration::from_secs(2),
            idle_after: Duration::from_secs(10),
            max_ahead: Duration::from_secs(60),
            max_drift: Duration::from_secs(300),
            late: LatePolicy::Drop,
            clock: None,
        }
    }
}

/// What happens to late events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LatePolicy {
    /// They are dropped and counted by metric and reason.
    Drop,
    /// They are counted as well, and go to the dead letters.
    Divert,
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
    /// With `tumbling` and `sliding`: a series that has had no sample for so long, by event time, has
    /// ended, and receivers are told by a staleness marker. Without it none ends.
    pub stale_after: Option<Duration>,
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
        let kinds = [
            ("tumbling", self.tumbling),
            ("sliding", self.sliding),
            ("session", self.session),
        ];
        let mut given = kinds
            .iter()
            .filter_map(|(key, size)| Some((*key, (*size)?)));
        let Some((key, size)) = given.next() else {
            let message = "missing key: one of 'tumbling', 'sliding' or 'session'";
            return Err(vec![(None, message.into())]);
        };
        let mut problems = self.contradictions();
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
            ("allowed_lateness", self.allowed_lateness),
            ("stale_after", self.stale_after),
        ] {
            match duration.map(Duration::as_signed_millis) {
                Some(0) if key != "allowed_lateness" => {
                    problems.push((Some(key), "must be longer than 0s".into()))
                }
                Some(ms) if ms > MAX_SIZE_MS => {
                    problems.push((Some(key), "must be at most 36500d".into()));
                }
                _ => {}
            }
        }
        if problems.is_empty() {
            problems.extend(self.too_soon());
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
        let stale_after_ms = self.stale_after.map(Duration::as_signed_millis);
        windows
            .map(|windows| windows.with_allowed_lateness(lateness.as_signed_millis()))
            .map(|windows| windows.with_stale_after(stale_after_ms))
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
            (
                "stale_after",
                self.stale_after.is_some(),
                tumbling || sliding,
                "'tumbling' or 'sliding'",
            ),
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

    /// A series that would have ended before its next sample can be there.
    fn too_soon(&self) -> Option<WindowProblem> {
        let (what, step) = match (self.tumbling, self.slide) {
            (Some(size), _) => ("the window", size),
            (None, slide) => ("the slide", slide?),
        };
        if self.stale_after? >= step {
            return None;
        }
        let message =
            format!("must be at least {what}, {step}: no series has samples more often than that");
        Some((Some("stale_after"), message))
    }

    fn tumbling_windows(&self, size: Duration) -> Result<Windows, WindowProblem> {
        let (size_ms, offset_ms) = (size.as_signed_millis(), self.offset_ms());
        let Some(name) = &self.timezone else {
            check_offset(offset_ms, size_ms, format_args!("the window, {size}"))?;
            return Ok(Windows::tumbling(Panes::Fixed { size_ms, offset_ms }));
        };
        if size_ms % DAY_MS != 0 {
            let message =
                format!("a time zone is for windows of whole days, such as 1d; found {size}");
            return Err((Some("timezone"), message));
        }
        check_offset(offset_ms, DAY_MS, format_args!("a day"))?;
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
        check_offset(
            self.offset_ms(),
            slide_ms,
            format_args!("the slide, {slide}"),
        )?;
        let windows = Windows::sliding(size_ms, slide_ms, self.offset_ms());
        let pane_ms = windows.pane(0).length_ms();
        let panes = size_ms / pane_ms;
        if panes > MAX_PANES {
            let pane = Duration::from_millis(pane_ms.unsigned_abs());
            let message = format!(
                "must cut the size into fewer panes: windows of {size} every {slide} consist of \
                 {panes} panes of {pane}, and at most {MAX_PANES} are allowed; take a longer slide \
                 of which the size is a multiple"
            );
            return Err((Some("slide"), message));
        }
        Ok(windows)
    }

    fn offset_ms(&self) -> i64 {
        self.offset.map_or(0, Duration::as_signed_millis)
    }
}

fn check_offset(
    offset_ms: i64,
    below_ms: i64,
    what: fmt::Arguments<'_>,
) -> Result<(), WindowProblem> {
    if offset_ms < below_ms {
        return Ok(());
    }
    Err((Some("offset"), format!("must be shorter than {what}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::WindowKind;

    fn duration(text: &str) -> Option<Duration> {
        Some(text.parse().unwrap())
    }

    fn built(config: &WindowConfig) -> Windows {
        config.build().unwrap()
    }

    fn problems(config: &WindowConfig) -> Vec<(Option<&'static str>, String)> {
        config.build().unwrap_err()
    }

    fn tumbling(size: &str) -> WindowConfig {
        WindowConfig {
            tumbling: duration(size),
            ..WindowConfig::default()
        }
    }

    fn sliding(size: &str, slide: &str) -> WindowConfig {
        WindowConfig {
            sliding: duration(size),
            slide: duration(slide),
            ..WindowConfig::default()
        }
    }

    fn session(gap: &str) -> WindowConfig {
        WindowConfig {
            session: duration(gap),
            ..WindowConfig::default()
        }
    }

    #[test]
    fn each_kind_is_built_with_its_keys() {
        let shifted = WindowConfig {
            offset: duration("2s"),
            allowed_lateness: duration("30s"),
            ..tumbling("5s")
        };
        let windows = built(&shifted);
        assert_eq!(windows.kind(), WindowKind::Tumbling);
        assert_eq!(windows.lateness_ms(), 30_000);
        assert_eq!(windows.pane(2_000).start, 2_000);
        assert_eq!(windows.pane(1_999).start, -3_000);

        let slides = WindowConfig {
            offset: duration("5s"),
            ..sliding("1m", "20s")
        };
        let windows = built(&slides);
        assert_eq!(windows.next_end(0), 5_000);
        assert_eq!(windows.window(25_000).start, -35_000);
        assert_eq!(windows.pane(6_000).length_ms(), 20_000);
        assert_eq!(windows.lateness_ms(), 0);

        let gathered = WindowConfig {
            every: duration("1m"),
            ..session("5m")
        };
        let kind = WindowKind::Session {
            gap_ms: 300_000,
            every_ms: Some(60_000),
        };
        assert_eq!(built(&gathered).kind(), kind);
    }

    #[test]
    fn days_of_a_zone_begin_at_its_midnight_plus_the_offset() {
        let shifts = WindowConfig {
            timezone: Some("Europe/Berlin".into()),
            offset: duration("6h"),
            ..tumbling("1d")
        };
        // 2026-11-21 at noon UTC; the day began at 05:00 UTC.
        let day = built(&shifts).pane(1_795_262_400_000);
        assert_eq!(day.start, 1_795_237_200_000);
        assert_eq!(day.length_ms(), 86_400_000);
    }

    #[test]
    fn the_widest_windows_that_make_sense_are_taken() {
        built(&sliding("5m", "5m"));
        built(&tumbling("36500d"));
        built(&tumbling("1ms"));
        built(&session("1ms"));
        assert_eq!(built(&sliding("10s", "1ms")).pane(0).length_ms(), 1);
        let offset = WindowConfig {
            offset: duration("4999ms"),
            ..tumbling("5s")
        };
        built(&offset);
    }

    #[test]
    fn everything_else_is_refused_at_the_key_that_is_wrong() {
        let keys = |config: &WindowConfig| -> Vec<Option<&str>> {
            problems(config).into_iter().map(|(key, _)| key).collect()
        };
        assert_eq!(keys(&WindowConfig::default()), [None]);
        assert_eq!(keys(&tumbling("0s")), [Some("tumbling")]);
        assert_eq!(keys(&tumbling("36501d")), [Some("tumbling")]);
        assert_eq!(keys(&sliding("0s", "0s")), [Some("sliding"), Some("slide")]);
        assert_eq!(keys(&sliding("5s", "5001ms")), [Some("slide")]);
        assert_eq!(keys(&sliding("10001ms", "1ms")), [Some("slide")]);
        let without_slide = WindowConfig {
            slide: None,
            ..sliding("5s", "5s")
        };
        assert_eq!(keys(&without_slide), [None]);
        let everything = WindowConfig {
            slide: duration("1s"),
            every: duration("1s"),
            sliding: duration("5s"),
            timezone: Some("UTC".into()),
            ..session("5s")
        };
        assert_eq!(
            keys(&everything),
            [Some("timezone"), Some("session")],
            "with 'sliding', the first kind that is given"
        );
        let zone = |name: &str, size| WindowConfig {
            timezone: Some(name.into()),
            ..tumbling(size)
        };
        assert_eq!(keys(&zone("Europe/Berln", "1d")), [Some("timezone")]);
        assert_eq!(keys(&zone("Europe/Berlin", "5h")), [Some("timezone")]);
        let offset = |offset, config| WindowConfig {
            offset: duration(offset),
            ..config
        };
        assert_eq!(keys(&offset("5s", tumbling("5s"))), [Some("offset")]);
        assert_eq!(keys(&offset("1s", sliding("5s", "1s"))), [Some("offset")]);
        assert_eq!(keys(&offset("24h", zone("UTC", "7d"))), [Some("offset")]);
        assert_eq!(keys(&offset("1s", session("5s"))), [Some("offset")]);
        let late = WindowConfig {
            allowed_lateness: duration("36501d"),
            ..tumbling("5s")
        };
        assert_eq!(keys(&late), [Some("allowed_lateness")]);
        let stale = |after, config| WindowConfig {
            stale_after: duration(after),
            ..config
        };
        assert_eq!(keys(&stale("4s", tumbling("5s"))), [Some("stale_after")]);
        assert_eq!(
            keys(&stale("1s", sliding("9s", "2s"))),
            [Some("stale_after")]
        );
        assert_eq!(
            keys(&stale("36501d", tumbling("5s"))),
            [Some("stale_after")]
        );
        let sessions = stale("1h", session("5s"));
        assert_eq!(keys(&sessions), [Some("stale_after")]);
        for config in [
            stale("5s", tumbling("5s")),
            stale("2s", sliding("9s", "2s")),
        ] {
            let after_ms = config.stale_after.map(Duration::as_signed_millis);
            assert_eq!(built(&config).stale_after_ms(), after_ms);
        }
    }
}
