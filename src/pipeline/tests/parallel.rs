//! However many workers there are and in whatever order splits are read, the samples are the same.

use fastrand::Rng;

use super::bench::{Setup, event};

const SPLITS: u32 = 4;
const BATCHES: usize = 60;
const BATCH: usize = 50;

const METRICS: &str = "
  events: { window: { tumbling: 1s }, by: [region], value: count(*) }
  reporting: { window: { tumbling: 2s }, by: [region], value: count(DISTINCT vehicle) }
  all: { window: { tumbling: 5s }, value: count(DISTINCT vehicle) FILTER (WHERE x > 5) }
  mean: { window: { tumbling: 1s }, by: [region], value: avg(x) }
  span: { window: { tumbling: 1s }, value: max(x) - min(x) }
  firsts:
    window: { tumbling: 1s }
    per: { key: vehicle, let: { first: first(x), last: last(x) } }
    by: [region]
    value: sum(first + 1000 * last)
  latest: { labels: [region, vehicle], value: x }";

/// The batches of each split: times go forward with disorder, some of it too great; many are equal.
fn script(seed: u64) -> Vec<Vec<Vec<String>>> {
    let mut random = Rng::with_seed(seed);
    let splits = 0..SPLITS;
    splits
        .map(|split| {
            let mut now = i64::from(split) * 137;
            let mut batch = || {
                let mut line = || {
                    now += random.i64(0..20);
                    let disorder = if random.u8(..) < 8 { 5_000 } else { 100 };
                    let time = now - random.i64(0..disorder);
                    let vehicle = format!("V{}", random.u32(0..40));
                    let region = ["UK", "US", "FR", ""][random.usize(0..4)];
                    event(time, &vehicle, region, f64::from(random.u32(0..100)) / 10.0)
                };
                (0..BATCH).map(|_| line()).collect()
            };
            (0..BATCHES).map(|_| batch()).collect()
        })
        .collect()
}

/// The samples, the number of late events of all metrics together, and that of dropped samples.
fn run(script: &[Vec<Vec<String>>], workers: usize, seed: u64) -> (Vec<String>, u64, u64) {
    let bench = Setup {
        metrics: METRICS,
        workers,
        ..Setup::default()
    }
    .start();
    bench.assign(&(0..SPLITS).collect::<Vec<_>>());
    let mut random = Rng::with_seed(seed);
    let mut next = vec![0; script.len()];
    loop {
        let unread: Vec<_> = (0..script.len())
            .filter(|split| next[*split] < BATCHES)
            .collect();
        let Some(split) = random.choice(unread) else {
            break;
        };
        let position = next[split] * BATCH;
        bench.records(split as u32, position as u64, &script[split][next[split]]);
        next[split] += 1;
    }
    let (finished, samples) = bench.end();
    assert!(
        finished.error.is_none() && finished.written.error.is_none(),
        "{finished:?}"
    );
    (samples, finished.status.late, finished.written.dropped)
}

#[test]
fn samples_depend_neither_on_workers_nor_on_the_order_of_splits() {
    let seed = fastrand::u64(..);
    let script = script(seed);
    let expected = run(&script, 1, 0);
    assert!(
        expected.0.len() > 1_000 && expected.1 > 100,
        "{} {}",
        expected.0.len(),
        expected.1
    );
    assert_eq!(expected.2, 0);
    for (workers, order) in [(1, 1), (2, 2), (3, 3), (4, 4), (7, 5), (2, 6)] {
        let found = run(&script, workers, order);
        let differs = found
            .0
            .iter()
            .zip(&expected.0)
            .find(|(found, expected)| found != expected);
        assert_eq!(
            differs, None,
            "seed {seed}, {workers} workers, order {order}"
        );
        assert_eq!(
            found.0.len(),
            expected.0.len(),
            "seed {seed}, {workers} workers"
        );
        assert_eq!(
            (found.1, found.2),
            (expected.1, expected.2),
            "seed {seed}, {workers} workers"
        );
    }
}
