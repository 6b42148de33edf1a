use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use prost::bytes::Bytes;
use serde_json::{Value, json};

use super::certificates::Authority;
use super::server::{Answer, Heard, Server};
use super::*;
use crate::write::remote_write::connection::client::HttpTransport;
use crate::write::remote_write::delivery::failure::Course;
use crate::write::remote_write::protocol::Protocol;
use crate::write::remote_write::protocol::encode::Body;
use crate::write::remote_write::shard::Transport;

fn transport(url: &str, settings: Value) -> HttpTransport {
    try_transport(url, settings).unwrap()
}

fn try_transport(url: &str, mut settings: Value) -> Result<HttpTransport, WriteError> {
    settings["url"] = url.into();
    let config: RemoteWriteConfig = serde_json::from_value(settings).unwrap();
    assert_eq!(config.validate(), []);
    HttpTransport::new(&config)
}

async fn post(transport: &HttpTransport) -> Result<u16, Failure> {
    let body = Body {
        bytes: Bytes::from_static(b"samples"),
        protocol: Protocol::V1,
        samples: 1,
        histograms: 0,
    };
    transport.post(body, 0).await.result
}

fn ok(body: impl Into<String>) -> Answer {
    (200, String::new(), body.into())
}

/// Lets the clock of timers go on without the wait.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

fn oauth2(server: &Server) -> Value {
    json!({ "oauth2": {
        "client_id": "fleet:1", "client_secret": "s p/ce", "token_url": server.url("/token"),
        "scopes": ["write", "read"], "endpoint_params": { "audience": "https://db/" }
    } })
}

/// Gives numbered tokens.
async fn issuer() -> Server {
    let number = AtomicU32::new(0);
    Server::start(move |_| {
        let number = number.fetch_add(1, Ordering::Relaxed) + 1;
        let token = json!({ "access_token": format!("t{number}"), "expires_in": 3600 });
        ok(token.to_string())
    })
    .await
}

#[tokio::test]
async fn a_token_is_fetched_once_for_all_shards() {
    let (issuer, receiver) = (issuer().await, Server::start(|_| ok("")).await);
    let transport = transport(&receiver.url("/"), oauth2(&issuer));
    let posts = (0..8).map(|_| post(&transport));
    for posted in futures_util::future::join_all(posts).await {
        assert_eq!(posted.unwrap(), 200);
    }
    for heard in receiver.heard() {
        assert_eq!(heard.header("authorization"), "Bearer t1");
        assert_eq!(heard.text(), "samples");
    }
    let asked = issuer.heard();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].line, "POST /token HTTP/1.1");
    assert_eq!(
        asked[0].text(),
        "grant_type=client_credentials&scope=write%20read&audience=https%3A%2F%2Fdb%2F"
    );
    // fleet%3A1:s%20p%2Fce
    let basic = "Basic ZmxlZXQlM0ExOnMlMjBwJTJGY2U=";
    assert_eq!(asked[0].header("authorization"), basic);
}

