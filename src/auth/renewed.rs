//! A credential that expires: fetched once for everybody, and again before it is too late.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{Instant, timeout};

/// How long before its end a credential is fetched anew; of one that lives shortly, a quarter of
/// its life.
const AHEAD: Duration = Duration::from_secs(300);
/// Nobody uses a credential that ends within this: the request has yet to arrive.
const TOO_LATE: Duration = Duration::from_secs(10);
/// How long a failure holds: many who need the same credential do not all ask for it in vain.
const FAILURE_HOLDS: Duration = Duration::from_secs(2);
/// How long a failure holds while there still is a credential that is good.
const SPARE_FAILURE_HOLDS: Duration = Duration::from_secs(30);
/// A credential younger than this that is refused would be no better if it was fetched again.
const TOO_YOUNG: Duration = Duration::from_secs(30);
/// The longest time for fetching one.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What was fetched, and how long it is good from now on; `None` is until it is refused.
#[derive(Debug)]
pub struct Fetched<T> {
    /// The credential.
    pub value: T,
    /// How long it is good.
    pub lifetime: Option<Duration>,
}

/// Why there is no credential. Whoever asked at the same time has the same error.
#[derive(Debug, Clone)]
pub struct NoCredentials(Arc<dyn Error + Send + Sync>);

impl NoCredentials {
    /// An error with its causes.
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Arc::from(error.into()))
    }

    /// The error, where it is of this type.
    #[cfg(feature = "kinesis")]
    pub(super) fn cause<T: Error + 'static>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}

impl fmt::Display for NoCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for NoCredentials {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// A credential that is kept for as long as it is good. One at a time fetches it.
pub struct Renewed<T> {
    kept: Mutex<Kept<T>>,
    fetching: AsyncMutex<()>,
}

struct Kept<T> {
    held: Option<Held<T>>,
    failure: Option<(Instant, NoCredentials)>,
}

struct Held<T> {
    value: Arc<T>,
    fetched: Instant,
    renew: Option<Instant>,
    end: Option<Instant>,
}

/// What there is without fetching.
enum Found<T> {
    Good(Arc<T>),
    /// Still good, and to be renewed.
    Spare(Arc<T>),
    Failed(NoCredentials),
    Nothing,
}

impl<T> fmt::Debug for Renewed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Renewed")
    }
}

impl<T> Default for Renewed<T> {
    fn default() -> Self {
        Self {
            kept: Mutex::new(Kept {
                held: None,
                failure: None,
            }),
            fetching: AsyncMutex::default(),
        }
    }
}

impl<T> Renewed<T> {
    /// The credential; it is fetched where there is none that is good. While an old one is good,
    /// nobody waits for the new one but who fetches it, and a failure to fetch it is only logged.
    ///
    /// # Errors
    /// There is none that is good, and it cannot be fetched, or could not within the last seconds.
    pub async fn get<E, F>(&self, fetch: impl FnOnce() -> F) -> Result<Arc<T>, NoCredentials>
    where
        E: Into<Box<dyn Error + Send + Sync>>,
        F: Future<Output = Result<Fetched<T>, E>>,
    {
        let (_fetching, spare) = match self.find() {
            Found::Good(value) => return Ok(value),
            Found::Failed(error) => return Err(error),
            Found::Spare(value) => match self.fetching.try_lock() {
                Ok(fetching) => (fetching, Some(value)),
                Err(_) => return Ok(value),
            },
            Found::Nothing => {
                let fetching = self.fetching.lock().await;
                // Whoever fetched before us may have brought it.
                match self.find() {
                    Found::Good(value) | Found::Spare(value) => return Ok(value),
                    Found::Failed(error) => return Err(error),
                    Found::Nothing => (fetching, None),
                }
            }
        };
        let fetched = match timeout(TIMEOUT, fetch()).await {
            Ok(Ok(fetched)) => Ok(fetched),
            Ok(Err(error)) => Err(NoCredentials::new(error)),
            Err(_) => Err(NoCredentials::new(format!(
                "there was no answer within {TIMEOUT:?}"
            ))),
        };
        match (fetched, spare) {
            (Ok(fetched), _) => Ok(self.keep(fetched)),
            (Err(error), spare) => {
                self.kept().failure = Some((Instant::now(), error.clone()));
                let Some(spare) = spare else {
                    return Err(error);
                };
                tracing::warn!(%error, "credentials are about to expire and cannot be renewed");
                Ok(spare)
            }
        }
    }

    /// Somebody refused this credential. Whether it will be fetched anew: one that has just been
    /// fetched stays, because the next one would be refused as well.
    pub fn refused(&self, value: &Arc<T>) -> bool {
        let mut kept = self.kept();
        match &kept.held {
            Some(held) if Arc::ptr_eq(&held.value, value) => {
                let old = held.fetched.elapsed() >= TOO_YOUNG;
                if old {
                    kept.held = None;
                }
                old
            }
            // There already is another one.
            _ => true,
        }
    }

    fn find(&self) -> Found<T> {
        let kept = self.kept();
        let now = Instant::now();
        let failed_within = |time: Duration| {
            let failure = kept.failure.as_ref();
            failure.filter(|(at, _)| now.duration_since(*at) < time)
        };
        if let Some(held) = &kept.held {
            let value = || Arc::clone(&held.value);
            let is_before = |time: Option<Instant>| time.is_none_or(|time| now < time);
            if is_before(held.renew) {
                return Found::Good(value());
            }
            if is_before(held.end) {
                return match failed_within(SPARE_FAILURE_HOLDS) {
                    Some(_) => Found::Good(value()),
                    None => Found::Spare(value()),
                };
            }
        }
        match failed_within(FAILURE_HOLDS) {
            Some((_, error)) => Found::Failed(error.clone()),
            None => Found::Nothing,
        }
    }

