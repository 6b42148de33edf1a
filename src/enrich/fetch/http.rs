//! Tables over HTTP.

use reqwest::header::{
    ETAG, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
};
use reqwest::{Client, Response, StatusCode, Url, redirect};

use super::body::Chunks;
use super::waiter::{Stopped, Waiter};
use super::{Failure, Found, Stamp};
use crate::enrich::from::TableSource;
use crate::enrich::http_client::{builder, headers};
use crate::telemetry::with_causes;

/// How many redirects are followed.
const MAX_REDIRECTS: usize = 5;

/// An address.
#[derive(Debug)]
pub(super) struct HttpPlace {
    client: Client,
    url: Url,
}

impl HttpPlace {
    pub(super) fn build(url: &Url, from: &TableSource) -> Result<Self, String> {
        let builder = builder(url)
            .default_headers(headers(&from.headers)?)
            .timeout(from.timeout().to_std())
            .redirect(redirect::Policy::custom(within_host));
        Ok(Self {
            client: builder.build().map_err(|error| with_causes(&error))?,
            url: url.clone(),
        })
    }

    pub(super) fn fetch<'a>(
        &self,
        known: Option<&Stamp>,
        waiter: &'a Waiter,
    ) -> Result<Found<'a>, Failure> {
        let mut request = self.client.get(self.url.clone());
        if let Some((name, value)) = known.and_then(condition) {
            request = request.header(name, value);
        }
        let mut response = waiter
            .wait(async move { request.send().await })
            .map_err(|Stopped| Failure::Stopped)?
            .map_err(|error| unreachable_server(&error))?;
        let status = response.status();
        if status == StatusCode::NOT_MODIFIED && known.is_some() {
            return Ok(None);
        }
        if status != StatusCode::OK {
            return Err(refused(status));
        }
        let stamp = stamp_of(&response);
        let next = move |waiter: &Waiter| {
            waiter
                .wait(async { response.chunk().await })
                .map_err(|Stopped| Failure::Stopped)?
                .map_err(|error| Failure::Temporary(with_causes(&error.without_url())))
        };
        let chunks = Chunks::new(waiter, Box::new(next));
        Ok(Some((Box::new(chunks), stamp)))
    }
}

/// A redirect to another host would carry the headers there, and may be a captive portal.
fn within_host(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let (next, hops) = (attempt.url(), attempt.previous().len());
    let same_host = attempt.previous().first().is_some_and(|first| {
        let same_port = first.port_or_known_default() == next.port_or_known_default();
        let becomes_safe = (first.scheme(), next.scheme()) == ("http", "https");
        first.host_str() == next.host_str()
            && (becomes_safe || (same_port && first.scheme() == next.scheme()))
    });
    if !same_host {
        let host = next.host_str().unwrap_or("no host").to_owned();
        attempt.error(format!("redirected to another host, {host}; name that one"))
    } else if hops > MAX_REDIRECTS {
        attempt.error(format!("redirected more than {MAX_REDIRECTS} times"))
    } else {
        attempt.follow()
    }
}

fn unreachable_server(error: &reqwest::Error) -> Failure {
    let words = std::error::Error::source(error).map_or_else(|| error.to_string(), with_causes);
    if error.is_redirect() || error.is_builder() {
        Failure::Permanent(words)
    } else if error.is_timeout() {
        Failure::Temporary("no answer in time".to_owned())
    } else {
        Failure::Temporary(words)
    }
}

fn refused(status: StatusCode) -> Failure {
    let words = format!("the server answers {status}");
    let may_pass = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
    if status.is_server_error() || may_pass.contains(&status) {
        Failure::Temporary(words)
    } else {
        Failure::Permanent(words)
    }
}

/// The header that asks for a change since an answer with this stamp.
fn condition(stamp: &Stamp) -> Option<(HeaderName, HeaderValue)> {
    let (kind, value) = stamp.split_once(' ')?;
    let name = match kind {
        "etag" => IF_NONE_MATCH,
        _ => IF_MODIFIED_SINCE,
    };
    Some((name, HeaderValue::from_str(value).ok()?))
}

fn stamp_of(response: &Response) -> Option<Stamp> {
    let header = |name| response.headers().get(name)?.to_str().ok();
    let tag = header(ETAG).map(|tag| format!("etag {tag}"));
    tag.or_else(|| header(LAST_MODIFIED).map(|time| format!("modified {time}")))
}