#[tokio::test]
async fn a_token_that_is_refused_is_fetched_again() {
    let issuer = issuer().await;
    let receiver = Server::start(|heard| match heard.header("authorization") {
        "Bearer t2" => ok(""),
        _ => (401, String::new(), "no".to_owned()),
    });
    let receiver = receiver.await;
    let transport = transport(&receiver.url("/"), oauth2(&issuer));
    // A new token would be refused as well: this is for somebody to look at.
    let failure = post(&transport).await.unwrap_err();
    assert!(matches!(
        failure,
        Failure::Misconfigured { status: 401, .. }
    ));
    assert_eq!(issuer.heard().len(), 1);
    pass(Duration::from_secs(60)).await;
    let failure = post(&transport).await.unwrap_err();
    assert_eq!(
        failure.to_string(),
        "the receiver refused the credentials with 401, others are fetched: no"
    );
    assert_eq!(failure.course(), Course::Repeat);
    assert_eq!(failure.code().as_deref(), Some("401"));
    assert_eq!(post(&transport).await.unwrap(), 200);
    assert_eq!(issuer.heard().len(), 2);
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires() {
    let (issuer, receiver) = (issuer().await, Server::start(|_| ok("")).await);
    let transport = transport(&receiver.url("/"), oauth2(&issuer));
    post(&transport).await.unwrap();
    pass(Duration::from_secs(3_200)).await;
    post(&transport).await.unwrap();
    pass(Duration::from_secs(150)).await;
    post(&transport).await.unwrap();
    let heard = receiver.heard();
    let used: Vec<_> = heard
        .iter()
        .map(|heard| heard.header("authorization"))
        .collect();
    assert_eq!(used, ["Bearer t1", "Bearer t1", "Bearer t2"]);
}

#[tokio::test]
async fn a_server_that_wants_the_secret_in_the_form_gets_it_there() {
    let issuer = Server::start(|heard| match heard.text().contains("client_secret=") {
        true => ok(r#"{"access_token":"a","expires_in":60}"#),
        false => (
            401,
            String::new(),
            r#"{"error":"invalid_client"}"#.to_owned(),
        ),
    });
    let (issuer, receiver) = (issuer.await, Server::start(|_| ok("")).await);
    let transport = transport(&receiver.url("/"), oauth2(&issuer));
    post(&transport).await.unwrap();
    pass(Duration::from_secs(55)).await;
    post(&transport).await.unwrap();
    let asked = issuer.heard();
    let in_form: Vec<_> = asked
        .iter()
        .map(|heard| {
            heard
                .text()
                .contains("&client_id=fleet%3A1&client_secret=s%20p%2Fce")
        })
        .collect();
    // What the server takes is known from then on.
    assert_eq!(in_form, [false, true, true]);
    assert_eq!(asked[2].header("authorization"), "");
}

#[tokio::test]
async fn without_a_token_the_request_waits() {
    let issuer = Server::start(|_| {
        let body = r#"{"error":"unauthorized_client","error_description":"not yet"}"#;
        (403, String::new(), body.to_owned())
    });
    let (issuer, receiver) = (issuer.await, Server::start(|_| ok("")).await);
    let transport = transport(&receiver.url("/"), oauth2(&issuer));
    let failure = post(&transport).await.unwrap_err();
    assert_eq!(
        failure.to_string(),
        "no token: the authorization server refused with 403: unauthorized_client: not yet"
    );
    assert_eq!(failure.course(), Course::Hold);
    assert_eq!(failure.code(), None);
    assert!(receiver.heard().is_empty());
}

#[tokio::test]
async fn a_secret_file_is_read_for_each_token() {
    let (issuer, receiver) = (issuer().await, Server::start(|_| ok("")).await);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    let mut settings = oauth2(&issuer);
    settings["oauth2"]["client_secret"].take();
    settings["oauth2"]["client_secret_file"] = file.to_str().unwrap().into();
    let missing = try_transport(&receiver.url("/"), settings.clone()).unwrap_err();
    assert!(
        matches!(missing, WriteError::Credentials { .. }),
        "{missing}"
    );
    std::fs::write(&file, "one\n").unwrap();
    let transport = transport(&receiver.url("/"), settings);
    post(&transport).await.unwrap();
    std::fs::write(&file, "two\n").unwrap();
    pass(Duration::from_secs(3_600)).await;
    post(&transport).await.unwrap();
    let asked = issuer.heard();
    // fleet%3A1:one, fleet%3A1:two
    assert_eq!(
        asked[0].header("authorization"),
        "Basic ZmxlZXQlM0ExOm9uZQ=="
    );
    assert_eq!(
        asked[1].header("authorization"),
        "Basic ZmxlZXQlM0ExOnR3bw=="
    );
}

#[tokio::test]
async fn a_certificate_is_shown_and_a_replaced_one_is_taken() {
    let (ours, theirs) = (Authority::create(), Authority::create());
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_tls(&ours, "db.test").await;
    let url = format!("https://127.0.0.1:{}/write", server.port);
    // A certificate of another authority, which the server does not take.
    let [_, cert_file, key_file] = theirs.write(folder.path(), "weir");
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, ours.certificate.pem()).unwrap();
    let transport = transport(
        &url,
        json!({ "tls_config": {
            "ca_file": ca_file, "cert_file": cert_file, "key_file": key_file,
            "server_name": "db.test"
        } }),
    );
    assert!(matches!(post(&transport).await, Err(Failure::Network(_))));
    ours.write(folder.path(), "weir");
    assert!(matches!(post(&transport).await, Err(Failure::Network(_))));
    pass(Duration::from_secs(31)).await;
    assert_eq!(post(&transport).await.unwrap(), 200);
    // What cannot be used leaves the old ones in use.
    std::fs::write(&cert_file, "no certificate").unwrap();
    pass(Duration::from_secs(31)).await;
    assert_eq!(post(&transport).await.unwrap(), 200);
    let heard = server.heard();
    assert_eq!(heard.len(), 2);
    // The name is asked for in TLS; the server hears the address of the URL.
    assert_eq!(heard[0].server_name.as_deref(), Some("db.test"));
    let address = format!("127.0.0.1:{}", server.port);
    assert_eq!(heard[0].header("host"), address);
}

#[tokio::test]
async fn a_server_is_verified_unless_that_is_switched_off() {
    let (ours, theirs) = (Authority::create(), Authority::create());
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_tls(&theirs, "localhost").await;
    let [ca_file, cert_file, key_file] = theirs.write(folder.path(), "weir");
    std::fs::write(&ca_file, ours.certificate.pem()).unwrap();
    let url = format!("https://localhost:{}/write", server.port);
    let mut tls = json!({ "ca_file": ca_file, "cert_file": cert_file, "key_file": key_file });
    let verifying = transport(&url, json!({ "tls_config": tls.clone() }));
    let failure = post(&verifying).await.unwrap_err().to_string();
    assert!(failure.contains("invalid peer certificate"), "{failure}");
    tls["insecure_skip_verify"] = true.into();
    let trusting = transport(&url, json!({ "tls_config": tls }));
    assert_eq!(post(&trusting).await.unwrap(), 200);
}

#[tokio::test]
async fn files_that_are_no_certificates_are_told_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.pem");
    let refused = |tls: Value| {
        let refused = try_transport("https://db.test", json!({ "tls_config": tls }));
        refused.unwrap_err().to_string()
    };
    let missing = refused(json!({ "ca_file": file }));
    assert!(
        missing.starts_with("cannot read the credentials in "),
        "{missing}"
    );
    std::fs::write(&file, "hunter2").unwrap();
    let nothing = refused(json!({ "ca_file": file }));
    assert_eq!(
        nothing,
        "write.remote_write.tls_config.ca_file cannot be used: there is no certificate in it"
    );
    let nothing = refused(json!({ "cert_file": file, "key_file": file }));
    let expected = "write.remote_write.tls_config.cert_file cannot be used: ";
    assert!(
        nothing.starts_with(expected) && !nothing.contains("hunter2"),
        "{nothing}"
    );
}