    fn keep(&self, fetched: Fetched<T>) -> Arc<T> {
        let now = Instant::now();
        let value = Arc::new(fetched.value);
        let lifetime = fetched.lifetime;
        let ahead = |lifetime: Duration| lifetime.saturating_sub(AHEAD.min(lifetime / 4));
        let mut kept = self.kept();
        kept.failure = None;
        kept.held = Some(Held {
            value: Arc::clone(&value),
            fetched: now,
            renew: lifetime.and_then(|lifetime| now.checked_add(ahead(lifetime))),
            end: lifetime.and_then(|lifetime| now.checked_add(lifetime.saturating_sub(TOO_LATE))),
        });
        value
    }

    fn kept(&self) -> MutexGuard<'_, Kept<T>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::time::{advance, sleep};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    /// Numbers its tokens, and fails while `fails` is set.
    #[derive(Default)]
    struct Issuer {
        asked: AtomicU32,
        fails: std::sync::atomic::AtomicBool,
    }

    impl Issuer {
        async fn issue(&self, lifetime: Option<Duration>) -> Result<Fetched<u32>, String> {
            let number = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
            sleep(Duration::from_millis(100)).await;
            if self.fails.load(Ordering::Relaxed) {
                return Err(format!("refused {number}"));
            }
            Ok(Fetched {
                value: number,
                lifetime,
            })
        }

        fn fail(&self, fails: bool) {
            self.fails.store(fails, Ordering::Relaxed);
        }
    }

    async fn get(renewed: &Renewed<u32>, issuer: &Issuer) -> Result<u32, String> {
        let got = renewed.get(|| issuer.issue(Some(HOUR))).await;
        got.map(|number| *number).map_err(|error| error.to_string())
    }

    #[tokio::test(start_paused = true)]
    async fn is_fetched_once_for_all_and_again_before_its_end() {
        let (renewed, issuer) = (Renewed::default(), Issuer::default());
        let all = (0..50).map(|_| get(&renewed, &issuer));
        for got in futures_util::future::join_all(all).await {
            assert_eq!(got, Ok(1));
        }
        advance(HOUR - AHEAD - Duration::from_secs(1)).await;
        assert_eq!(get(&renewed, &issuer).await, Ok(1));
        advance(Duration::from_secs(1)).await;
        // The first fetches, the second does not wait for it.
        let (first, second) = tokio::join!(get(&renewed, &issuer), get(&renewed, &issuer));
        assert_eq!((first, second), (Ok(2), Ok(1)));
        assert_eq!(get(&renewed, &issuer).await, Ok(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_does_not_take_what_is_still_good() {
        let (renewed, issuer) = (Renewed::default(), Issuer::default());
        assert_eq!(get(&renewed, &issuer).await, Ok(1));
        issuer.fail(true);
        advance(HOUR - AHEAD).await;
        assert_eq!(get(&renewed, &issuer).await, Ok(1));
        assert_eq!(get(&renewed, &issuer).await, Ok(1));
        // One attempt in a while.
        assert_eq!(issuer.asked.load(Ordering::Relaxed), 2);
        advance(SPARE_FAILURE_HOLDS).await;
        assert_eq!(get(&renewed, &issuer).await, Ok(1));
        assert_eq!(issuer.asked.load(Ordering::Relaxed), 3);
        advance(AHEAD).await;
        assert_eq!(get(&renewed, &issuer).await, Err("refused 4".to_owned()));
        issuer.fail(false);
        // The failure holds for a moment, also for those who ask now.
        assert_eq!(get(&renewed, &issuer).await, Err("refused 4".to_owned()));
        advance(FAILURE_HOLDS).await;
        assert_eq!(get(&renewed, &issuer).await, Ok(5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_life_is_renewed_at_its_last_quarter() {
        let (renewed, issuer) = (Renewed::default(), Issuer::default());
        let minute = Some(Duration::from_secs(60));
        let get = || renewed.get(|| issuer.issue(minute));
        assert_eq!(*get().await.unwrap(), 1);
        advance(Duration::from_secs(44)).await;
        assert_eq!(*get().await.unwrap(), 1);
        advance(Duration::from_secs(1)).await;
        assert_eq!(*get().await.unwrap(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_refused_is_fetched_again_unless_it_is_new() {
        let (renewed, issuer) = (Renewed::default(), Issuer::default());
        let for_ever = || renewed.get(|| issuer.issue(None));
        let first = for_ever().await.unwrap();
        advance(1_000 * HOUR).await;
        assert!(renewed.refused(&first));
        // Of many that are refused together, all are told to come again, and one fetches.
        assert!(renewed.refused(&first));
        let second = for_ever().await.unwrap();
        assert_eq!((*second, issuer.asked.load(Ordering::Relaxed)), (2, 2));
        assert!(!renewed.refused(&second));
        assert_eq!(*for_ever().await.unwrap(), 2);
        advance(TOO_YOUNG).await;
        assert!(renewed.refused(&second));
        assert_eq!(*for_ever().await.unwrap(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn no_answer_is_a_failure() {
        let renewed = Renewed::<u32>::default();
        let got = renewed.get(std::future::pending::<Result<_, String>>).await;
        assert_eq!(
            got.unwrap_err().to_string(),
            "there was no answer within 60s"
        );
    }
}
