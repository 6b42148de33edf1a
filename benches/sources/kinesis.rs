//! Kinesis, beside a loop over the AWS SDK that counts bytes. kinesis-local, which both of them read, is much
//! slower than Kinesis.

use anyhow::{Context as _, Result};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_kinesis::types::ShardIteratorType;
use serde_json::json;
use tokio::runtime::Runtime;
use weir::auth::StreamingHttp;

use super::Contest;
use super::count::{Count, Measured, cars, read_all};
use super::support::kinesis::Kinesis;

const STREAM: &str = "vehicle-events";
const SHARDS: u32 = 2;

struct Stream {
    kinesis: Kinesis,
    records: u64,
    runtime: Runtime,
}

/// Starts a server and fills a stream.
pub(crate) fn set_up(records: u64) -> Result<Box<dyn Contest>> {
    let kinesis = Kinesis::start()?;
    kinesis.create(STREAM, SHARDS)?;
    let cars = cars(records)?;
    let keyed: Vec<_> = cars
        .enumerate()
        .map(|(number, record)| (format!("car{}", number % 1_000), record))
        .collect();
    kinesis.put(STREAM, &keyed)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    Ok(Box::new(Stream {
        kinesis,
        records,
        runtime,
    }))
}

impl Stream {
    async fn read(&self, client: &Client) -> Result<Measured> {
        let mut count = Count::begin();
        let shards = client.list_shards().stream_name(STREAM).send().await?;
        let mut iterators = Vec::new();
        for shard in shards.shards() {
            let iterator = client
                .get_shard_iterator()
                .stream_name(STREAM)
                .shard_id(shard.shard_id())
                .shard_iterator_type(ShardIteratorType::TrimHorizon)
                .send()
                .await?;
            iterators.push(iterator.shard_iterator);
        }
        while count.records() < self.records {
            for iterator in &mut iterators {
                let place = iterator.take().context("the shard has ended")?;
                let answer = client.get_records().shard_iterator(place).send().await?;
                for record in answer.records() {
                    count.add(1, record.data().as_ref().len());
                }
                *iterator = answer.next_shard_iterator;
            }
        }
        count.finish()
    }
}

impl Contest for Stream {
    fn bare_name(&self) -> &'static str {
        "a loop over the AWS SDK that counts bytes"
    }

    fn records(&self) -> u64 {
        self.records
    }

    fn bare(&mut self) -> Result<Measured> {
        let http = StreamingHttp::new(true).map_err(anyhow::Error::msg)?;
        let config = aws_sdk_kinesis::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(self.kinesis.endpoint())
            .credentials_provider(Credentials::new("test", "test", None, None, "bench"))
            .http_client(http)
            .build();
        self.runtime.block_on(self.read(&Client::from_conf(config)))
    }

    fn source(&mut self) -> Result<Measured> {
        let config = json!({ "kinesis": {
            "stream": STREAM, "endpoint": self.kinesis.endpoint(), "region": "us-east-1",
            "sigv4": { "access_key": "test", "secret_key": "test" }, "start": "trim_horizon",
            "poll_every": "200ms",
        } });
        read_all(config, None, self.records, Count::begin)
    }
}