#[tokio::test]
async fn requests_go_through_the_proxy_with_its_own_login() {
    let proxy = Server::start(|_| ok("")).await;
    let login = json!({
        "proxy_url": proxy.url(""), "proxy_auth": { "username": "a", "password": "b" },
        "bearer_token": "hunter2",
    });
    let plain = transport("http://db.test:9090/write", login.clone());
    assert_eq!(post(&plain).await.unwrap(), 200);
    let heard = proxy.heard();
    assert_eq!(heard[0].line, "POST http://db.test:9090/write HTTP/1.1");
    assert_eq!(heard[0].header("proxy-authorization"), "Basic YTpi");

    let authority = Authority::create();
    let server = Server::start_tls(&authority, "db.test").await;
    let folder = tempfile::tempdir().unwrap();
    let [ca_file, cert_file, key_file] = authority.write(folder.path(), "weir");
    let mut tunnel = login;
    tunnel["tls_config"] =
        json!({ "ca_file": ca_file, "cert_file": cert_file, "key_file": key_file });
    let tunnel = transport(&format!("https://db.test:{}/write", server.port), tunnel);
    assert_eq!(post(&tunnel).await.unwrap(), 200);
    let heard = proxy.heard();
    assert_eq!(
        heard[1].line,
        format!("CONNECT db.test:{} HTTP/1.1", server.port)
    );
    assert_eq!(heard[1].header("proxy-authorization"), "Basic YTpi");
    // The receiver's credentials are none of the proxy's business, and the other way round.
    assert_eq!(heard[1].header("authorization"), "");
    let heard = server.heard();
    assert_eq!(heard[0].header("authorization"), "Bearer hunter2");
    assert_eq!(heard[0].header("proxy-authorization"), "");
}

