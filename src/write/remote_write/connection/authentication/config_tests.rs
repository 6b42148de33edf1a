use super::*;

const AMAZON: &str =
    "https://aps-workspaces.eu-central-1.amazonaws.com/workspaces/ws-1/api/v1/remote_write";

fn problems(config: serde_json::Value) -> Vec<String> {
    let config: RemoteWriteConfig = serde_json::from_value(config).unwrap();
    let problems = config.validate().into_iter();
    problems
        .map(|(path, message)| format!("{} {message}", path.join(".")))
        .collect()
}

/// Settings beside the URL, as YAML's flow style would have them.
fn at(url: &str, settings: &str) -> Vec<String> {
    let mut config: serde_json::Value = serde_json::from_str(settings).unwrap();
    config["url"] = url.into();
    problems(config)
}

#[test]
fn what_is_right_is_taken() {
    let vpc = "https://vpce-1.aps-workspaces.eu-west-1.vpce.amazonaws.com/workspaces/w/api/v1/remote_write";
    for (url, settings) in [
        (AMAZON, r#"{"sigv4": {}}"#),
        (AMAZON, r#"{"sigv4": {"region": "eu-central-1"}}"#),
        (
            vpc,
            r#"{"sigv4": {"role_arn": "arn:aws-cn:iam::1:role/path/m", "external_id": 7, "session_name": "weir@1"}}"#,
        ),
        (
            "http://127.0.0.1/x",
            r#"{"sigv4": {"region": "us-east-1", "access_key": "a", "secret_key": "b", "service": "aps"}}"#,
        ),
        (
            "https://db",
            r#"{"oauth2": {"client_id": "a", "client_secret": "b", "token_url": "https://t", "scopes": ["a", "b"], "endpoint_params": {"audience": "x"}}}"#,
        ),
        (
            "https://db",
            r#"{"tls_config": {"ca_file": "a", "cert_file": "b", "key_file": "c", "server_name": "db.example.org"}}"#,
        ),
        (
            "https://db",
            r#"{"proxy_url": "http://proxy:3128", "proxy_auth": {"username": "a", "password_file": "b"}, "tenant": "fleet"}"#,
        ),
        (AMAZON, r#"{"headers": {"Authorization": "x"}}"#),
    ] {
        assert_eq!(at(url, settings), [""; 0], "{settings}");
    }
}

#[test]
fn one_kind_of_authorization_at_a_time() {
    let basic = r#""basic_auth": {"username": "a", "password": "b"}"#;
    let oauth2 = r#""oauth2": {"client_id": "a", "client_secret": "b", "token_url": "https://t"}"#;
    let sigv4 = r#""sigv4": {"region": "us-east-1"}"#;
    for (settings, expected) in [
        (
            format!("{{{basic}, {sigv4}}}"),
            vec!["sigv4 is given together with basic_auth; remove one of them"],
        ),
        (
            format!(r#"{{"bearer_token_file": "a", {basic}}}"#),
            vec!["basic_auth is given together with a bearer token; remove one of them"],
        ),
        (
            format!(r#"{{"bearer_token": "a", {oauth2}, {sigv4}}}"#),
            vec![
                "oauth2 is given together with a bearer token; remove one of them",
                "sigv4 is given together with a bearer token; remove one of them",
            ],
        ),
        (
            format!(r#"{{{oauth2}, "headers": {{"authorization": "x"}}}}"#),
            vec![
                "headers.authorization 'authorization' is given together with other credentials; remove one",
            ],
        ),
        (
            format!(r#"{{{sigv4}, "headers": {{"X-Amz-Date": "x"}}}}"#),
            vec!["headers.X-Amz-Date 'X-Amz-Date' belongs to the signature; remove it"],
        ),
    ] {
        assert_eq!(at("https://db", &settings), expected, "{settings}");
    }
}

#[test]
fn the_region_fits_the_url() {
    for (url, settings, expected) in [
        (
            AMAZON,
            r#"{"sigv4": {"region": "us-east-1"}}"#,
            "sigv4.region is 'us-east-1', but the url is of eu-central-1; leave region out, or correct one of them",
        ),
        (
            "https://metrics.example.org/",
            r#"{"sigv4": {}}"#,
            "sigv4 has no region, and the url tells none; give region, such as eu-central-1",
        ),
        (
            "https://metrics.example.org/",
            r#"{"sigv4": {"region": "eu central"}}"#,
            "sigv4.region 'eu central' is not a region; write one such as eu-central-1",
        ),
        (
            AMAZON,
            "{}",
            "url is of Amazon Managed Prometheus, which takes signed requests only; add sigv4",
        ),
        (
            "https://aps-workspaces.eu-central-1.amazonaws.com/workspaces/ws-1/",
            r#"{"sigv4": {}}"#,
            "url has path '/workspaces/ws-1/'; that of Amazon Managed Prometheus ends in /api/v1/remote_write",
        ),
        (
            "http://aps-workspaces.eu-central-1.api.aws/workspaces/ws-1/api/v1/remote_write",
            r#"{"sigv4": {}}"#,
            "url is not https, which Amazon asks for",
        ),
    ] {
        assert_eq!(at(url, settings), [expected], "{url} {settings}");
    }
}

#[test]
fn who_signs_is_told_in_one_way() {
    for (sigv4, expected) in [
        (
            r#"{"access_key": "a"}"#,
            "sigv4.access_key is given without secret_key; give both, or none",
        ),
        (
            r#"{"secret_key": "a"}"#,
            "sigv4.secret_key is given without access_key; give both, or none",
        ),
        (
            r#"{"access_key": "a", "secret_key": "b", "profile": "c"}"#,
            "sigv4.profile is given together with access_key; remove one of them",
        ),
        (
            r#"{"external_id": "a"}"#,
            "sigv4.external_id needs role_arn beside it",
        ),
        (
            r#"{"session_name": "ab"}"#,
            "sigv4.session_name needs role_arn beside it",
        ),
        (
            r#"{"role_arn": "metrics"}"#,
            "sigv4.role_arn 'metrics' is no role; write one such as arn:aws:iam::123456789012:role/name",
        ),
        (
            r#"{"role_arn": "arn:aws:iam::1:role/m", "session_name": "a b"}"#,
            "sigv4.session_name 'a b' is no name of a session; use 2 to 64 letters, digits and _+=,.@-",
        ),
        (
            r#"{"service": ""}"#,
            "sigv4.service is empty; leave it out, or write aps",
        ),
    ] {
        assert_eq!(at(AMAZON, &format!(r#"{{"sigv4": {sigv4}}}"#)), [expected]);
    }
}

#[test]
fn oauth2_tls_and_proxy_are_checked() {
    let oauth2 = |settings: &str| format!(r#"{{"oauth2": {settings}}}"#);
    for (url, settings, expected) in [
        (
            "https://db",
            oauth2(r#"{"client_id": "a", "token_url": "https://t"}"#),
            "oauth2 has neither client_secret nor client_secret_file; give one of them",
        ),
        (
            "https://db",
            oauth2(r#"{"client_id": "", "client_secret": "b", "token_url": "https://t"}"#),
            "oauth2.client_id is empty; give who asks",
        ),
        (
            "https://db",
            oauth2(r#"{"client_id": "a", "client_secret": "b", "token_url": "https://u:p@t"}"#),
            "oauth2.token_url carries credentials; put them into client_secret",
        ),
        (
            "https://db",
            oauth2(
                r#"{"client_id": "a", "client_secret": "b", "token_url": "https://t", "scopes": ["a b"]}"#,
            ),
            "oauth2.scopes 'a b' is no scope; write one without spaces an item",
        ),
        (
            "https://db",
            oauth2(
                r#"{"client_id": "a", "client_secret": "b", "token_url": "https://t", "endpoint_params": {"scope": "x"}}"#,
            ),
            "oauth2.endpoint_params.scope 'scope' has a key of its own or is always the same; remove it",
        ),
        (
            "https://db",
            r#"{"tls_config": {"cert_file": "a"}}"#.to_owned(),
            "tls_config.cert_file is given without key_file; give both, or none",
        ),
        (
            "http://db",
            r#"{"tls_config": {"ca_file": "a"}}"#.to_owned(),
            "tls_config is for https, and the url is http; remove it, or use https",
        ),
        (
            "https://db",
            r#"{"tls_config": {"server_name": "10.0.0.1"}}"#.to_owned(),
            "tls_config.server_name '10.0.0.1' is not the name of a host; write one such as db.example.org",
        ),
        (
            "https://db",
            r#"{"proxy_url": "http://u:p@proxy"}"#.to_owned(),
            "proxy_url carries credentials; put them into proxy_auth",
        ),
        (
            "https://db",
            r#"{"proxy_url": "proxy:3128"}"#.to_owned(),
            "proxy_url has scheme 'proxy'; use http or https",
        ),
        (
            "https://db",
            r#"{"proxy_auth": {"username": "a", "password": "b"}}"#.to_owned(),
            "proxy_auth needs proxy_url beside it",
        ),
        (
            "https://db",
            r#"{"proxy_url": "http://proxy", "tls_config": {"server_name": "db2"}}"#.to_owned(),
            "proxy_url is given together with server_name, which a proxy would look up; remove one",
        ),
        (
            "https://db",
            r#"{"tenant": "a", "headers": {"x-scope-orgid": "b"}}"#.to_owned(),
            "tenant is given together with the header x-scope-orgid; remove one of them",
        ),
        (
            "https://db",
            r#"{"tenant": "a\nb"}"#.to_owned(),
            "tenant 'a\\nb' is no tenant; use letters and digits",
        ),
    ] {
        assert_eq!(at(url, &settings), [expected], "{settings}");
    }
}

#[test]
fn shows_no_secret() {
    let config: RemoteWriteConfig = serde_json::from_value(serde_json::json!({
        "url": "https://db",
        "oauth2": {
            "client_id": "a", "client_secret": "hunter2", "token_url": "https://t",
            "endpoint_params": { "scope": "hunter2" }
        },
        "sigv4": { "access_key": "a", "secret_key": "hunter2", "external_id": "hunter2" },
        "proxy_auth": { "username": "a", "password": "hunter2" }
    }))
    .unwrap();
    assert!(!format!("{config:?} {:?}", config.validate()).contains("hunter2"));
}
