//! Which protocol the receiver is spoken to in, and how that is found out.
//!
//! With `protocol: auto` the first requests are made in 2.0. Only a receiver that says how much it has
//! written understands them. One that refuses them, or takes them without a word on what was written
//! (it has read an empty request of 1.0), gets the same samples in 1.0, and is asked again an hour later.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::{IntCounterVec, IntGauge};
use tokio::time::Instant;

use crate::telemetry::{LogLimit, Registry};

use super::encode::Body;
use crate::write::remote_write::delivery::failure::Failure;
use crate::write::remote_write::delivery::reply::Reply;
use crate::write::remote_write::protocol::{Protocol, ProtocolChoice};

/// How long a receiver that does not understand 2.0 is left alone with it.
const ASK_AGAIN: Duration = Duration::from_secs(3_600);

/// So many requests of 2.0 without an answer, or with one that says try later, are a no as well.
const UNANSWERED: u32 = 3;

/// How often it is logged that a receiver has not written everything.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The label `kind` of samples that are not written.
const KINDS: [&str; 2] = ["sample", "histogram"];

/// What is known of the receiver, for all shards.
#[derive(Debug)]
pub(in crate::write::remote_write) struct Negotiation {
    choice: ProtocolChoice,
    known: Mutex<Known>,
    spoken: IntGauge,
    unwritten: IntCounterVec,
}

#[derive(Debug)]
struct Known {
    /// Nothing until the receiver was asked.
    protocol: Option<Protocol>,
    /// When a receiver of 1.0 is asked again.
    ask_again: Option<Instant>,
    /// Requests of 2.0 since it was asked, whose answer says nothing.
    unanswered: u32,
    log: LogLimit,
}

/// What an answer means.
#[derive(Debug)]
pub(in crate::write::remote_write) enum Verdict {
    /// It is one about the samples.
    Answered(Result<u16, Failure>),
    /// The request was not understood, and nothing of it is written: it is to be made in 1.0, at once.
    InV1,
}

impl Negotiation {
    /// Nothing is known of the receiver.
    pub(in crate::write::remote_write) fn new(choice: ProtocolChoice, registry: &Registry) -> Self {
        let protocol = match choice {
            ProtocolChoice::Auto => None,
            ProtocolChoice::V1 => Some(Protocol::V1),
            ProtocolChoice::V2 => Some(Protocol::V2),
        };
        let this = Self {
            choice,
            known: Mutex::new(Known {
                protocol,
                ask_again: None,
                unanswered: 0,
                log: LogLimit::every(LOG_INTERVAL),
            }),
            spoken: registry.int_gauge(
                "weir_remote_write_protocol",
                "The protocol that is spoken: 1 or 2; 0 until the receiver was asked",
            ),
            unwritten: registry.counters(
                "weir_remote_write_unwritten_total",
                "Samples of requests that a receiver of 2.0 has not written by its own count, by kind",
                &["kind"],
            ),
        };
        this.tell(protocol);
        // Both are there from the start.
        for kind in KINDS {
            this.unwritten.with_label_values(&[kind]);
        }
        this
    }

    /// What the next request is to be made in. Once an hour a receiver of 1.0 is asked whether it
    /// understands 2.0 by now.
    pub(in crate::write::remote_write) fn next(&self) -> Protocol {
        let mut known = self.lock();
        if known.ask_again.is_some_and(|at| at <= Instant::now()) {
            known.ask_again = Some(Instant::now() + ASK_AGAIN);
            return Protocol::V2;
        }
        known.protocol.unwrap_or(Protocol::V2)
    }

    /// What a request that failed is to be repeated in: nobody waits for a receiver that has not yet
    /// shown that it understands 2.0.
    pub(in crate::write::remote_write) fn repetition(&self, failed: Protocol) -> Protocol {
        let understood = self.lock().protocol == Some(Protocol::V2);
        if understood { failed } else { Protocol::V1 }
    }

    /// Whether it is known that 1.0 is to be spoken.
    pub(in crate::write::remote_write) fn is_v1(&self) -> bool {
        self.lock().protocol == Some(Protocol::V1)
    }

