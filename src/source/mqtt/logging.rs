//! The thread that appends messages to the log and says when they may be acknowledged.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::durable::LogError;

use super::super::handover::Consumer;
use super::super::log::{Appender, Entry, Progress};
use super::super::{SourceEvent, StopSignal};
use super::acks::{Ack, Acks};
use super::client::Message;
use super::delivery::{Handed, MessageFilter};
use super::memory::Memory;
use super::window::BrokerWindow;

/// The most that is taken from the connection at once.
const TAKE_RECORDS: usize = 4_096;
const TAKE_BYTES: usize = 1024 * 1024;

/// How often it is looked whether the reader has given up, and for room where there was none.
const PATIENCE: Duration = Duration::from_millis(50);

/// Appends messages.
#[derive(Debug)]
pub(super) struct Logging<'a> {
    appender: Appender,
    progress: Arc<Progress>,
    memory: &'a mut Memory,
    filter: MessageFilter,
    acks: &'a Acks,
    window: BrokerWindow,
    /// The acknowledgements of what is appended and not yet durable.
    unsynced: Vec<Ack>,
}

/// What has become of a message.
enum Appended {
    /// There is no room for it.
    Full,
    /// It is not to be.
    Dropped,
    /// It is in the log at this position, maybe since it came first.
    At(u64),
}

impl Drop for Logging<'_> {
    /// However it ends, the connection must not wait for more acknowledgements.
    fn drop(&mut self) {
        self.acks.complete();
    }
}

impl<'a> Logging<'a> {
    /// Appends to a log, of which it is known what may come again.
    pub(super) fn new(
        appender: Appender,
        memory: &'a mut Memory,
        filter: MessageFilter,
        acks: &'a Acks,
    ) -> Self {
        Self {
            progress: Arc::clone(appender.progress()),
            memory,
            appender,
            filter,
            acks,
            window: BrokerWindow::default(),
            unsynced: Vec::new(),
        }
    }

    /// Appends until the connection has ended or the reader has given up. Once the signal is set, it
    /// waits no more for room in a full log or on a full disk: what is not appended comes again.
    ///
    /// # Errors
    /// The log cannot be written.
    pub(super) fn run(
        mut self,
        handed: Consumer<Handed>,
        stop: &StopSignal,
    ) -> Result<(), LogError> {
        while !self.progress.now().abandoned {
            let patience = self.appender.patience(Instant::now()).min(PATIENCE);
            let Some(taken) = handed.take_within(patience, TAKE_RECORDS, TAKE_BYTES) else {
                return self.sync();
            };
            if taken.iter().any(|one| matches!(one, Handed::Message(..))) {
                self.window.arrived(Instant::now());
            }
            let mut waiting = VecDeque::from(taken);
            while let Some(first) = waiting.pop_front() {
                let Some(refused) = self.take(first)? else {
                    continue;
                };
                waiting.push_front(refused);
                self.sync()?;
                self.keep_up()?;
                let state = self.progress.wait(PATIENCE, |state| state.abandoned);
                if stop.is_stopped() || state.abandoned {
                    return Ok(());
                }
            }
            if self.window.is_reached(self.unsynced.len()) {
                self.sync()?;
            }
            self.keep_up()?;
        }
        Ok(())
    }

    /// Does what is due.
    fn keep_up(&mut self) -> Result<(), LogError> {
        let now = Instant::now();
        if self.appender.sync_is_due(now) {
            self.window.waited(self.unsynced.len(), now);
            self.appender.sync()?;
        }
        if self.appender.is_durable() {
            self.acknowledge();
        }
        self.memory.heed(self.acks);
        self.memory.keep(self.acks, now);
        self.appender.keep_house(now)
    }

    /// Takes something in; gives it back where the log, or its disk, is full.
    fn take(&mut self, handed: Handed) -> Result<Option<Handed>, LogError> {
        match handed {
            Handed::Message(message, connection) => {
                let position = match self.append(&message)? {
                    Appended::Full => return Ok(Some(Handed::Message(message, connection))),
                    Appended::Dropped => None,
                    Appended::At(position) => Some(position),
                };
                if message.packet_id != 0 {
                    self.unsynced.push(Ack {
                        packet_id: message.packet_id,
                        connection,
                        position,
                    });
                }
            }
            Handed::Connected { session_kept } => {
                // What was confirmed over the connection before is said by now.
                self.memory.heed(self.acks);
                self.memory.repeats.connected(session_kept);
            }
            Handed::Event(event) => {
                let idle = matches!(event, SourceEvent::Idle(_));
                self.progress.change(|state| state.idle = idle);
            }
        }
        Ok(None)
    }

