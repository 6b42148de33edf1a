//! What goes wrong, and what the source makes of it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;
use crate::source::Checkpointed;

/// An instance of that name, with the positions of its latest checkpoint.
fn instance(cluster: &Cluster, name: &str, positions: &[(&str, u64)]) -> (Running, Checkpointed) {
    instance_with(cluster, name, positions, |_| {})
}

/// The same with other settings than most tests have.
fn instance_with(
    cluster: &Cluster,
    name: &str,
    positions: &[(&str, u64)],
    change: impl FnOnce(&mut KafkaConfig),
) -> (Running, Checkpointed) {
    let checkpointed = Checkpointed::default();
    let positions = positions.iter();
    checkpointed.set(positions.map(|(split, position)| ((*split).to_owned(), *position)));
    let shared = checkpointed.clone();
    let running = start_with(cluster, &["a"], |config, context| {
        config.instance = Some(name.to_owned());
        context.checkpointed = shared;
        change(config);
    });
    (running, checkpointed)
}

/// An instance called `one`, whose checkpoints the group has to confirm, with the folder of its state.
fn confirmed_instance(cluster: &Cluster, folder: &Path) -> (Running, Checkpointed) {
    let checkpointed = Checkpointed::confirmed_in(folder);
    let shared = checkpointed.clone();
    let running = start_with(cluster, &["a"], |config, context| {
        shorten_session(config);
        config.instance = Some("one".to_owned());
        context.checkpointed = shared;
    });
    (running, checkpointed)
}

/// The same, behind 100 records of `a/0`, which are the numbers from 0 on.
fn after_reading(folder: &Path) -> (Cluster, Running, Checkpointed) {
    let cluster = Cluster::new(1).unwrap();
    cluster.create_topic("a", 1, 1).unwrap();
    produce_texts(&cluster, &texts(0, 100));
    let (running, checkpointed) = confirmed_instance(&cluster, folder);
    running.listen(100, 0);
    (cluster, running, checkpointed)
}

/// A consumer of the group that is no member of it.
fn onlooker(cluster: &Cluster) -> BaseConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("group.id", "weir")
        .create()
        .unwrap()
}

/// What stands beside the committed offset of `a/0`.
fn committed_text(onlooker: &BaseConsumer) -> String {
    let mut list = TopicPartitionList::new();
    list.add_partition("a", 0);
    let list = onlooker.committed_offsets(list, LIMIT).unwrap();
    list.find_partition("a", 0).unwrap().metadata().to_owned()
}

/// Commits an offset of `a/0` as another instance does.
fn commit_as_another(cluster: &Cluster, offset: i64) {
    let consumer = onlooker(cluster);
    let mut list = TopicPartitionList::new();
    let offset = Offset::Offset(offset);
    list.add_partition_offset("a", 0, offset).unwrap();
    let mut element = list.find_partition("a", 0).unwrap();
    element.set_metadata("weir/1 instance=another");
    consumer.commit(&list, CommitMode::Sync).unwrap();
}

fn texts(from: u64, to: u64) -> Vec<String> {
    (from..to).map(|number| number.to_string()).collect()
}

fn produce_texts(cluster: &Cluster, texts: &[String]) {
    let messages = texts.iter().map(|text| ("a", 0, Some(text.as_str())));
    produce(cluster, &messages.collect::<Vec<_>>());
}

#[test]
fn what_was_committed_is_asked_for_until_there_is_an_answer() {
    let cluster = Cluster::new(1).unwrap();
    cluster.create_topic("a", 1, 1).unwrap();
    let texts = texts(0, 100);
    produce_texts(&cluster, &texts);
    commit_as_another(&cluster, 50);
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::OffsetFetch, &[refused; 3]);
    // Our own position is older than what another instance has read since.
    let (running, _) = instance(&cluster, "stale", &[("a/0", 20)]);
    let heard = running.listen(50, 0);
    let expected = texts[50..].iter().map(|text| format!("a V1 {text}"));
    assert_eq!(heard.texts, [(A0, expected.collect())].into());
    running.finish().unwrap();
}