#[tokio::test]
async fn the_tenant_goes_out_as_a_header() {
    let receiver = Server::start(|_| ok("")).await;
    let transport = transport(&receiver.url("/"), json!({ "tenant": "fleet-7" }));
    post(&transport).await.unwrap();
    assert_eq!(receiver.heard()[0].header("x-scope-orgid"), "fleet-7");
}

fn signed(url: &str) -> HttpTransport {
    let keys = json!({ "region": "us-east-1", "access_key": "AKID", "secret_key": "hunter2" });
    transport(url, json!({ "sigv4": keys }))
}

#[tokio::test]
async fn what_is_signed_is_what_is_sent() {
    let receiver = Server::start(|_| ok("")).await;
    let transport = signed(&receiver.url("//workspaces//ws-1/api/v1/remote_write"));
    post(&transport).await.unwrap();
    let heard: Heard = receiver.heard().remove(0);
    assert_eq!(
        heard.line,
        "POST /workspaces/ws-1/api/v1/remote_write HTTP/1.1"
    );
    assert_eq!(heard.header("host"), format!("127.0.0.1:{}", receiver.port));
    let authorization = heard.header("authorization");
    let day = heard.header("x-amz-date").split('T').next().unwrap();
    let expected = format!(
        "AWS4-HMAC-SHA256 Credential=AKID/{day}/us-east-1/aps/aws4_request, \
         SignedHeaders=host;x-amz-date, Signature="
    );
    assert!(authorization.starts_with(&expected), "{authorization}");
}

#[tokio::test]
async fn keys_that_are_refused_are_fetched_again_unless_a_policy_is_missing() {
    let answers = [
        "The security token included in the request is expired",
        "User: arn:aws:sts::1:x is not authorized to perform: aps:RemoteWrite",
    ];
    let number = AtomicU32::new(0);
    let receiver = Server::start(move |_| {
        let body = answers[number.fetch_add(1, Ordering::Relaxed) as usize % 2];
        let id = "x-amzn-requestid: 7f-1\r\n";
        (403, id.to_owned(), body.to_owned())
    });
    let transport = signed(&receiver.await.url("/"));
    for attempt in 0..4 {
        pass(Duration::from_secs(60)).await;
        let failure = post(&transport).await.unwrap_err();
        let is_expired = matches!(failure, Failure::Expired { status: 403, .. });
        // The first keys are new.
        assert_eq!(is_expired, attempt == 2, "{attempt}: {failure}");
        assert!(failure.words().ends_with("(request 7f-1)"), "{failure}");
    }
}

#[tokio::test]
async fn a_wrong_clock_is_told_with_its_remedy() {
    let receiver = Server::start(|_| {
        let date = "Date: Tue, 15 Nov 1994 08:12:31 GMT\r\n";
        let words = "Signature not yet current: 20261121T000000Z is still later than";
        (403, date.to_owned(), words.to_owned())
    });
    let receiver = receiver.await;
    let failure = post(&signed(&receiver.url("/"))).await.unwrap_err();
    let words = failure.to_string();
    assert!(words.contains("this machine's clock is "), "{words}");
    assert!(
        words.contains("s ahead of the receiver's; have NTP set it"),
        "{words}"
    );
    assert!(words.contains("Signature not yet current"), "{words}");
    assert!(!words.contains("hunter2"));
}
