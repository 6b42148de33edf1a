//! What the AWS SDK asks over HTTP for credentials goes through the HTTP client that weir has.

use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use reqwest::header::HeaderMap;
use reqwest::{Client, ClientBuilder, Method, Request, Url, redirect, retry};

/// The longest time for a request that has no other limit.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Makes a client for every request: there are a few of them an hour, and to keep a connection for
/// that long would be no use.
#[derive(Debug, Clone, Copy)]
pub(super) struct SdkHttp;

/// What an SDK client asks often: with one client that keeps its connections, and answers that are read
/// while they come.
#[cfg(feature = "kinesis")]
#[derive(Debug, Clone)]
pub struct StreamingHttp(Client);

#[cfg(feature = "kinesis")]
impl StreamingHttp {
    /// A client for an address; without TLS it needs no certificates, and no proxy is asked.
    ///
    /// # Errors
    /// The system's certificates cannot be read.
    pub fn new(is_plain: bool) -> Result<Self, String> {
        let client = builder(is_plain)
            .connect_timeout(Duration::from_secs(5))
            // A connection that has died without a word must not be waited for.
            .http2_keep_alive_interval(Duration::from_secs(15))
            .http2_keep_alive_timeout(Duration::from_secs(10))
            .build();
        client.map(Self).map_err(|error| error.to_string())
    }
}

#[cfg(feature = "kinesis")]
impl HttpClient for StreamingHttp {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

#[cfg(feature = "kinesis")]
impl HttpConnector for StreamingHttp {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request = converted(&request)?;
            let response = client.execute(request).await.map_err(failure)?;
            let status = response.status().as_u16();
            let headers = response.headers().clone();
            let body = SdkBody::from_body_1_x(reqwest::Body::from(response));
            answer(status, &headers, body)
        })
    }
}

#[derive(Debug)]
struct Connector {
    timeout: Duration,
}

impl HttpClient for SdkHttp {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let read = settings.read_timeout().unwrap_or(TIMEOUT);
        let connect = settings.connect_timeout().unwrap_or_default();
        SharedHttpConnector::new(Connector {
            timeout: (read + connect).min(TIMEOUT),
        })
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let timeout = self.timeout;
        HttpConnectorFuture::new(exchange(request, timeout))
    }
}

async fn exchange(request: HttpRequest, timeout: Duration) -> Result<HttpResponse, ConnectorError> {
    let request = converted(&request)?;
    let client = client(request.url(), timeout).map_err(failure)?;
    let response = client.execute(request).await.map_err(failure)?;
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let body = response.bytes().await.map_err(failure)?;
    answer(status, &headers, SdkBody::from(body))
}

fn answer(status: u16, headers: &HeaderMap, body: SdkBody) -> Result<HttpResponse, ConnectorError> {
    let status = status
        .try_into()
        .map_err(|error| ConnectorError::other(Box::new(error), None))?;
    let mut answer = HttpResponse::new(status, body);
    for (name, value) in headers {
        // What is no text means nothing to the SDK.
        if let Ok(value) = value.to_str() {
            answer
                .headers_mut()
                .append(name.as_str().to_owned(), value.to_owned());
        }
    }
    Ok(answer)
}

fn client(url: &Url, timeout: Duration) -> reqwest::Result<Client> {
    builder(url.scheme() == "http")
        .http1_only()
        .timeout(timeout)
        .build()
}

fn builder(is_plain: bool) -> ClientBuilder {
    // An error says that there is a choice already, which then counts.
    drop(rustls::crypto::ring::default_provider().install_default());
    let mut builder = Client::builder()
        .redirect(redirect::Policy::none())
        .retry(retry::never());
    if is_plain {
        // Without TLS there are only the services of this machine and its neighbours, which no
        // proxy reaches; and certificates, which a bare container has none of, are not needed.
        builder = builder.no_proxy().tls_certs_only([]);
    }
    builder
}

fn converted(request: &HttpRequest) -> Result<Request, ConnectorError> {
    let unusable = |error| ConnectorError::user(error);
    let method = request.method().parse::<Method>();
    let method = method.map_err(|error| unusable(error.into()))?;
    let url = Url::parse(request.uri()).map_err(|error| unusable(error.into()))?;
    let mut converted = Request::new(method, url);
    for (name, value) in request.headers() {
        let name = name.parse::<reqwest::header::HeaderName>();
        let name = name.map_err(|error| unusable(error.into()))?;
        let value = value.parse::<reqwest::header::HeaderValue>();
        let mut value = value.map_err(|error| unusable(error.into()))?;
        value.set_sensitive(true);
        converted.headers_mut().append(name, value);
    }
    let body = request.body().bytes();
    let body = body.ok_or_else(|| unusable("the request is a stream".into()))?;
    *converted.body_mut() = Some(body.to_vec().into());
    Ok(converted)
}

/// Without the URL, whose query may hold a token.
fn failure(error: reqwest::Error) -> ConnectorError {
    let (timeout, connect) = (error.is_timeout(), error.is_connect());
    let error = Box::new(error.without_url());
    if timeout {
        ConnectorError::timeout(error)
    } else if connect {
        ConnectorError::io(error).never_connected()
    } else {
        ConnectorError::io(error)
    }
}