/// Gives four partitions much more than there is room for on the way to the pipeline. Of each, the cluster
/// keeps 5 MiB.
fn fill(cluster: &Cluster) {
    cluster.create_topic("a", 4, 1).unwrap();
    let text = "x".repeat(1_000);
    for partition in 0..4 {
        let messages = vec![("a", partition, Some(text.as_str())); 4_500];
        produce(cluster, &messages);
    }
}

#[test]
fn a_checkpoint_is_confirmed_once_the_group_has_what_it_has() {
    let cluster = Cluster::new(1).unwrap();
    cluster.create_topic("a", 1, 1).unwrap();
    produce_texts(&cluster, &texts(0, 100));
    let folder = tempfile::tempdir().unwrap();
    let checkpointed = Checkpointed::confirmed_in(folder.path());
    checkpointed.set([("a/0".to_owned(), 20)]);
    let shared = checkpointed.clone();
    let running = start_with(&cluster, &["a"], |config, context| {
        config.instance = Some("one".to_owned());
        context.checkpointed = shared;
    });
    running.listen(80, 0);
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS;
    cluster.request_errors(RDKafkaApiKey::OffsetCommit, &[refused; 2]);
    checkpointed.announce(1).unwrap();
    checkpointed.set([("a/0".to_owned(), 100)]);
    wait_until("it is confirmed", || !checkpointed.is_unconfirmed());
    assert_eq!(committed(&cluster, &[("a", 0)]), [Offset::Offset(100)]);
    let noted = Checkpointed::unconfirmed_in(folder.path()).unwrap();
    assert_eq!(noted, None);
    running.finish().unwrap();
}

#[test]
fn what_waits_when_partitions_are_lost_is_not_handed_over() {
    let cluster = Cluster::new(1).unwrap();
    fill(&cluster);
    let (running, checkpointed) = instance(&cluster, "one", &[]);
    running.await_count("weir_source_buffer_full_total{pipeline=\"test\"}", 1.0);
    let unknown = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID;
    cluster.request_errors(RDKafkaApiKey::Heartbeat, &[unknown; 3]);
    running.await_line("weir_source_connected{pipeline=\"test\"} 0\n");
    assert!(checkpointed.is_forbidden());
    // What the channel has room for, and one that was on its way there.
    let (events, ended) = running.end();
    assert!(events.len() <= 17, "{}", events.len());
    let error = ended.unwrap_err();
    assert!(error.message.contains("lost to other instances"), "{error}");
}

#[test]
fn a_checkpoint_is_asked_for_also_while_the_pipeline_takes_nothing() {
    let cluster = Cluster::new(1).unwrap();
    fill(&cluster);
    let (blocked, checkpointed) = instance_with(&cluster, "blocked", &[], shorten_session);
    // Much more than there is room for.
    blocked.await_line("weir_source_records_total{split=\"a/1\",pipeline=\"test\"}");
    let (second, _) = instance_with(&cluster, "second", &[], shorten_session);
    wait_until("a checkpoint is asked for", || checkpointed.take_wish());
    for running in [blocked, second] {
        running.finish().unwrap();
    }
}

#[test]
fn a_topic_that_may_not_be_read_is_told_and_the_others_are_read() {
    let cluster = Cluster::new(1).unwrap();
    for topic in ["a", "b"] {
        cluster.create_topic(topic, 1, 1).unwrap();
    }
    produce(&cluster, &[("a", 0, Some("1")), ("b", 0, Some("1"))]);
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.topic_error("a", refused).unwrap();
    let running = start_with(&cluster, &["a", "b"], |config, context| {
        // The topic that may be read at last is one more to divide.
        shorten_session(config);
        context.commit_every = crate::model::Duration::from_millis(200);
        let refresh = "topic.metadata.refresh.interval.ms";
        let properties = &mut config.properties;
        properties.insert(refresh.to_owned(), Secret::new("200"));
    });
    let heard = running.listen(1, 0);
    assert_eq!(heard.texts, [(B0, vec!["b V1 1".to_owned()])].into());
    let errors = "weir_kafka_errors_total{error=\"authorization\",pipeline=\"test\"}";
    running.await_count(errors, 1.0);
    let allowed = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
    cluster.topic_error("a", allowed).unwrap();
    let heard = running.listen(1, 0);
    assert_eq!(heard.texts, [(A0, vec!["a V1 1".to_owned()])].into());
    running.finish().unwrap();
}