    /// Draws conclusions from an answer.
    pub(in crate::write::remote_write) fn judge(&self, body: &Body, reply: Reply) -> Verdict {
        if body.protocol == Protocol::V1 {
            return Verdict::Answered(reply.result);
        }
        if let Some(written) = reply.written {
            self.count(
                [
                    body.samples.saturating_sub(written.samples),
                    body.histograms.saturating_sub(written.histograms),
                ],
                reply.result.is_ok(),
            );
            self.conclude(Protocol::V2, "it says what it has written");
            return Verdict::Answered(reply.result);
        }
        if self.choice == ProtocolChoice::V2 {
            return Verdict::Answered(match reply.result {
                Ok(status) => Err(Failure::NotUnderstood { status }),
                Err(failure) => Err(failure),
            });
        }
        let understood = self.lock().protocol == Some(Protocol::V2);
        match (reply.status(), reply.result) {
            (Some(200..=299), _) => {
                self.conclude(Protocol::V1, "it does not say what it has written");
                Verdict::InV1
            }
            (Some(415), _) => {
                self.conclude(Protocol::V1, "it answers 415");
                Verdict::InV1
            }
            (_, result) if understood => Verdict::Answered(result),
            // Whoever may not write at all may not in 1.0 either, and what is too large is it too.
            (Some(401 | 403 | 407 | 413 | 429), result) => Verdict::Answered(result),
            (Some(status @ 400..=499), _) => {
                self.conclude(Protocol::V1, &format!("it answers {status}"));
                Verdict::InV1
            }
            (_, result) => {
                let unanswered = {
                    let mut known = self.lock();
                    known.unanswered += 1;
                    known.unanswered
                };
                if unanswered >= UNANSWERED {
                    self.conclude(Protocol::V1, "it does not answer");
                }
                Verdict::Answered(result)
            }
        }
    }

    fn count(&self, missing: [u64; 2], is_ok: bool) {
        for (kind, count) in KINDS.into_iter().zip(missing) {
            self.unwritten.with_label_values(&[kind]).inc_by(count);
        }
        let [samples, histograms] = missing;
        if is_ok
            && samples + histograms > 0
            && let Some(held_back) = self.lock().log.admit()
        {
            tracing::warn!(
                samples,
                histograms,
                held_back,
                "the receiver took a request and says that it has not written all of it"
            );
        }
    }

    fn conclude(&self, protocol: Protocol, because: &str) {
        let mut known = self.lock();
        let is_new = known.protocol != Some(protocol);
        known.protocol = Some(protocol);
        known.unanswered = 0;
        known.ask_again = match (self.choice, protocol) {
            (ProtocolChoice::Auto, Protocol::V1) => Some(Instant::now() + ASK_AGAIN),
            _ => None,
        };
        drop(known);
        if is_new {
            self.tell(Some(protocol));
            let protocol = protocol.name();
            tracing::info!(protocol, because, "the protocol of the receiver is known");
        }
    }

