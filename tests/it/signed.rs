//! Requests for Amazon: wherever the credentials come from, botocore verifies what weir has signed.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::support::fake_http::{Request, serve};
use crate::support::files::{run, temporary_folder, weir, write};
use crate::support::process::Process;
use crate::support::signed_receiver::SignedReceiver;

const LIMIT: Duration = Duration::from_secs(60);

/// What no log may show.
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/hunter2";
const TOKEN: &str = "FwoGZXIvYXdzEBYaDkhunter2==";

/// The path as it is written; the slashes are cleaned before it is signed and sent.
const PATH: &str = "//workspaces//ws-1/api/v1/remote_write?b=2&a=x%20y";
const CLEAN_PATH: &str = "/workspaces/ws-1/api/v1/remote_write?b=2&a=x%20y";

/// The keys that the receiver knows, each with a name for where it comes from.
fn keys() -> Value {
    json!({
        "AKIDENVIRONMENT": { "secret": SECRET },
        "ASIASESSION": { "secret": SECRET, "token": TOKEN },
        "AKIDPROFILE": { "secret": SECRET },
        "AKIDGIVEN": { "secret": SECRET },
        "ASIAWEBIDENTITY": { "secret": SECRET, "token": TOKEN },
        "ASIACONTAINER": { "secret": SECRET, "token": TOKEN },
        "ASIAMACHINE": { "secret": SECRET, "token": TOKEN },
    })
}

/// Runs one event through a pipeline with nothing of AWS in the environment but what is given. Gives
/// what became of the requests, after a look for secrets in everything that was logged.
fn send(
    receiver: &SignedReceiver,
    folder: &Path,
    sigv4: &str,
    environment: &[(&str, &str)],
) -> Result<Vec<Value>> {
    let before = receiver.requests()?.len();
    run_signed(receiver, folder, sigv4, environment)?;
    Ok(receiver.requests()?.split_off(before))
}

/// The same, but gives the log.
fn run_signed(
    receiver: &SignedReceiver,
    folder: &Path,
    sigv4: &str,
    environment: &[(&str, &str)],
) -> Result<String> {
    let port = receiver.told("receiver");
    let pipeline = pipeline(&format!(
        "url: \"http://127.0.0.1:{port}{PATH}\"\n    sigv4: {sigv4}"
    ));
    let log = weir_runs(folder, &pipeline, environment, &[])?;
    for secret in [SECRET, TOKEN, &receiver.told("secret"), "Signature="] {
        let is_hidden = secret.is_empty() || !log.contains(secret);
        ensure!(is_hidden, "a log shows {secret}: {log}");
    }
    Ok(log)
}

/// A pipeline with these settings of `remote_write`.
fn pipeline(remote_write: &str) -> String {
    format!(
        "pipeline: fleet
source: {{ file: {{ path: events.ndjson }} }}
event: {{ time: {{ from: t }}, fields: {{ vehicle: text }} }}
metrics:
  vehicles: {{ window: {{ tumbling: 1s }}, value: count(*) }}
write:
  remote_write:
    {remote_write}
    metadata_interval: 0s
"
    )
}

fn weir_runs(
    folder: &Path,
    pipeline: &str,
    environment: &[(&str, &str)],
    more: &[&str],
) -> Result<String> {
    let pipeline = write(folder, "fleet.yaml", pipeline)?;
    let events = write(
        folder,
        "events.ndjson",
        "{\"t\":1730621745000,\"vehicle\":\"V1\"}\n",
    )?;
    let [pipeline, events] = [&pipeline, &events].map(|path| path.to_string_lossy());
    let mut command = weir(["--log-level", "trace", "run", &pipeline, "--input", &events]);
    command.args(["--listen", "127.0.0.1:0"]).args(more);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    command
        .env("HOME", folder)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .envs(environment.iter().copied());
    let ended = run(&command, LIMIT)?;
    ensure!(ended.status.success(), "weir: {}", ended.stderr);
    Ok(ended.stderr)
}