#[test]
fn a_refused_group_ends_the_source() {
    let cluster = Cluster::new(1).unwrap();
    cluster.create_topic("a", 1, 1).unwrap();
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::JoinGroup, &[refused; 10]);
    let running = start(&cluster, &["a"]);
    let error = running.end().1.unwrap_err();
    assert!(error.source_name.starts_with("kafka 127.0.0.1:"), "{error}");
    assert!(
        error.message.contains("Group authorization failed"),
        "{error}"
    );
}

#[test]
fn a_checkpoint_is_confirmed_at_once_also_while_the_pipeline_takes_nothing() {
    let cluster = Cluster::new(1).unwrap();
    fill(&cluster);
    let folder = tempfile::tempdir().unwrap();
    let (running, checkpointed) = confirmed_instance(&cluster, folder.path());
    running.await_line("weir_source_buffer_full_total{pipeline=\"test\"} 1\n");
    checkpointed.announce(1).unwrap();
    let began = Instant::now();
    checkpointed.set((0..4).map(|partition| (format!("a/{partition}"), 1)));
    wait_until("it is confirmed", || !checkpointed.is_unconfirmed());
    // Not only once the partitions are paused, and polled again.
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    running.finish().unwrap();
}

#[test]
fn the_last_checkpoint_is_confirmed_where_the_brokers_come_back_during_a_stop() {
    let folder = tempfile::tempdir().unwrap();
    let (cluster, running, checkpointed) = after_reading(folder.path());
    cluster.broker_down(1).unwrap();
    running.await_line("weir_source_connected{pipeline=\"test\"} 0\n");
    running.stop.stop();
    wait_until("nothing more is read", || {
        running.has_ended.load(Ordering::Acquire)
    });
    checkpointed.announce(1).unwrap();
    checkpointed.set([("a/0".to_owned(), 100)]);
    cluster.broker_up(1).unwrap();
    wait_until("it is confirmed", || !checkpointed.is_unconfirmed());
    assert_eq!(committed(&cluster, &[("a", 0)]), [Offset::Offset(100)]);
    running.finish().unwrap();
}

#[test]
fn what_the_group_has_is_noted_at_a_stop_also_where_that_fails_at_first() {
    let folder = tempfile::tempdir().unwrap();
    let (_cluster, running, checkpointed) = after_reading(folder.path());
    checkpointed.announce(1).unwrap();
    // What is no file cannot be removed as one.
    let note = folder.path().join("UNCONFIRMED");
    fs::remove_file(&note).unwrap();
    fs::create_dir(&note).unwrap();
    checkpointed.set([("a/0".to_owned(), 60)]);
    let failed = "weir_kafka_errors_total{error=\"other\",pipeline=\"test\"}";
    running.await_count(failed, 1.0);
    running.stop.stop();
    running.safe.close();
    fs::remove_dir(&note).unwrap();
    fs::write(&note, "1").unwrap();
    running.end().1.unwrap();
    assert!(!checkpointed.is_unconfirmed());
    assert_eq!(Checkpointed::unconfirmed_in(folder.path()).unwrap(), None);
}

