use std::sync::Mutex;

use super::*;
use crate::telemetry::Registry;
use crate::write::testing::sample;
use crate::write::{Config, Writer};

/// A writer whose bytes the test can read.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn writer(out: impl Write + Send + 'static, owners: usize) -> (FileWriter, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new(&Registry::new("test")));
    let output = Output::new("test".into(), Box::new(out), None);
    (
        FileWriter::over(output, owners, Arc::clone(&metrics)).unwrap(),
        metrics,
    )
}

fn speed(vehicle: usize, timestamp: TimestampMs) -> Sample {
    let name = format!("V{vehicle}");
    sample("speed", &[("vehicle", &name)], timestamp, vehicle as f64)
}

/// What comes out when so many owners share 20 vehicles and 50 windows, each owner at its own pace.
fn output_of(owners: usize, seed: u64) -> String {
    let out = Shared::default();
    let (writer, metrics) = writer(out.clone(), owners);
    thread::scope(|scope| {
        for owner in 0..owners {
            let inbox = writer.inbox();
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed + owner as u64);
                for window in 1..=50 {
                    let mut vehicles: Vec<_> = (owner..20).step_by(owners).collect();
                    random.shuffle(&mut vehicles);
                    for vehicle in vehicles {
                        inbox.send(vec![speed(vehicle, window * 5_000)]).unwrap();
                    }
                    // Most owners say at once how far they are, some let it pass a few times.
                    if random.u8(..) < 200 {
                        inbox.flushed(owner, window * 5_000);
                    }
                    thread::yield_now();
                }
            });
        }
    });
    assert!(writer.finish(None).is_none());
    assert_eq!((metrics.written(), metrics.waiting()), (1_000, 0));
    out.text()
}

#[test]
fn writes_the_same_for_any_number_of_owners() {
    let alone = output_of(1, 1);
    assert_eq!(alone.lines().count(), 1_000);
    assert_eq!(
        alone.lines().nth(1).unwrap(),
        r#"{"name":"speed","labels":{"vehicle":"V1"},"timestamp_ms":5000,"value":1}"#
    );
    for owners in [2, 5] {
        for seed in 0..5 {
            assert_eq!(
                output_of(owners, seed),
                alone,
                "{owners} owners, seed {seed}"
            );
        }
    }
}

#[test]
fn holds_back_what_an_owner_may_still_add_to() {
    let out = Shared::default();
    let metrics = Arc::new(Metrics::new(&Registry::new("test")));
    let progress = Arc::new(Progress {
        acknowledged: AtomicI64::new(i64::MIN),
        bytes: AtomicUsize::new(10_000),
    });
    let mut worker = Worker {
        output: Output::new("test".into(), Box::new(out.clone()), None),
        held: BTreeMap::new(),
        held_samples: 0,
        flushed: Tracker::new(1, 2),
        released: i64::MIN,
        gauges: metrics.queue("file"),
        progress: Arc::clone(&progress),
        metrics: Arc::clone(&metrics),
    };
    worker.hold(vec![speed(1, 10), speed(2, 20), speed(3, 30)]);
    let mut flush = |owner, watermark| {
        worker.flushed.reach(0, owner, watermark);
        worker.release().unwrap();
        (
            out.text().lines().count(),
            progress.acknowledged.load(Ordering::Acquire),
        )
    };
    assert_eq!(flush(0, 100), (0, i64::MIN));
    assert_eq!(flush(1, 15), (1, 15));
    // The sample at 20 is not written yet, so 20 must not be acknowledged.
    assert_eq!(flush(1, 20), (1, 19));
    assert_eq!(flush(1, 21), (2, 21));
    assert_eq!(flush(1, 99), (3, 99));
}

/// Fails as a full disk does.
struct Full;

impl Write for Full {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn stops_at_a_full_disk_and_says_so() {
    let (writer, metrics) = writer(Full, 1);
    let inbox = writer.inbox();
    inbox.send(vec![speed(1, 10), speed(2, 10)]).unwrap();
    inbox.flushed(0, 20);
    // The thread ends by itself; until then it takes what it will not write.
    while inbox.send(vec![speed(1, 30)]).is_ok() {
        thread::yield_now();
    }
    assert_eq!(inbox.acknowledged(), i64::MIN);
    let error = writer.finish(None).unwrap().to_string();
    assert!(error.starts_with("cannot write to test: "), "{error}");
    assert_eq!(metrics.written(), 0);
    assert!(metrics.waiting() >= 2);
}

/// Blocks as a pipe does that nobody reads, until the test ends.
struct Stuck(std::sync::mpsc::Receiver<()>);

impl Write for Stuck {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        self.0.recv().ok();
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn leaves_a_stuck_output_at_the_deadline() {
    let (release, stuck) = std::sync::mpsc::channel();
    let (writer, metrics) = writer(Stuck(stuck), 1);
    writer.inbox().send(vec![speed(1, 10)]).unwrap();
    // An owner fills the inbox, then blocks until the writer gives up.
    let inbox = writer.inbox();
    let owner = thread::spawn(move || {
        inbox.flushed(0, 20);
        while inbox.send(vec![speed(1, 30)]).is_ok() {}
    });
    assert!(writer.finish(Some(Duration::from_millis(1))).is_none());
    owner.join().unwrap();
    assert_eq!(metrics.written(), 0);
    assert!(metrics.waiting() >= 1);
    drop(release);
}

#[test]
fn appends_to_a_file_and_guards_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("samples.ndjson");
    let config = Config {
        remote_write: None,
        file: Some(FileConfig { path: path.clone() }),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    for timestamp in [10, 20] {
        let registry = Registry::new("test");
        let writer = Writer::start(&config, 1, &registry, runtime.handle().clone()).unwrap();
        let handle = writer.handle();
        let nan = Sample {
            value: f64::NAN.into(),
            ..speed(1, timestamp)
        };
        let long = sample("speed", &[("vehicle", &"x".repeat(2_049))], timestamp, 1.0);
        handle
            .send(0, vec![nan, long, speed(1, timestamp)])
            .unwrap();
        let summary = writer.finish(None);
        assert_eq!(
            (summary.written, summary.dropped, summary.unsent),
            (1, 2, 0)
        );
        assert!(summary.error.is_none());
        assert_eq!(handle.send(0, vec![speed(1, 99)]), Err(Stopped));
        assert_eq!(handle.queued_bytes(), 0);
    }
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        "{\"name\":\"speed\",\"labels\":{\"vehicle\":\"V1\"},\"timestamp_ms\":10,\"value\":1}\n\
         {\"name\":\"speed\",\"labels\":{\"vehicle\":\"V1\"},\"timestamp_ms\":20,\"value\":1}\n"
    );
}

#[test]
fn names_the_file_that_cannot_be_opened() {
    let config = Config {
        remote_write: None,
        file: Some(FileConfig {
            path: "/nowhere/at/all".into(),
        }),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let registry = Registry::new("test");
    let error = Writer::start(&config, 1, &registry, runtime.handle().clone()).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("cannot open /nowhere/at/all for writing: "),
        "{error}"
    );
}