/// Credentials in the JSON of containers and machines.
fn temporary(key: &str) -> String {
    json!({
        "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2024-11-03T00:00:00Z",
        "AccessKeyId": key, "SecretAccessKey": SECRET, "Token": TOKEN,
        "Expiration": "2099-01-01T00:00:00Z",
    })
    .to_string()
}

/// The metadata of a machine, version 2: nothing without a token of its own.
fn machine(request: &Request) -> (u16, String) {
    let role = "/latest/meta-data/iam/security-credentials/";
    match request.line.as_str() {
        "PUT /latest/api/token" => (200, "session".to_owned()),
        _ if request.header("x-aws-ec2-metadata-token") != "session" => (401, String::new()),
        line if line == format!("GET {role}") => (200, "metrics".to_owned()),
        line if line == format!("GET {role}metrics") => (200, temporary("ASIAMACHINE")),
        _ => (404, String::new()),
    }
}

fn container(request: &Request) -> (u16, String) {
    let asked = request.line == "GET /credentials" && request.header("authorization") == "task";
    match asked {
        true => (200, temporary("ASIACONTAINER")),
        false => (403, String::new()),
    }
}

/// The security token service for a web identity.
fn web_identity(request: &Request) -> (u16, String) {
    let expected = [
        "Action=AssumeRoleWithWebIdentity",
        "RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fpod",
        "WebIdentityToken=pod-token",
    ];
    if !expected.iter().all(|part| request.body.contains(part)) {
        return (400, String::new());
    }
    let answer = format!(
        "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">
         <AssumeRoleWithWebIdentityResult><Credentials>
         <AccessKeyId>ASIAWEBIDENTITY</AccessKeyId><SecretAccessKey>{SECRET}</SecretAccessKey>
         <SessionToken>{TOKEN}</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>
         </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
    );
    (200, answer)
}

#[test]
fn whatever_the_credentials_come_from_botocore_verifies_the_signature() -> Result<()> {
    let receiver = SignedReceiver::start(&keys())?;
    let folder = temporary_folder()?;
    let file = |name: &str, text: &str| -> Result<String> {
        Ok(write(folder.path(), name, text)?
            .to_string_lossy()
            .into_owned())
    };
    let profiles = file(
        "profiles",
        &format!("[metrics]\naws_access_key_id=AKIDPROFILE\naws_secret_access_key={SECRET}\n"),
    )?;
    let pod_token = file("pod-token", "pod-token")?;
    let (tokens, task, metadata) = (serve(web_identity)?, serve(container)?, serve(machine)?);
    let task = format!("{task}/credentials");
    let environment = [
        ("AWS_ACCESS_KEY_ID", "AKIDENVIRONMENT"),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
    ];
    let region = "{ region: eu-central-1 }";
    let given =
        format!("{{ region: eu-central-1, access_key: AKIDGIVEN, secret_key: '{SECRET}' }}");
    type Variables<'a> = &'a [(&'a str, &'a str)];
    let sources: [(&str, &str, Variables<'_>); 7] = [
        ("AKIDENVIRONMENT", region, &environment),
        (
            "ASIASESSION",
            region,
            &[
                ("AWS_ACCESS_KEY_ID", "ASIASESSION"),
                ("AWS_SECRET_ACCESS_KEY", SECRET),
                ("AWS_SESSION_TOKEN", TOKEN),
            ],
        ),
        // A profile that is named counts more than what the environment has.
        (
            "AKIDPROFILE",
            "{ region: eu-central-1, profile: metrics }",
            &[
                ("AWS_SHARED_CREDENTIALS_FILE", &profiles),
                ("AWS_ACCESS_KEY_ID", "AKIDENVIRONMENT"),
                ("AWS_SECRET_ACCESS_KEY", SECRET),
            ],
        ),
        ("AKIDGIVEN", &given, &environment),
        (
            "ASIAWEBIDENTITY",
            region,
            &[
                ("AWS_WEB_IDENTITY_TOKEN_FILE", &pod_token),
                ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/pod"),
                ("AWS_ENDPOINT_URL_STS", &tokens),
            ],
        ),
        (
            "ASIACONTAINER",
            region,
            &[
                ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &task),
                ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "task"),
            ],
        ),
        (
            "ASIAMACHINE",
            region,
            &[
                ("AWS_EC2_METADATA_DISABLED", "false"),
                ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &metadata),
            ],
        ),
    ];
    for (key, sigv4, environment) in sources {
        let requests = send(&receiver, folder.path(), sigv4, environment)?;
        let verified = json!({ "path": CLEAN_PATH, "key": key, "session": null });
        assert_eq!(requests, [verified], "{key}");
    }
    Ok(())
}