    /// Appends a message that is to be, unless it is there.
    fn append(&mut self, message: &Message) -> Result<Appended, LogError> {
        if message.packet_id != 0 && !message.dup {
            self.memory.repeats.is_new();
        }
        if !self.filter.takes(message) {
            return Ok(Appended::Dropped);
        }
        let entry = Entry {
            packet_id: message.packet_id,
            topic: &message.topic,
            payload: &message.payload,
        };
        if message.dup
            && let Some(position) = self.memory.repeats.find(&entry)
        {
            self.appender.repeated();
            return Ok(Appended::At(position));
        }
        if !self.appender.has_room()? {
            return Ok(Appended::Full);
        }
        let (_, position) = self.appender.range();
        if !self.appender.append(&entry)? {
            return Ok(Appended::Full);
        }
        self.memory.repeats.note(&entry, position);
        Ok(Appended::At(position))
    }

    fn sync(&mut self) -> Result<(), LogError> {
        self.appender.sync()?;
        self.acknowledge();
        Ok(())
    }

    fn acknowledge(&mut self) {
        self.window.synced();
        if !self.unsynced.is_empty() {
            self.acks.add(self.unsynced.drain(..));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::super::handover::queue;
    use super::super::super::log::{Always, Fsync, LogMetrics, Opening, WhenFull};
    use super::super::super::{KeptPositions, LogConfig, LogSettings, SourceMetrics};
    use super::*;
    use crate::model::{Clock, SplitId};
    use crate::telemetry::Registry;

    fn message(payload: &str, packet_id: u16, dup: bool, connection: u64) -> Handed {
        let message = Message {
            topic: b"cars/1".to_vec(),
            payload: payload.as_bytes().to_vec(),
            packet_id,
            dup,
            retained: false,
        };
        Handed::Message(message, connection)
    }

    fn open(folder: &Path, config: &LogConfig, registry: &Registry) -> Appender {
        let settings = LogSettings {
            folder: folder.to_owned(),
            config: config.clone(),
        };
        let opening = Opening {
            split_name: "log/mqtt".to_owned(),
            resume: None,
            kept: KeptPositions::default(),
            keep_last: 0,
            clock: Clock::Fixed(42),
            metrics: LogMetrics::new(registry),
            positions_lost: SourceMetrics::new(registry).positions_lost,
        };
        Appender::open(&settings, opening).unwrap().0
    }

    /// What is appended of a queue, which packets of connection 2 are acknowledged, and the log's
    /// messages after it.
    struct Logged {
        acknowledged: Vec<u16>,
        contents: Vec<String>,
        idle: bool,
        had_session: bool,
        metrics: String,
    }

    fn log(folder: &Path, handed: Vec<Handed>, config: &LogConfig, stop: &StopSignal) -> Logged {
        log_with(folder, handed, (config, stop), "weir-cars", |_| false)
    }

    /// The same where the broker has got some of the acknowledgements, over a session of a client id.
    fn log_with(
        folder: &Path,
        handed: Vec<Handed>,
        (config, stop): (&LogConfig, &StopSignal),
        client_id: &str,
        is_confirmed: impl Fn(&Ack) -> bool,
    ) -> Logged {
        let registry = Registry::new("test");
        let appender = open(folder, config, &registry);
        let (producer, consumer) = queue(1_000_000);
        for item in handed {
            producer.push(item, 100).unwrap();
        }
        drop(producer);
        let acks = Acks::default();
        let progress = Arc::clone(appender.progress());
        let mut memory = Memory::open(folder, client_id, &appender).unwrap();
        let had_session = memory.had_session;
        let filter = MessageFilter {
            max_record_bytes: 10,
            ignores_retained: false,
            metrics: SourceMetrics::new(&registry),
        };
        let logging = Logging::new(appender, &mut memory, filter, &acks);
        logging.run(consumer, stop).unwrap();
        let mut acknowledged = Vec::new();
        acks.send(2, |ack| {
            acknowledged.push(ack);
            true
        });
        assert!(acks.are_done());
        let confirmed: Vec<_> = acknowledged.iter().copied().filter(is_confirmed).collect();
        if !confirmed.is_empty() {
            acks.subscribed();
        }
        acks.confirm(confirmed);
        let acknowledged = acknowledged.iter().map(|ack| ack.packet_id).collect();
        memory.heed(&acks);
        memory.save(&acks);
        assert!(progress.now().ended);
        let mut reader = crate::durable::LogReader::open(folder, 0).unwrap();
        let mut records = Vec::new();
        while reader.read(1_000_000, &mut records).unwrap() > 0 {}
        let contents = records.iter().map(|record| {
            let entry = Entry::decode(&record.bytes).unwrap();
            String::from_utf8_lossy(entry.payload).into_owned()
        });
        Logged {
            acknowledged,
            contents: contents.collect(),
            idle: progress.now().idle,
            had_session,
            metrics: Registry::text([&registry]),
        }
    }

    fn settings() -> [LogConfig; 2] {
        let always = LogConfig {
            fsync: Fsync::Always(Always::Always),
            ..LogConfig::default()
        };
        [LogConfig::default(), always]
    }

    #[test]
    fn all_messages_are_acknowledged_in_order_and_those_to_keep_are_appended() {
        for config in settings() {
            let folder = tempfile::tempdir().unwrap();
            let handed = vec![
                message("a", 1, false, 2),
                message("", 2, false, 2),
                message("b", 0, false, 2),
                message("01234567890", 3, false, 2),
                Handed::Event(SourceEvent::Idle(SplitId(0))),
                message("c", 4, false, 2),
            ];
            let logged = log(folder.path(), handed, &config, &StopSignal::default());
            assert_eq!(logged.contents, ["a", "b", "c"]);
            assert_eq!(logged.acknowledged, [1, 2, 3, 4]);
            assert!(!logged.idle, "a message came after that");
        }
    }

    #[test]
    fn what_comes_again_is_acknowledged_and_not_appended() {
        let folder = tempfile::tempdir().unwrap();
        let config = LogConfig::default();
        let first = vec![
            message("a", 1, false, 1),
            message("b", 2, false, 1),
            message("c", 3, false, 1),
            Handed::Event(SourceEvent::Active(SplitId(0))),
            // The connection was lost; "a" was acknowledged and its packet id belongs to another.
            message("b", 2, true, 2),
            message("c", 3, true, 2),
            message("d", 1, true, 2),
            Handed::Event(SourceEvent::Idle(SplitId(0))),
        ];
        let logged = log(folder.path(), first, &config, &StopSignal::default());
        assert_eq!(logged.contents, ["a", "b", "c", "d"]);
        assert_eq!(logged.acknowledged, [2, 3, 1]);
        assert!(logged.idle);
        assert!(
            logged
                .metrics
                .contains("weir_log_repeated_total{pipeline=\"test\"} 2\n"),
            "{}",
            logged.metrics
        );

        // The last record is torn by a crash of the machine. It was not acknowledged.
        let segment = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.extension().is_some_and(|extension| extension == "log"))
            .unwrap();
        let file = fs::File::options().write(true).open(segment).unwrap();
        file.set_len(file.metadata().unwrap().len() - 1).unwrap();
        let second = vec![
            message("c", 3, true, 2),
            message("d", 1, true, 2),
            // Not sent again, but the same as before.
            message("b", 2, false, 2),
        ];
        let logged = log(folder.path(), second, &config, &StopSignal::default());
        assert_eq!(logged.contents, ["a", "b", "c", "d", "b"]);
        assert_eq!(logged.acknowledged, [3, 1, 2]);
    }

    #[test]
    fn equal_bytes_under_the_id_of_an_acknowledged_message_are_another_message() {
        let config = LogConfig::default();
        let stop = StopSignal::default();
        // Whether over a later connection of the same run, or after a restart.
        let folder = tempfile::tempdir().unwrap();
        let first = vec![
            message("on", 5, false, 2),
            message("on", 6, false, 2),
            message("on", 7, false, 2),
        ];
        // The broker has the acknowledgements of 5 and 6.
        let with = (&config, &stop);
        let logged = log_with(folder.path(), first, with, "weir-cars", |ack| {
            ack.packet_id < 7
        });
        assert_eq!(logged.contents.len(), 3);
        assert!(!logged.had_session);
        let second = vec![
            Handed::Connected { session_kept: true },
            // Its acknowledgement was lost.
            message("on", 7, true, 2),
            // Sent while the connection broke, under an id that was free again.
            message("on", 5, true, 2),
            message("on", 8, false, 2),
        ];
        let logged = log_with(folder.path(), second, with, "weir-cars", |_| false);
        assert!(logged.had_session);
        assert_eq!(logged.contents.len(), 5);
        assert_eq!(logged.acknowledged, [7, 5, 8]);
        assert!(
            logged
                .metrics
                .contains("weir_log_repeated_total{pipeline=\"test\"} 1\n"),
            "{}",
            logged.metrics
        );
        // What came over the session of another client id never comes again over this one.
        let third = vec![message("on", 8, true, 2)];
        let logged = log_with(folder.path(), third, with, "weir-vans", |_| false);
        assert!(!logged.had_session);
        assert_eq!(logged.contents.len(), 6);
    }

    #[test]
    fn what_belongs_to_a_session_that_is_gone_never_comes_again() {
        let folder = tempfile::tempdir().unwrap();
        let handed = vec![
            message("on", 1, false, 1),
            Handed::Connected {
                session_kept: false,
            },
            message("on", 1, true, 2),
        ];
        let config = LogConfig::default();
        let logged = log(folder.path(), handed, &config, &StopSignal::default());
        assert_eq!(logged.contents, ["on", "on"]);
    }

    #[test]
    fn what_a_full_log_does_not_take_is_not_acknowledged() {
        let folder = tempfile::tempdir().unwrap();
        let config = LogConfig {
            max_bytes: 400,
            ..LogConfig::default()
        };
        let handed = (1..=100).map(|id| message("a", id, false, 2)).collect();
        let stop = StopSignal::default();
        stop.stop();
        let logged = log(folder.path(), handed, &config, &stop);
        let count = logged.contents.len();
        assert!((1..20).contains(&count), "{count}");
        let expected: Vec<u16> = (1..).take(count).collect();
        assert_eq!(logged.acknowledged, expected);
        assert!(
            logged
                .metrics
                .contains("weir_log_full_total{pipeline=\"test\"} 1\n"),
            "{}",
            logged.metrics
        );
    }

    #[test]
    fn what_a_full_disk_does_not_take_waits_for_room() {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::new("test");
        let config = LogConfig {
            max_bytes: 400,
            when_full: WhenFull::DropOldest,
            ..LogConfig::default()
        };
        let appender = open(folder.path(), &config, &registry);
        // Each further segment finds the disk full, once.
        for first in 1..=20 {
            let segment = folder.path().join(format!("{first:020}.log.new"));
            std::os::unix::fs::symlink("/dev/full", segment).unwrap();
        }
        let (producer, consumer) = queue(1_000_000);
        for id in 1..=20 {
            producer.push(message("a", id, false, 1), 100).unwrap();
        }
        drop(producer);
        let acks = Acks::default();
        let mut memory = Memory::open(folder.path(), "weir-cars", &appender).unwrap();
        let filter = MessageFilter {
            max_record_bytes: 10,
            ignores_retained: false,
            metrics: SourceMetrics::new(&registry),
        };
        let logging = Logging::new(appender, &mut memory, filter, &acks);
        logging.run(consumer, &StopSignal::default()).unwrap();
        let mut acknowledged = Vec::new();
        acks.send(1, |ack| {
            acknowledged.push(ack.packet_id);
            true
        });
        assert_eq!(acknowledged, (1..=20).collect::<Vec<_>>());
        let text = Registry::text([&registry]);
        let appended = "weir_log_appended_total{pipeline=\"test\"} 20\n";
        assert!(text.contains(appended), "{text}");
        assert!(
            !text.contains("weir_log_full_total{pipeline=\"test\"} 0\n"),
            "{text}"
        );
    }
}
