//! kinesis-local, a server that speaks Kinesis.

use std::fmt::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::LIMIT;
use super::files::{cache, find_program, temporary_folder};
use super::http::post;
use super::ports::{accepts, on_free_ports};
use super::process::Process;

/// The version that `scripts/setup.sh` installs.
pub(crate) const VERSION: &str = "0.6.2";

/// The account and region of the streams.
const ARN: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/";

/// A shard of a stream, with the hash keys that are its own.
#[derive(Debug, Clone)]
pub(crate) struct Shard {
    pub(crate) id: String,
    pub(crate) first: u128,
    pub(crate) last: u128,
    /// It takes records: it was neither split nor merged.
    pub(crate) is_open: bool,
}

impl Shard {
    fn read(shard: &Value) -> Result<Self> {
        let text = |path: &str| shard.pointer(path).and_then(Value::as_str);
        let needed = |path: &str| text(path).with_context(|| format!("a shard without {path}"));
        Ok(Self {
            id: needed("/ShardId")?.to_owned(),
            first: needed("/HashKeyRange/StartingHashKey")?.parse()?,
            last: needed("/HashKeyRange/EndingHashKey")?.parse()?,
            is_open: text("/SequenceNumberRange/EndingSequenceNumber").is_none(),
        })
    }

    /// Whether a hash key is one of its own.
    pub(crate) fn has(&self, hash_key: u128) -> bool {
        (self.first..=self.last).contains(&hash_key)
    }
}

/// A running server without streams. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Kinesis {
    port: u16,
    _process: Process,
    _folder: TempDir,
}

impl Kinesis {
    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// It is not in the cache, or does not come up.
    pub(crate) fn start() -> Result<Self> {
        let package = cache()?.join(format!(
            "kinesis-local-{VERSION}/node_modules/kinesis-local"
        ));
        let program = package.join("main.js");
        ensure!(
            program.exists(),
            "there is no {}: run scripts/setup.sh",
            program.display()
        );
        on_free_ports(|[port, tls_port]| {
            let folder = temporary_folder()?;
            let mut command = Command::new(find_program("node", "NODE")?);
            command.arg(&program);
            for (name, value) in [
                ("KINESIS_MOCK_PLAIN_PORT", port.to_string()),
                ("KINESIS_MOCK_TLS_PORT", tls_port.to_string()),
                ("SHARD_LIMIT", "1000".to_owned()),
                ("LOG_LEVEL", "WARN".to_owned()),
            ] {
                command.env(name, value);
            }
            command.env("KINESIS_MOCK_CERT_PATH", package.join("server.json"));
            for (change, duration) in [
                ("CREATE_STREAM", "50ms"),
                // As long as some requests take, so that there are some meanwhile.
                ("SPLIT_SHARD", "200ms"),
                ("MERGE_SHARDS", "200ms"),
                ("REGISTER_STREAM_CONSUMER", "50ms"),
            ] {
                command.env(format!("{change}_DURATION"), duration);
            }
            let mut process = Process::start("kinesis", &command, &folder)?;
            process.wait_until("connection", LIMIT, || accepts(port))?;
            Ok(Self {
                port,
                _process: process,
                _folder: folder,
            })
        })
    }

    /// Where it listens.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The port of it.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Asks for something.
    ///
    /// # Errors
    /// It answers with anything but 200.
    pub(crate) fn call(&self, operation: &str, body: &Value) -> Result<Value> {
        call(&self.endpoint(), operation, body)
    }