#[test]
fn a_role_is_taken_on_and_dynamodb_is_asked_with_authentication_switched_on() -> Result<()> {
    let receiver = SignedReceiver::start(&json!({}))?;
    let folder = temporary_folder()?;
    let [moto, key, secret, role] =
        ["moto", "key", "secret", "role"].map(|name| receiver.told(name));
    let environment = [
        ("AWS_ACCESS_KEY_ID", key.as_str()),
        ("AWS_SECRET_ACCESS_KEY", secret.as_str()),
        ("AWS_ENDPOINT_URL_STS", moto.as_str()),
    ];
    let sigv4 = format!("{{ region: eu-central-1, role_arn: '{role}', external_id: fleet-7 }}");
    let requests = send(&receiver, folder.path(), &sigv4, &environment)?;
    let [request] = requests.as_slice() else {
        anyhow::bail!("{requests:?}");
    };
    assert_eq!(request["session"], format!("{role} weir fleet-7"));
    assert_eq!(request["path"], CLEAN_PATH);

    let pipeline = format!(
        "pipeline: fleet
source: {{ file: {{ path: events.ndjson }} }}
event: {{ time: {{ from: t }}, fields: {{ vehicle: text }} }}
enrich:
  - lookup: vehicles
    key: vehicle
    from:
      dynamodb: {{ table: vehicles, key: id, region: eu-central-1, endpoint: '{moto}' }}
      retry: {{ backoff: 1ms }}
    add: [model]
    otherwise: {{ model: unknown }}
metrics:
  vehicles: {{ window: {{ tumbling: 1s }}, by: [model], value: count(*) }}
write: {{ file: {{ path: samples.ndjson }} }}
"
    );
    let output = folder.path().join("samples.ndjson");
    let ask = |environment: &[(&str, &str)]| -> Result<(String, String)> {
        let more = ["--output", &output.to_string_lossy()];
        let stderr = weir_runs(folder.path(), &pipeline, environment, &more)?;
        let samples = std::fs::read_to_string(&output)?;
        std::fs::remove_file(&output)?;
        Ok((samples, stderr))
    };
    let (samples, log) = ask(&environment)?;
    assert!(samples.contains("\"model\":\"Helion\""), "{samples} {log}");
    assert!(!log.contains(&secret), "{log}");
    // moto does verify: with another secret the signature is refused.
    let wrong = [environment[0], ("AWS_SECRET_ACCESS_KEY", SECRET)];
    let (samples, log) = ask(&wrong)?;
    assert!(samples.contains("\"model\":\"unknown\""), "{samples}");
    assert!(
        log.contains("SignatureDoesNotMatch") || log.contains("InvalidSignature"),
        "{log}"
    );
    Ok(())
}

#[test]
fn samples_wait_until_there_are_credentials() -> Result<()> {
    let receiver = SignedReceiver::start(&keys())?;
    let folder = temporary_folder()?;
    let asked = AtomicUsize::new(0);
    // More often than the SDK asks of its own accord.
    let task = serve(move |request| match asked.fetch_add(1, Ordering::Relaxed) {
        0..4 => (500, String::new()),
        _ => container(request),
    })?;
    let task = format!("{task}/credentials");
    let environment = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", task.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "task"),
    ];
    let sigv4 = "{ region: eu-central-1 }";
    let log = run_signed(&receiver, folder.path(), sigv4, &environment)?;
    let verified = json!({ "path": CLEAN_PATH, "key": "ASIACONTAINER", "session": null });
    assert_eq!(receiver.requests()?, [verified], "{log}");
    assert!(log.contains("failure=no credentials of AWS: "), "{log}");
    assert!(log.contains("dropped_samples=0 unsent_samples=0"), "{log}");
    Ok(())
}

