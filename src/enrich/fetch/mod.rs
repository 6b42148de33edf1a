//! Fetching the bytes of a table, or the word that they have not changed.

mod body;
mod file;
mod http;
mod s3;
mod waiter;

use std::path::Path;

use super::config::LookupConfig;
use super::error::LoadError;
use super::location::Location;

pub(super) use body::{Body, ContentHash};
pub(super) use waiter::{StopWaiting, Waiter};

/// What tells whether a table has changed, in the words of its place: an entity tag, or a file's
/// time and length. It is kept once the table is in use.
pub(super) type Stamp = String;

/// What was found at a table's place.
pub(super) enum Fetched<'a> {
    /// What was known already.
    Unchanged,
    /// Something else, which is still to be read.
    Changed(Body<'a>, Option<Stamp>),
}

/// Where a table is fetched from.
#[derive(Debug)]
pub(super) struct Fetcher {
    /// How the table is named in messages.
    name: String,
    place: Place,
    max_bytes: u64,
}

#[derive(Debug)]
enum Place {
    File(file::FilePlace),
    Http(Box<http::HttpPlace>),
    S3(Box<s3::S3Place>),
}

impl Fetcher {
    /// Files are looked for in the working folder first, then in `folder`.
    pub(super) fn build(config: &LookupConfig, folder: &Path) -> Result<Self, LoadError> {
        let from = &config.from;
        let text = from.format().1;
        let invalid = |reason: String| LoadError::Read {
            path: text.to_owned(),
            reason,
        };
        let location = text
            .parse::<Location>()
            .map_err(|error| invalid(error.to_string()))?;
        let (name, place) = match &location {
            Location::File(path) => {
                let file = file::FilePlace::find(path, folder);
                (file.to_string(), Place::File(file))
            }
            Location::Http(url) => {
                let http = http::HttpPlace::build(url, from).map_err(invalid)?;
                (location.to_string(), Place::Http(Box::new(http)))
            }
            Location::S3 { bucket, key } => {
                let s3 = s3::S3Place::build(bucket, key, from).map_err(invalid)?;
                (location.to_string(), Place::S3(Box::new(s3)))
            }
        };
        Ok(Self {
            name,
            place,
            max_bytes: from.max_bytes(),
        })
    }

    /// How the table is named in messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The table, or that it is what `known` stands for.
    pub(super) fn fetch<'a>(
        &'a self,
        known: Option<&Stamp>,
        waiter: &'a Waiter,
    ) -> Result<Fetched<'a>, LoadError> {
        let found = match &self.place {
            Place::File(file) => file.fetch(known),
            Place::Http(http) => http.fetch(known, waiter),
            Place::S3(s3) => s3.fetch(known, waiter),
        };
        match found {
            Ok(None) => Ok(Fetched::Unchanged),
            Ok(Some((bytes, stamp))) => Ok(Fetched::Changed(
                Body::new(&self.name, bytes, self.max_bytes),
                stamp,
            )),
            Err(failure) => Err(failure.at(&self.name)),
        }
    }
}

/// Bytes that are still to be read, with their stamp; nothing where they have not changed.
type Found<'a> = Option<(Box<dyn std::io::Read + 'a>, Option<Stamp>)>;

/// Why a table was not fetched.
#[derive(Debug)]
enum Failure {
    /// Another attempt may succeed.
    Temporary(String),
    /// Another attempt would find the same.
    Permanent(String),
    /// The lookup was told to end.
    Stopped,
}

impl Failure {
    fn at(self, name: &str) -> LoadError {
        let path = name.to_owned();
        match self {
            Self::Temporary(reason) => LoadError::Unavailable { path, reason },
            Self::Permanent(reason) => LoadError::Read { path, reason },
            Self::Stopped => LoadError::Stopped { path },
        }
    }
}
