//! What a receiver says to a request.

use super::failure::Failure;

/// The answer to a request, or why there is none.
#[derive(Debug)]
pub(in crate::write::remote_write) struct Reply {
    /// The HTTP status of a success, or what went wrong.
    pub(in crate::write::remote_write) result: Result<u16, Failure>,
    /// What the receiver says it has written, where it says so, which only 2.0 has.
    pub(in crate::write::remote_write) written: Option<Written>,
}

/// What a receiver of 2.0 says it has written. It is never trusted to mean that the samples are there:
/// Prometheus counts samples that it drops when it commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::write::remote_write) struct Written {
    /// Numbers.
    pub(in crate::write::remote_write) samples: u64,
    /// Native histograms.
    pub(in crate::write::remote_write) histograms: u64,
}

impl Written {
    /// Reads the headers `X-Prometheus-Remote-Write-*-Written`. One that is not there is 0; nothing
    /// where none of them is.
    pub(in crate::write::remote_write) fn of<'a>(
        header: impl Fn(&str) -> Option<&'a str>,
    ) -> Option<Self> {
        let count = |kind: &str| {
            header(&format!("x-prometheus-remote-write-{kind}-written"))?
                .trim()
                .parse()
                .ok()
        };
        let (samples, histograms) = (count("samples"), count("histograms"));
        samples.or(histograms).or(count("exemplars"))?;
        Some(Self {
            samples: samples.unwrap_or_default(),
            histograms: histograms.unwrap_or_default(),
        })
    }
}

impl Reply {
    /// The HTTP status, where there was an answer.
    pub(in crate::write::remote_write) fn status(&self) -> Option<u16> {
        match &self.result {
            Ok(status) => Some(*status),
            Err(failure) => failure.code()?.parse().ok(),
        }
    }
}

impl From<Result<u16, Failure>> for Reply {
    fn from(result: Result<u16, Failure>) -> Self {
        Self {
            result,
            written: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_are_missing_are_0_unless_all_are() {
        let written = |headers: &[(&str, &'static str)]| {
            Written::of(|name| {
                let mut headers = headers.iter();
                let found = headers
                    .find(|(kind, _)| name == format!("x-prometheus-remote-write-{kind}-written"));
                found.map(|(_, value)| *value)
            })
        };
        assert_eq!(written(&[]), None);
        assert_eq!(written(&[("samples", "many")]), None);
        let some = |samples, histograms| {
            Some(Written {
                samples,
                histograms,
            })
        };
        assert_eq!(written(&[("samples", "7")]), some(7, 0));
        assert_eq!(written(&[("histograms", "3")]), some(0, 3));
        assert_eq!(written(&[("exemplars", "0")]), some(0, 0));
        assert_eq!(
            written(&[("samples", "7"), ("histograms", " 3")]),
            some(7, 3)
        );
    }
}