    fn tell(&self, protocol: Option<Protocol>) {
        self.spoken.set(match protocol {
            None => 0,
            Some(Protocol::V1) => 1,
            Some(Protocol::V2) => 2,
        });
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use prost::bytes::Bytes;
    use tokio::time::advance;

    use super::*;
    use crate::write::remote_write::delivery::reply::Written;

    fn body(protocol: Protocol) -> Body {
        Body {
            bytes: Bytes::new(),
            protocol,
            samples: 5,
            histograms: 2,
        }
    }

    fn answer(status: u16) -> Reply {
        let failure = |status| Failure::Rejected {
            status,
            body: String::new(),
        };
        Reply::from(match status {
            200..=299 => Ok(status),
            500.. | 429 => Err(Failure::Unavailable {
                status,
                body: String::new(),
                retry_after: None,
            }),
            _ => Err(failure(status)),
        })
    }

    fn counted(status: u16, samples: u64, histograms: u64) -> Reply {
        Reply {
            written: Some(Written {
                samples,
                histograms,
            }),
            ..answer(status)
        }
    }

    fn negotiation(choice: ProtocolChoice) -> Negotiation {
        Negotiation::new(choice, &Registry::new("test"))
    }

    fn is_repeated(negotiation: &Negotiation, reply: Reply) -> bool {
        matches!(negotiation.judge(&body(Protocol::V2), reply), Verdict::InV1)
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_does_not_say_what_is_written_speaks_1_0() {
        for status in [200, 204, 400, 404, 405, 406, 409, 415, 422] {
            let auto = negotiation(ProtocolChoice::Auto);
            assert_eq!((auto.next(), auto.is_v1()), (Protocol::V2, false));
            assert!(is_repeated(&auto, answer(status)), "{status}");
            assert_eq!((auto.next(), auto.is_v1()), (Protocol::V1, true));
            assert_eq!(auto.spoken.get(), 1);

            // An hour later one request asks again.
            advance(ASK_AGAIN - Duration::from_secs(1)).await;
            assert_eq!(auto.next(), Protocol::V1);
            advance(Duration::from_secs(1)).await;
            assert_eq!(auto.next(), Protocol::V2);
            assert_eq!(auto.next(), Protocol::V1);
            assert_eq!(auto.repetition(Protocol::V2), Protocol::V1);
            assert!(!is_repeated(&auto, counted(200, 5, 2)));
            assert_eq!((auto.next(), auto.is_v1()), (Protocol::V2, false));
            assert_eq!(auto.spoken.get(), 2);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_says_what_is_written_speaks_2_0_until_it_does_not() {
        for status in [204, 400, 503] {
            let auto = negotiation(ProtocolChoice::Auto);
            assert!(!is_repeated(&auto, counted(status, 0, 0)), "{status}");
            assert_eq!(auto.spoken.get(), 2);
            // These are answers about the samples now.
            for status in [400, 404, 409, 413, 429, 500] {
                assert!(!is_repeated(&auto, answer(status)), "{status}");
                assert_eq!(auto.repetition(Protocol::V2), Protocol::V2);
            }
            assert_eq!(auto.next(), Protocol::V2);
            let again = if status == 204 { 204 } else { 415 };
            assert!(is_repeated(&auto, answer(again)));
            assert_eq!(auto.next(), Protocol::V1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_an_answer_about_the_protocol() {
        for status in [401, 403, 407, 413, 429] {
            let auto = negotiation(ProtocolChoice::Auto);
            for _ in 0..10 {
                assert!(!is_repeated(&auto, answer(status)), "{status}");
                assert_eq!(auto.repetition(Protocol::V2), Protocol::V1);
            }
            assert_eq!(auto.next(), Protocol::V2);
        }
        let auto = negotiation(ProtocolChoice::Auto);
        for _ in 1..UNANSWERED {
            let lost = Reply::from(Err(Failure::Network("reset".to_owned())));
            assert!(!is_repeated(&auto, lost));
            assert_eq!((auto.next(), auto.is_v1()), (Protocol::V2, false));
        }
        assert!(!is_repeated(&auto, answer(503)));
        assert_eq!((auto.next(), auto.is_v1()), (Protocol::V1, true));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_set_is_spoken() {
        let v1 = negotiation(ProtocolChoice::V1);
        assert_eq!((v1.next(), v1.is_v1()), (Protocol::V1, true));
        assert_eq!(v1.repetition(Protocol::V1), Protocol::V1);
        let verdict = v1.judge(&body(Protocol::V1), answer(415));
        assert!(matches!(verdict, Verdict::Answered(Err(_))));

        let v2 = negotiation(ProtocolChoice::V2);
        let verdict = v2.judge(&body(Protocol::V2), answer(204));
        assert!(matches!(
            verdict,
            Verdict::Answered(Err(Failure::NotUnderstood { status: 204 }))
        ));
        assert!(!is_repeated(&v2, answer(415)));
        advance(2 * ASK_AGAIN).await;
        assert_eq!((v2.next(), v2.is_v1()), (Protocol::V2, false));
        assert_eq!(v2.repetition(Protocol::V2), Protocol::V2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_written_is_counted() {
        let v2 = negotiation(ProtocolChoice::V2);
        for (samples, histograms) in [(5, 2), (3, 2), (0, 0), (9, 9)] {
            v2.judge(&body(Protocol::V2), counted(200, samples, histograms));
        }
        let unwritten = |kind| v2.unwritten.with_label_values(&[kind]).get();
        assert_eq!((unwritten("sample"), unwritten("histogram")), (2 + 5, 2));
    }
}
