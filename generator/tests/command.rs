//! The command as it is used in a shell.
#![expect(
    clippy::unwrap_used,
    reason = "a failed assumption of a test is its failure"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};

fn weirgen(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weirgen"));
    command.args(args).stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    weirgen(args).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn spawn(args: &[&str]) -> Child {
    weirgen(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn writes_lines_to_standard_output() {
    let output = run(&[
        "--vehicles",
        "5",
        "--events",
        "7",
        "--start-ms",
        "1730621749000",
        "-",
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 7);
    for line in text.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(event["timestamp"].as_u64().unwrap() >= 1_730_621_749_000);
    }
}

#[test]
fn writes_the_same_file_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut contents = Vec::new();
    for name in ["a", "b"] {
        let path = dir.path().join(name);
        let target = format!("ndjson:{}", path.display());
        let output = run(&[
            "--vehicles",
            "100",
            "--seconds",
            "4",
            "--start-ms",
            "0",
            "--disorder",
            "1s",
            &target,
        ]);
        assert!(output.status.success(), "{}", stderr(&output));
        let summary = stderr(&output);
        assert!(summary.starts_with("wrote "), "{summary}");
        assert!(!summary.contains("behind"), "{summary}");
        contents.push(fs::read_to_string(path).unwrap());
    }
    assert_eq!(contents[0], contents[1]);
    let lines = contents[0].lines().count();
    assert!((900..1_200).contains(&lines), "{lines}");
}

#[test]
fn a_rate_paces_and_says_how_far_behind() {
    let output = run(&["--vehicles", "10", "--rate", "1000", "--events", "20", "-"]);
    assert!(output.status.success());
    let summary = stderr(&output);
    assert!(summary.starts_with("wrote 20 events in "), "{summary}");
    assert!(summary.contains(", behind schedule at most "), "{summary}");
}

#[test]
fn writes_only_the_reference_without_a_target() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vehicles.csv");
    let output = run(&["--vehicles", "2", "--reference", path.to_str().unwrap()]);
    assert!(output.status.success());
    assert_eq!(stderr(&output), "");
    assert_eq!(
        fs::read_to_string(path).unwrap(),
        "vehicle_id,model\nV0000000000,Astralis\nV0000000001,Nebulara\n"
    );
}

#[test]
fn ends_quietly_when_nobody_reads_any_more() {
    let mut child = spawn(&["--vehicles", "10", "-"]);
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.starts_with(r#"{"eventType":""#), "{line}");
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(stderr(&output), "");
}

#[test]
fn a_signal_ends_it_after_whole_lines() {
    for signal in ["INT", "TERM"] {
        let mut child = spawn(&["--vehicles", "10", "--rate", "100", "-"]);
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut text = String::new();
        out.read_line(&mut text).unwrap();
        // The shell's own, which is on every machine.
        let kill = Command::new("sh")
            .args(["-c", r#"kill -s "$1" "$2""#, "kill", signal])
            .arg(child.id().to_string())
            .status()
            .unwrap();
        assert!(kill.success());
        out.read_to_string(&mut text).unwrap();
        assert!(text.ends_with("}\n"), "{text}");
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let expected = format!("wrote {} events in ", text.lines().count());
        assert!(
            stderr(&output).starts_with(&expected),
            "{}",
            stderr(&output)
        );
    }
}

#[test]
fn says_what_is_wrong() {
    let cases: [(&[&str], &str); 5] = [
        (
            &["ndjson:never-written"],
            "weirgen: a file without an end would fill the disk; \
             give --seconds, --events or --rate\n",
        ),
        (
            &["--vehicles", "0", "-"],
            "weirgen: a fleet of 0 vehicles sends nothing; it needs at least 1\n",
        ),
        (
            &["--late-share", "2", "-"],
            "weirgen: a late share of 2 is out of range; it must be 0 to 1\n",
        ),
        (
            &["--events", "1", "ndjson:/no/such/folder/f"],
            "weirgen: cannot create '/no/such/folder/f': No such file or directory (os error 2)\n",
        ),
        (
            &["--reference", "/no/such/folder/f"],
            "weirgen: cannot create '/no/such/folder/f': No such file or directory (os error 2)\n",
        ),
    ];
    for (args, message) in cases {
        let output = run(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert_eq!(stderr(&output), message);
    }
    let output = run(&["--disorder", "2", "file.ndjson"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("'2' is not a duration"),
        "{}",
        stderr(&output)
    );
}
