use std::sync::Mutex;

use super::*;
use crate::telemetry::Registry;
use crate::write::testing::sample;
use crate::write::{Config, Resume, Writer};

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

fn context(owners: usize) -> Context {
    Context::new(owners, &Registry::new("test"), 1)
}

fn writer(out: impl Write + Send + 'static, owners: usize) -> (FileWriter, Arc<Metrics>) {
    let context = context(owners);
    let output = Output::new("test".into(), Box::new(out), None);
    let (writer, _) = FileWriter::over(output, &context, DestinationSnapshot::default()).unwrap();
    (writer, context.metrics)
}

/// Offers until all is taken.
fn send(inbox: &Inbox, owner: usize, samples: Vec<Sample>) -> Result<(), Stopped> {
    let mut samples = samples;
    loop {
        samples = inbox.offer(owner, samples)?;
        if samples.is_empty() {
            return Ok(());
        }
        thread::yield_now();
    }
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
                        send(&inbox, owner, vec![speed(vehicle, window * 5_000)]).unwrap();
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
    let progress = Arc::new(Progress::new(2));
    progress.bytes.store(10_000, Ordering::Relaxed);
    let mut worker = Worker {
        output: Output::new("test".into(), Box::new(out.clone()), None),
        held: BTreeMap::new(),
        held_samples: 0,
        flushed: Tracker::new(1, 2),
        released: i64::MIN,
        written_before: i64::MIN,
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
    send(&inbox, 0, vec![speed(1, 10), speed(2, 10)]).unwrap();
    inbox.flushed(0, 20);
    // The thread ends by itself; until then it takes what it will not write.
    while send(&inbox, 0, vec![speed(1, 30)]).is_ok() {
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
    send(&writer.inbox(), 0, vec![speed(1, 10)]).unwrap();
    // An owner fills the inbox, then blocks until the writer gives up.
    let inbox = writer.inbox();
    let owner = thread::spawn(move || {
        inbox.flushed(0, 20);
        while send(&inbox, 0, vec![speed(1, 30)]).is_ok() {}
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
        metadata: Arc::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    for timestamp in [10, 20] {
        let registry = Registry::new("test");
        let writer = Writer::start(
            &config,
            1,
            &registry,
            runtime.handle().clone(),
            Resume::default(),
        )
        .unwrap();
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
        metadata: Arc::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let registry = Registry::new("test");
    let error = Writer::start(
        &config,
        1,
        &registry,
        runtime.handle().clone(),
        Resume::default(),
    )
    .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("cannot open /nowhere/at/all for writing: "),
        "{error}"
    );
}

/// How far an owner is, and the part of a checkpoint that it would be.
#[derive(Clone, Default)]
struct Owner {
    windows: usize,
    outbox: std::collections::VecDeque<Sample>,
}

/// Runs owners over the windows of `script` from a checkpoint on, for `steps`, or to the end. Gives the
/// last checkpoint of this life. What was held is in the file at the end, too: more than any crash
/// leaves there.
fn live(
    path: &Path,
    script: &[Vec<Vec<Sample>>],
    from: Option<(Vec<Owner>, Vec<u8>)>,
    steps: Option<usize>,
    random: &mut fastrand::Rng,
) -> Option<(Vec<Owner>, Vec<u8>)> {
    let config = Config {
        remote_write: None,
        file: Some(FileConfig { path: path.into() }),
        metadata: Arc::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let mut checkpoint = from.clone();
    let (mut owners, state) = match from {
        Some((owners, state)) => (owners, Some(state)),
        None => (vec![Owner::default(); script.len()], None),
    };
    let resume = Resume {
        folder: None,
        checkpoint: state.is_some().then_some(1),
        newest: 1,
        acknowledged: None,
        state,
    };
    let registry = Registry::new("test");
    let handle = runtime.handle().clone();
    let writer = Writer::start(&config, script.len(), &registry, handle, resume).unwrap();
    let handle = writer.handle();
    let mut begun: Option<Vec<Option<Owner>>> = None;
    for step in 0.. {
        let is_over = |(owner, windows): (&Owner, &Vec<_>)| owner.windows == windows.len();
        if steps.is_some_and(|steps| step >= steps) || owners.iter().zip(script).all(is_over) {
            break;
        }
        let number = random.usize(0..owners.len());
        match &mut begun {
            None if random.u8(..) < 60 => {
                writer.begin_checkpoint(step as u64).unwrap();
                begun = Some(vec![None; owners.len()]);
            }
            Some(parts) if random.u8(..) < 100 => {
                parts[number].get_or_insert_with(|| owners[number].clone());
                if parts.iter().all(Option::is_some) {
                    let state = writer.snapshot().unwrap().encode();
                    let parts = parts.iter().flatten().cloned().collect();
                    checkpoint = Some((parts, state));
                    begun = None;
                }
            }
            _ => {
                let owner = &mut owners[number];
                if let Some(window) = script[number].get(owner.windows) {
                    owner.outbox.extend(window.iter().cloned());
                    owner.windows += 1;
                }
                while !handle.offer(number, &mut owner.outbox).unwrap() {
                    handle.room(number).recv().unwrap();
                }
                if random.bool() {
                    handle.flushed(number, owner.windows as TimestampMs * 10);
                }
            }
        }
    }
    assert!(writer.finish(None).error.is_none());
    checkpoint
}

#[test]
fn a_file_has_every_line_once_after_any_restart() {
    for seed in 0..40 {
        let mut random = fastrand::Rng::with_seed(seed);
        let script: Vec<Vec<Vec<Sample>>> = (0..random.usize(1..=3))
            .map(|owner| {
                let window = |window: i64| {
                    let vehicles = (0..5).filter(|_| random.bool());
                    vehicles
                        .map(|vehicle| speed(owner * 10 + vehicle, (window + 1) * 10))
                        .collect()
                };
                (0..20).map(window).collect()
            })
            .collect();
        let folder = tempfile::tempdir().unwrap();
        let (whole, pieces) = (folder.path().join("whole"), folder.path().join("pieces"));
        live(&whole, &script, None, None, &mut random);
        let mut checkpoint = None;
        for _ in 0..4 {
            let steps = random.usize(0..60);
            checkpoint = live(&pieces, &script, checkpoint, Some(steps), &mut random);
            if checkpoint.is_none() {
                // Without a checkpoint the pipeline starts afresh, and so does the file.
                std::fs::remove_file(&pieces).unwrap();
            }
        }
        live(&pieces, &script, checkpoint, None, &mut random);
        let read = |path| std::fs::read_to_string(path).unwrap();
        assert_eq!(read(&pieces), read(&whole), "seed {seed}");
    }
}

#[test]
fn a_file_that_is_shorter_than_at_the_checkpoint_is_not_filled_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("samples.ndjson");
    std::fs::write(&path, "short\n").unwrap();
    let (file, _) = open(&path, Some(100)).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 6);
    let (file, _) = open(&path, Some(2)).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 2);
}
