use super::*;

fn problems(json: &str) -> Vec<String> {
    let config: RemoteWriteConfig = serde_json::from_str(json).unwrap();
    config
        .validate()
        .into_iter()
        .map(|(path, message)| format!("{} {message}", path.join(".")))
        .collect()
}

#[test]
fn has_the_defaults_of_the_reference() {
    let config: RemoteWriteConfig =
        serde_json::from_str(r#"{"url": "http://127.0.0.1:9090/api/v1/write"}"#).unwrap();
    assert_eq!(config.validate(), []);
    assert_eq!(config.protocol, ProtocolChoice::V1);
    assert_eq!(config.metadata_interval, Duration::from_secs(60));
    assert_eq!((config.min_shards, config.max_shards), (1, 8));
    assert_eq!(config.queue_bytes, 16_777_216);
    assert_eq!(config.batch, BatchConfig::default());
    assert_eq!(config.batch.samples, 2_000);
    assert_eq!(config.batch.bytes, 524_288);
    assert_eq!(config.batch.deadline, Duration::from_secs(1));
    assert_eq!(config.batch.samples_per_series, 1);
    assert!(config.journal_sync);
    assert_eq!(config.timeout, Duration::from_secs(30));
    assert_eq!(config.backoff.min, Duration::from_millis(30));
    assert_eq!(config.backoff.max, Duration::from_secs(5));
    assert_eq!(config.receiver_kind(), ReceiverKind::Generic);
    assert_eq!(config.receiver_limits().label_value_bytes, Some(2_048));
}

#[test]
fn says_what_is_wrong_and_what_would_be_right() {
    let cases = [
        (
            r#"{"url": "prometheus"}"#,
            "url is not a URL: relative URL without a base; write http://host:port/path or https://…",
        ),
        (
            r#"{"url": "ftp://db/x"}"#,
            "url has scheme 'ftp'; use http or https",
        ),
        (
            r#"{"url": "http://me:pass@db/x"}"#,
            "url carries credentials; put them into basic_auth",
        ),
        (
            r#"{"url": "http://db", "min_shards": 0}"#,
            "min_shards is 0; use 1 to 1024",
        ),
        (
            r#"{"url": "http://db", "max_shards": 1025}"#,
            "max_shards is 1025; use 1 to 1024",
        ),
        (
            r#"{"url": "http://db", "min_shards": 9}"#,
            "min_shards is 9, which is more than max_shards, 8; use at most max_shards",
        ),
        (
            r#"{"url": "http://db", "batch": {"bytes": 0}}"#,
            "batch.bytes is 0; use 1 to 33554432, such as 524288",
        ),
        (
            r#"{"url": "http://db", "backoff": {"min": "10s"}}"#,
            "backoff.min is 10s, which is more than max, 5s; use at most max",
        ),
        (
            r#"{"url": "http://db", "timeout": "0s"}"#,
            "timeout is 0s; use at least 1ms, such as 30s",
        ),
        (
            r#"{"url": "http://db", "basic_auth": {"username": "me"}}"#,
            "basic_auth has neither password nor password_file; give one of them",
        ),
        (
            r#"{"url": "http://db", "basic_auth": {"username": "me", "password": "a", "password_file": "b"}}"#,
            "basic_auth.password_file is given together with password; remove one of them",
        ),
        (
            r#"{"url": "http://db", "bearer_token": "a", "bearer_token_file": "b"}"#,
            "bearer_token_file is given together with bearer_token; remove one of them",
        ),
        (
            r#"{"url": "http://db", "bearer_token": "a\nb"}"#,
            "bearer_token holds characters that a header cannot carry",
        ),
        (
            r#"{"url": "http://db", "headers": {"Content-Type": "text/plain"}}"#,
            "headers.Content-Type 'Content-Type' belongs to the protocol; remove it",
        ),
        (
            r#"{"url": "http://db", "headers": {"x y": "1"}}"#,
            "headers.x y 'x y' is no header name; use letters, digits and hyphens",
        ),
        (
            r#"{"url": "http://db", "receiver": "amp", "batch": {"bytes": 1000001}}"#,
            "batch.bytes is 1000001, and Amazon Managed Prometheus takes requests of up to 1000000; \
             use fewer, such as 524288",
        ),
    ];
    for (json, expected) in cases {
        assert_eq!(problems(json), [expected], "{json}");
    }
}

#[test]
fn the_address_of_amazon_tells_its_kind_unless_another_is_given() {
    let of = |url: &str, receiver: &str| {
        let json = format!(r#"{{"url": "{url}", "sigv4": {{}}, "receiver": {receiver}}}"#);
        let config: RemoteWriteConfig = serde_json::from_str(&json).unwrap();
        assert_eq!(
            config.receiver_limits(),
            ReceiverLimits::of(config.receiver_kind())
        );
        config.receiver_kind()
    };
    let path = "workspaces/ws-1/api/v1/remote_write";
    for host in [
        "aps-workspaces.eu-central-1.amazonaws.com",
        "APS-Workspaces.eu-central-1.api.aws",
        "vpce-1.aps-workspaces.eu-west-1.vpce.amazonaws.com",
    ] {
        let url = format!("https://{host}/{path}");
        assert_eq!(of(&url, "null"), ReceiverKind::Amp);
        assert_eq!(of(&url, "\"amp\""), ReceiverKind::Amp);
        assert_eq!(of(&url, "\"generic\""), ReceiverKind::Generic);
    }
    let elsewhere = format!("https://proxy.example.org/{path}");
    assert_eq!(of(&elsewhere, "null"), ReceiverKind::Generic);
    assert_eq!(of(&elsewhere, "\"amp\""), ReceiverKind::Amp);
    assert_eq!(of("nonsense", "null"), ReceiverKind::Generic);
}

#[test]
fn shows_no_secret() {
    let config: RemoteWriteConfig = serde_json::from_str(
        r#"{"url": "http://db", "basic_auth": {"username": "me", "password": "hunter2"},
            "bearer_token": "hunter2", "headers": {"X-Key": "hunter2"}}"#,
    )
    .unwrap();
    assert!(!format!("{config:?} {:?}", config.validate()).contains("hunter2"));
}