#[test]
fn what_a_first_checkpoint_has_is_read_again_where_it_was_not_confirmed() {
    let folder = tempfile::tempdir().unwrap();
    let (cluster, running, checkpointed) = after_reading(folder.path());
    checkpointed.announce(1).unwrap();
    // What is no file cannot be removed as one: as if we had crashed before.
    let note = folder.path().join("UNCONFIRMED");
    fs::remove_file(&note).unwrap();
    fs::create_dir(&note).unwrap();
    checkpointed.set([("a/0".to_owned(), 60)]);
    wait_until("it is committed", || {
        committed(&cluster, &[("a", 0)]) == [Offset::Offset(60)]
    });
    running.finish().unwrap();
    // The checkpoint was withdrawn, and there is none before it.
    fs::remove_dir(&note).unwrap();
    let (running, checkpointed) = confirmed_instance(&cluster, folder.path());
    let heard = running.listen(1, 0);
    let first = heard.texts.get(&A0).and_then(|texts| texts.first());
    assert_eq!(first.map(String::as_str), Some("a V1 0"));

    // Once one is confirmed, the commit does not say any more where reading began.
    let onlooker = onlooker(&cluster);
    let text = committed_text(&onlooker);
    assert_eq!(text, "weir/1 instance=one from=0");
    checkpointed.announce(2).unwrap();
    checkpointed.set([("a/0".to_owned(), 70)]);
    wait_until("it is committed", || {
        committed_text(&onlooker) == "weir/1 instance=one"
    });
    running.finish().unwrap();
    let (running, _) = instance_with(&cluster, "one", &[], shorten_session);
    let heard = running.listen(1, 0);
    let first = heard.texts.get(&A0).and_then(|texts| texts.first());
    assert_eq!(first.map(String::as_str), Some("a V1 70"));
    running.finish().unwrap();
}

#[test]
fn a_commit_that_is_refused_is_told_and_made_again() {
    let cluster = Cluster::new(1).unwrap();
    cluster.create_topic("a", 1, 1).unwrap();
    produce_texts(&cluster, &texts(0, 100));
    let start = || {
        start_with(&cluster, &["a"], |config, context| {
            shorten_session(config);
            context.commit_every = crate::model::Duration::from_millis(100);
        })
    };
    let running = start();
    running.listen(100, 0);
    running.safe.set(A0, safe(60));
    wait_until("it is committed", || {
        committed(&cluster, &[("a", 0)]) == [Offset::Offset(60)]
    });
    let refused = [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
    ];
    cluster.request_errors(RDKafkaApiKey::OffsetCommit, &refused);
    // A window was written, and what is needed again is as it was.
    let later = Safe {
        position: 60,
        written: WRITTEN + 1_000,
    };
    running.safe.set(A0, later);
    for kind in ["other", "authorization"] {
        let line = "weir_kafka_errors_total{error=\"KIND\",pipeline=\"test\"} 1\n";
        running.await_line(&line.replace("KIND", kind));
    }
    running.finish().unwrap();
    let running = start();
    let heard = running.listen(40, 0);
    assert_eq!(heard.written, [(A0, later.written)].into());
    running.finish().unwrap();
}

#[test]
fn a_topic_that_may_not_be_read_any_more_does_not_hold_up_a_partition_that_is_to_go() {
    let cluster = Cluster::new(1).unwrap();
    cluster.create_topic("a", 2, 1).unwrap();
    produce(&cluster, &[("a", 0, Some("1")), ("a", 1, Some("1"))]);
    let (first, checkpointed) = instance_with(&cluster, "first", &[], shorten_session);
    first.listen(2, 0);
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::OffsetCommit, &[refused; 1_000]);
    checkpointed.set([("a/0".to_owned(), 1), ("a/1".to_owned(), 1)]);
    let (second, _) = instance_with(&cluster, "second", &[], shorten_session);
    second.listen(1, 0);
    assert!(!checkpointed.is_forbidden(), "it goes on");
    for running in [first, second] {
        running.finish().unwrap();
    }
}

#[test]
fn a_pattern_that_matches_no_topic_is_told_until_one_matches() {
    let cluster = Cluster::new(1).unwrap();
    cluster.create_topic("a", 1, 1).unwrap();
    let running = start_with(&cluster, &["^bus-[0-9]+$", "a"], |config, _| {
        // The topic that is found is one more to divide.
        shorten_session(config);
        let refresh = "topic.metadata.refresh.interval.ms";
        let properties = &mut config.properties;
        properties.insert(refresh.to_owned(), Secret::new("200"));
    });
    running.await_line("weir_kafka_errors_total{error=\"missing_topic\",pipeline=\"test\"} 1\n");
    cluster.create_topic("bus-12", 1, 1).unwrap();
    produce(&cluster, &[("bus-12", 0, Some("1"))]);
    let heard = running.listen(1, 0);
    let texts: Vec<_> = heard.texts.into_values().collect();
    assert_eq!(texts, [["bus-12 V1 1"]]);
    running.finish().unwrap();
}
