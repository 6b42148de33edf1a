//! Checkpoints under every order of events, and under every failure, in virtual time.
//!
//! The real workers, owners, coordinator and writer run in one thread. A seed decides which of them
//! does its next step, in which order the messages of different links arrive, what fails, and when
//! everything is gone but the store and the journal. Whatever happens, the receiver has in the end
//! what one worker without checkpoints and without failures gives it, and has refused nothing. With every
//! other seed series end: to that come the staleness markers that a naive computation finds in it.

mod events;
mod life;
mod markers;
mod setting;
mod world;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;

use setting::Setting;
use world::{Seen, World};

/// How many seeds are tried where nothing is said: as many as take a minute or less.
const SEEDS: u64 = if cfg!(debug_assertions) { 100 } else { 3_000 };

/// Threads that try seeds.
const THREADS: u64 = 2;

/// Tries one seed; a panic names it.
fn simulate(setting: &mut Setting, seed: u64) -> Seen {
    let tried = catch_unwind(AssertUnwindSafe(|| World::new(setting, seed).run()));
    tried.unwrap_or_else(|cause| {
        let history = setting.history.borrow().join("\n  ");
        let told = format!("seed {seed}: {}\n  {history}", words(&cause));
        resume_unwind(Box::new(told))
    })
}

fn words(cause: &Box<dyn Any + Send>) -> &str {
    let text = cause.downcast_ref::<String>().map(String::as_str);
    text.or(cause.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without words")
}

/// The seeds from `first` on, one after the other.
fn try_seeds(first: u64, count: u64) -> Seen {
    let try_some = |thread: u64| {
        let mut setting = Setting::new();
        let mut seen = Seen::default();
        for seed in (first + thread..first + count).step_by(THREADS as usize) {
            seen.add(&simulate(&mut setting, seed));
        }
        seen
    };
    let mut seen = Seen::default();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| scope.spawn(move || try_some(thread)))
            .collect();
        for thread in threads {
            match thread.join() {
                Ok(found) => seen.add(&found),
                Err(cause) => panic!("{}", words(&cause)),
            }
        }
    });
    seen
}

/// A number from the environment.
fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

/// `WEIR_SEEDS` says how many seeds, `WEIR_FIRST_SEED` from which on.
#[test]
fn whatever_happens_the_receiver_has_what_an_undisturbed_run_gives() {
    let count = number("WEIR_SEEDS", SEEDS);
    let seen = try_seeds(number("WEIR_FIRST_SEED", 0), count);
    if count >= SEEDS {
        // What never happens is not tried.
        assert_eq!(seen.never(), Vec::<&str>::new(), "{seen:?}");
    }
}

#[test]
fn a_seed_gives_the_same_run_each_time() {
    let mut setting = Setting::new();
    for seed in 0..5 {
        let first = simulate(&mut setting, seed);
        assert_eq!(simulate(&mut setting, seed), first, "seed {seed}");
    }
}