    /// Makes a stream.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn create(&self, stream: &str, shards: u32) -> Result<()> {
        let request = json!({ "StreamName": stream, "ShardCount": shards });
        self.call("CreateStream", &request)?;
        self.await_active(stream)
    }

    /// All shards, also those that take no records any more, in the order of their hash keys.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) fn shards(&self, stream: &str) -> Result<Vec<Shard>> {
        let answer = self.call("ListShards", &json!({ "StreamName": stream }))?;
        let shards = answer.get("Shards").and_then(Value::as_array);
        let shards = shards.context("no shards")?.iter().map(Shard::read);
        let mut shards: Vec<_> = shards.collect::<Result<_>>()?;
        shards.sort_by_key(|shard| shard.first);
        Ok(shards)
    }

    /// The shards that take records, in the order of their hash keys.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) fn open_shards(&self, stream: &str) -> Result<Vec<Shard>> {
        let mut shards = self.shards(stream)?;
        shards.retain(|shard| shard.is_open);
        Ok(shards)
    }

    /// Splits a shard in the middle.
    ///
    /// # Errors
    /// It cannot be split.
    pub(crate) fn split(&self, stream: &str, number: usize) -> Result<()> {
        let open = self.open_shards(stream)?;
        let shard = open.get(number % open.len()).context("no shard")?;
        let middle = shard.first + (shard.last - shard.first) / 2 + 1;
        let request = json!({
            "StreamName": stream, "ShardToSplit": shard.id,
            "NewStartingHashKey": middle.to_string(),
        });
        self.call("SplitShard", &request)?;
        self.await_active(stream)
    }

    /// Merges a shard with the next one.
    ///
    /// # Errors
    /// They cannot be merged.
    pub(crate) fn merge(&self, stream: &str, number: usize) -> Result<()> {
        let open = self.open_shards(stream)?;
        let number = number % (open.len() - 1);
        let [one, other] = open.get(number..number + 2).context("no shards")? else {
            anyhow::bail!("there are no two shards");
        };
        let request = json!({
            "StreamName": stream, "ShardToMerge": one.id, "AdjacentShardToMerge": other.id,
        });
        self.call("MergeShards", &request)?;
        self.await_active(stream)
    }

    /// Writes records with partition keys, in their order.
    ///
    /// # Errors
    /// One of them is not taken.
    pub(crate) fn put(&self, stream: &str, records: &[(String, Vec<u8>)]) -> Result<()> {
        self.put_and_tell(stream, records).map(|_| ())
    }

    /// As [`Self::put`], and gives the shard of each record, which may not be the one that was open when it
    /// was last asked.
    ///
    /// # Errors
    /// One of them is not taken.
    pub(crate) fn put_and_tell(
        &self,
        stream: &str,
        records: &[(String, Vec<u8>)],
    ) -> Result<Vec<String>> {
        let mut shards = Vec::new();
        for some in records.chunks(400) {
            let entries = some
                .iter()
                .map(|(key, data)| json!({ "PartitionKey": key, "Data": base64(data) }));
            let request = json!({
                "StreamName": stream, "Records": entries.collect::<Vec<_>>(),
            });
            let answer = self.call("PutRecords", &request)?;
            ensure!(
                answer.get("FailedRecordCount") == Some(&json!(0)),
                "{answer}"
            );
            let taken = answer.get("Records").and_then(Value::as_array);
            for one in taken.context("no records")? {
                let shard = one.get("ShardId").and_then(Value::as_str);
                shards.push(shard.context("a record without a shard")?.to_owned());
            }
        }
        Ok(shards)
    }

    fn await_active(&self, stream: &str) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let request = json!({ "StreamName": stream });
            let answer = self.call("DescribeStreamSummary", &request)?;
            let status = answer.pointer("/StreamDescriptionSummary/StreamStatus");
            if status == Some(&json!("ACTIVE")) {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "the stream is not active: {answer}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The ARN of a stream.
pub(crate) fn arn(stream: &str) -> String {
    format!("{ARN}{stream}")
}

/// Asks a server that speaks Kinesis for something.
///
/// # Errors
/// It answers with anything but 200.
pub(crate) fn call(endpoint: &str, operation: &str, body: &Value) -> Result<Value> {
    let target = format!("Kinesis_20131202.{operation}");
    let headers = [
        ("X-Amz-Target", target.as_str()),
        ("Content-Type", "application/x-amz-json-1.1"),
        ("X-Amz-Date", "20241103T000000Z"),
        (
            "Authorization",
            "AWS4-HMAC-SHA256 Credential=test/20241103/us-east-1/kinesis/aws4_request, \
             SignedHeaders=host, Signature=0",
        ),
    ];
    let answer = post(
        &format!("{endpoint}/"),
        &headers,
        body.to_string().as_bytes(),
    )?;
    let text = &answer.body;
    ensure!(
        answer.status == 200,
        "{operation}: {} {text}",
        answer.status
    );
    if text.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(text).with_context(|| format!("{operation}: {text}"))
}

/// As in RFC 4648.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let all = three
            .iter()
            .fold(0_u32, |all, byte| all << 8 | u32::from(*byte));
        let all = all << (8 * (3 - three.len()));
        for digit in 0..4 {
            let index = (all >> (18 - 6 * digit)) & 63;
            let letter = DIGITS.get(index as usize).copied().unwrap_or_default();
            let letter = if digit > three.len() { b'=' } else { letter };
            write!(text, "{}", char::from(letter)).ok();
        }
    }
    text
}
