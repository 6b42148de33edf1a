use super::*;

/// 2015-08-30T12:36:00Z, the time of all vectors.
const TIME_MS: i64 = 1_440_938_160_000;

fn example(token: Option<&str>) -> Credentials {
    let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    let token = token.map(str::to_owned);
    Credentials::new("AKIDEXAMPLE", secret, token, None, "example")
}

fn scope() -> Scope<'static> {
    Scope {
        region: "us-east-1",
        service: "service",
        now_ms: TIME_MS,
    }
}

fn request(method: &str, path: &str) -> Request {
    let url = Url::parse(&format!("https://example.amazonaws.com{path}")).unwrap();
    Request::new(method.parse().unwrap(), clean_path(url))
}

fn header<'a>(request: &'a Request, name: &str) -> &'a str {
    request.headers().get(name).unwrap().to_str().unwrap()
}

#[test]
fn signs_as_the_test_suite_of_aws() {
    let mut vectors = 0;
    for vector in include_str!("signature_vectors.txt").split("\n\n").skip(1) {
        let field = |name: &str| {
            let mut lines = vector.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        };
        let Some(name) = field("name") else { continue };
        let (method, path) = field("request").unwrap().split_once(' ').unwrap();
        let mut request = request(method, path);
        sign(&mut request, &example(field("token")), scope()).unwrap();
        let signed = match field("token") {
            Some(_) => "host;x-amz-date;x-amz-security-token",
            None => "host;x-amz-date",
        };
        let expected = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders={signed}, Signature={}",
            field("signature").unwrap()
        );
        assert_eq!(header(&request, "authorization"), expected, "{name}");
        assert_eq!(header(&request, "x-amz-date"), "20150830T123600Z");
        vectors += 1;
    }
    assert_eq!(vectors, 20);
}

#[test]
fn another_attempt_is_signed_anew() {
    let mut request = request("POST", "/a");
    *request.body_mut() = Some("samples".into());
    sign(&mut request, &example(Some("old")), scope()).unwrap();
    let first = header(&request, "authorization").to_owned();
    let later = Scope {
        now_ms: TIME_MS + 1_000,
        ..scope()
    };
    sign(&mut request, &example(None), later).unwrap();
    assert_ne!(header(&request, "authorization"), first);
    assert_eq!(header(&request, "x-amz-date"), "20150830T123601Z");
    assert!(!request.headers().contains_key("x-amz-security-token"));
    sign(&mut request, &example(Some("old")), scope()).unwrap();
    assert_eq!(header(&request, "authorization"), first);
}

#[test]
fn the_body_and_the_headers_of_amazon_are_signed_and_no_others() {
    let signature = |body: &'static str, name: &'static str| {
        let mut request = request("POST", "/");
        *request.body_mut() = Some(body.into());
        let headers = request.headers_mut();
        headers.insert(name, HeaderValue::from_static("x"));
        sign(&mut request, &example(None), scope()).unwrap();
        header(&request, "authorization").to_owned()
    };
    let plain = signature("samples", "user-agent");
    assert_eq!(signature("samples", "retry-attempt"), plain);
    assert_ne!(signature("Samples", "user-agent"), plain);
    let targeted = signature("samples", "x-amz-target");
    assert!(targeted.contains("SignedHeaders=host;x-amz-date;x-amz-target,"));
}

#[test]
fn the_host_that_is_signed_is_sent() {
    let host = |url: &str| {
        let mut request = Request::new("GET".parse().unwrap(), Url::parse(url).unwrap());
        sign(&mut request, &example(None), scope()).unwrap();
        header(&request, "host").to_owned()
    };
    assert_eq!(host("https://db.example.org/"), "db.example.org");
    assert_eq!(host("https://db.example.org:443/"), "db.example.org");
    assert_eq!(host("https://db.example.org:8443/"), "db.example.org:8443");
    assert_eq!(host("http://[::1]:9090/"), "[::1]:9090");
}

#[test]
fn secrets_are_marked_as_such() {
    let mut request = request("GET", "/");
    sign(&mut request, &example(Some("hunter2")), scope()).unwrap();
    let shown = format!("{request:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("Signature="));
}
