//! Where a table is.

use std::fmt;
use std::str::FromStr;

use reqwest::Url;

/// A path, an address or an object in S3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Location {
    /// A file, relative to the working folder or to the pipeline file's.
    File(String),
    /// `http://…` or `https://…`.
    Http(Url),
    /// `s3://bucket/key`.
    S3 {
        /// The bucket.
        bucket: String,
        /// The object's key.
        key: String,
    },
}

/// Why a text is no location.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidLocation {
    /// An empty text.
    #[error("is empty; write a path, http://…, https://… or s3://bucket/key")]
    Empty,
    /// Not a URL behind its scheme.
    #[error("is not a URL: {0}; write http://host:port/path or https://…")]
    Url(String),
    /// A password would be shown in logs.
    #[error("carries credentials; put them into headers")]
    Credentials,
    /// No bucket or no key.
    #[error("is not an S3 object; write s3://bucket/key")]
    S3,
    /// Something else.
    #[error("has scheme '{0}'; use a path, http, https or s3")]
    Scheme(String),
}

impl FromStr for Location {
    type Err = InvalidLocation;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return if text.is_empty() {
                Err(InvalidLocation::Empty)
            } else {
                Ok(Self::File(text.to_owned()))
            };
        };
        match scheme {
            "http" | "https" => {
                let url = Url::parse(text).map_err(|e| InvalidLocation::Url(e.to_string()))?;
                if !url.username().is_empty() || url.password().is_some() {
                    return Err(InvalidLocation::Credentials);
                }
                Ok(Self::Http(url))
            }
            "s3" => match rest.split_once('/') {
                Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() => Ok(Self::S3 {
                    bucket: bucket.to_owned(),
                    key: key.to_owned(),
                }),
                _ => Err(InvalidLocation::S3),
            },
            _ => Err(InvalidLocation::Scheme(scheme.to_owned())),
        }
    }
}

impl fmt::Display for Location {
    /// As it is named in messages: without a query, which may hold a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.write_str(path),
            Self::Http(url) => {
                let mut shown = url.clone();
                shown.set_query(None);
                shown.set_fragment(None);
                write!(f, "{shown}")
            }
            Self::S3 { bucket, key } => write!(f, "s3://{bucket}/{key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_three_kinds() {
        let read = |text: &str| text.parse::<Location>();
        assert_eq!(
            read("reference/vehicles.csv"),
            Ok(Location::File("reference/vehicles.csv".to_owned()))
        );
        let url = read("https://fleet.example/v.csv?token=hunter2").unwrap();
        assert!(matches!(url, Location::Http(_)));
        assert_eq!(url.to_string(), "https://fleet.example/v.csv");
        let object = read("s3://fleet/reference/v.json").unwrap();
        let Location::S3 { bucket, key } = &object else {
            panic!("{object:?}")
        };
        assert_eq!((&**bucket, &**key), ("fleet", "reference/v.json"));
        assert_eq!(object.to_string(), "s3://fleet/reference/v.json");
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, message) in [
            (
                "",
                "is empty; write a path, http://…, https://… or s3://bucket/key",
            ),
            (
                "http://",
                "is not a URL: empty host; write http://host:port/path or https://…",
            ),
            (
                "http://me:pass@host/v.csv",
                "carries credentials; put them into headers",
            ),
            ("s3://bucket", "is not an S3 object; write s3://bucket/key"),
            ("s3:///key", "is not an S3 object; write s3://bucket/key"),
            (
                "ftp://host/v",
                "has scheme 'ftp'; use a path, http, https or s3",
            ),
        ] {
            let error = text.parse::<Location>().unwrap_err();
            assert_eq!(error.to_string(), message, "{text}");
        }
    }
}
