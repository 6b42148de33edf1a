//! How the clocks of devices are judged.

use super::super::file::PipelineFile;
use super::super::pipeline::Clocks;
use super::Validator;
use crate::model::Duration;

/// Skews are kept as 32-bit milliseconds, which reach further than this.
const GREATEST_SKEW: Duration = Duration::from_secs(7 * 86_400);

/// More labels make more combinations than anybody looks at.
const MOST_BY: usize = 4;

impl Validator<'_> {
    /// The column of the field that tells devices apart. Only decoded fields are known yet.
    pub(super) fn clock_device(&mut self, file: &PipelineFile) -> Option<usize> {
        let clock = file.time.clock.as_ref()?;
        let at = ["time".into(), "clock".into(), "device".into()];
        self.text_field(&at, &clock.device)
    }

    /// The rest of the section, once all fields are known.
    pub(super) fn clocks(&mut self, file: &PipelineFile, device: Option<usize>) -> Option<Clocks> {
        let clock = file.time.clock.as_ref()?;
        let section = ["time".into(), "clock".into()];
        let max_skew = ["time".into(), "clock".into(), "max_skew".into()];
        if clock.max_skew.as_millis() == 0 {
            self.problem(&max_skew, "must be longer than 0s");
        } else if clock.max_skew > GREATEST_SKEW {
            self.problem(&max_skew, "must be at most 7d");
        }
        if let Some(received) = &clock.received {
            self.path(&[section[0], section[1], "received".into()], received);
        }
        if clock.by.len() > MOST_BY {
            let message = format!("must name at most {MOST_BY} fields");
            self.problem(&[section[0], section[1], "by".into()], message);
        }
        let mut by: Vec<(std::sync::Arc<str>, usize)> = Vec::new();
        for (index, name) in clock.by.iter().enumerate() {
            let at = [section[0], section[1], "by".into(), index.into()];
            if ["state", "pipeline"].contains(&name.as_str()) {
                self.problem(
                    &at,
                    format!("'{name}' is a label of weir's own; derive another name"),
                );
            } else if by.iter().any(|(known, _)| **known == **name) {
                self.problem(
                    &at,
                    format!("'{name}' stands there twice; remove one of them"),
                );
            } else if let Some(column) = self.text_field(&at, name) {
                by.push((name.as_str().into(), column));
            }
        }
        Some(Clocks {
            device: device?,
            by,
            max_skew_ms: clock.max_skew.as_signed_millis(),
            quarantine: clock.quarantine,
        })
    }
}