#[test]
fn a_proxy_of_the_environment_is_used() -> Result<()> {
    let folder = temporary_folder()?;
    let proxy = serve(|request| {
        let is_ours = request.line == "POST http://db.test/write";
        (if is_ours { 204 } else { 400 }, String::new())
    })?;
    let pipeline = pipeline("url: http://db.test/write");
    let environment = [("HTTP_PROXY", proxy.as_str()), ("NO_PROXY", "other.test")];
    let log = weir_runs(folder.path(), &pipeline, &environment, &[])?;
    assert!(log.contains("dropped_samples=0 unsent_samples=0"), "{log}");
    Ok(())
}

/// Tokens of an OAuth 2.0 server, and a receiver that takes nothing else.
#[test]
fn no_log_shows_a_secret() -> Result<()> {
    let folder = temporary_folder()?;
    let tokens = serve(|request| match request.body.contains("client_secret=") {
        true => (
            200,
            json!({ "access_token": "granted-hunter2" }).to_string(),
        ),
        false => (
            400,
            json!({ "error": "invalid_client", "echo": "hunter2" }).to_string(),
        ),
    })?;
    let receiver = serve(|request| {
        let is_ours = request.header("authorization") == "Bearer granted-hunter2"
            && request.header("x-key") == "header-hunter2"
            && request.header("x-scope-orgid") == "fleet"
            && request.line == "POST /write?token=query-hunter2";
        (if is_ours { 204 } else { 400 }, String::new())
    })?;
    let pipeline = pipeline(&format!(
        "url: \"{receiver}/write?token=query-hunter2\"
    tenant: fleet
    headers: {{ X-Key: header-hunter2 }}
    oauth2:
      client_id: weir
      client_secret: given-hunter2
      token_url: \"{tokens}/token?key=query-hunter2\"
      endpoint_params: {{ audience: parameter-hunter2 }}"
    ));
    let log = weir_runs(folder.path(), &pipeline, &[], &[])?;
    assert!(log.contains("dropped_samples=0 unsent_samples=0"), "{log}");
    let line = log.lines().find(|line| line.contains("hunter2"));
    assert_eq!(line, None);
    Ok(())
}

/// Nothing is sent and nothing dropped, and the log says once where credentials were looked for.
#[test]
fn without_credentials_one_line_says_so() -> Result<()> {
    let receiver = SignedReceiver::start(&keys())?;
    let folder = temporary_folder()?;
    let port = receiver.told("receiver");
    let settings =
        format!("url: \"http://127.0.0.1:{port}{PATH}\"\n    sigv4: {{ region: eu-central-1 }}");
    let pipeline = write(folder.path(), "fleet.yaml", &pipeline(&settings))?;
    let events = "{\"t\":1730621745000,\"vehicle\":\"V1\"}\n";
    write(folder.path(), "events.ndjson", events)?;
    let mut command = weir(["run", &pipeline.to_string_lossy()]);
    command
        .args(["--listen", "none", "--drain", "1s"])
        .current_dir(folder.path());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    command
        .env("HOME", folder.path())
        .env("AWS_EC2_METADATA_DISABLED", "true");
    let mut weir = Process::start("weir", &command, &folder)?;
    let words =
        "there are no credentials of AWS in the environment, in its profiles, of a web identity";
    let errors = folder.path().join("weir.err");
    weir.wait_until("word of credentials", LIMIT, || {
        fs::read_to_string(&errors).is_ok_and(|log| log.contains(words))
    })?;
    weir.stop(LIMIT)?;
    let log = weir.stderr()?;
    // What it says again, after a while, stands for several attempts.
    let first = |line: &&str| line.contains(words) && line.contains("held_back=0");
    let first: Vec<&str> = log.lines().filter(first).collect();
    assert_eq!(first.len(), 1, "{log}");
    assert!(
        first[0].contains("nothing is sent until this is mended"),
        "{log}"
    );
    assert!(log.contains("dropped_samples=0 unsent_samples=1"), "{log}");
    assert_eq!(receiver.requests()?, Vec::<Value>::new());
    Ok(())
}
