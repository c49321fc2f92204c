//! Asks providers whether they are well, where that is configured.
//!
//! Each provider with a `health_check` is asked by a task of its own, as long as its configuration is in force. One
//! that fails several times in a row is left out of the choices of all models, and comes back by slow start
//! once it has answered several times in a row.
//!
//! The question is Pingora's `HttpHealthCheck`: it takes the peer with the provider's TLS and the head with
//! its credential. The loop around it is our own, since Pingora's runs in the balancer of one set of addresses
//! and leaves out addresses, where a model's choice is among providers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};

use pingora_core::{Error, ErrorType};
use pingora_load_balancing::Backend;
use pingora_load_balancing::health_check::{HealthCheck as _, HttpHealthCheck};
use tokio::time::MissedTickBehavior;

use super::upstream::Upstream;
use crate::config::valid::{Expect, HealthCheck};

/// What is known of a provider that is asked. Outlives the generation.
#[derive(Debug, Default)]
pub struct State {
    down: AtomicBool,
    /// Answers in a row that speak against what is taken to be true.
    against: AtomicU32,
    /// Since when it is well again, in milliseconds. 0: it was never found ill.
    back_at: AtomicI64,
    passed: AtomicU64,
    failed: AtomicU64,
    to_healthy: AtomicU64,
    to_unhealthy: AtomicU64,
}

impl State {
    /// Whether the provider is taken to be well: it is until it was found not to be.
    pub fn is_healthy(&self) -> bool {
        !self.down.load(Ordering::Relaxed)
    }

    /// For how many milliseconds it is well again. `None`: it was never found ill, or is ill.
    pub fn back_for(&self, now: i64) -> Option<u64> {
        let back_at = self.back_at.load(Ordering::Relaxed);
        (back_at > 0 && self.is_healthy()).then(|| now.abs_diff(back_at))
    }

    /// Checks that passed and that failed, and how often it was found well and ill.
    pub fn counts(&self) -> [u64; 4] {
        [&self.passed, &self.failed, &self.to_healthy, &self.to_unhealthy]
            .map(|count| count.load(Ordering::Relaxed))
    }

    /// Notes how a check went, at `now` in milliseconds. Returns whether the provider is taken to be otherwise
    /// from now on. One task notes.
    fn note(&self, passed: bool, now: i64, rules: &HealthCheck) -> bool {
        let count = if passed { &self.passed } else { &self.failed };
        count.fetch_add(1, Ordering::Relaxed);
        if passed == self.is_healthy() {
            self.against.store(0, Ordering::Relaxed);
            return false;
        }
        let against = self.against.fetch_add(1, Ordering::Relaxed) + 1;
        if against < if passed { rules.healthy_after } else { rules.unhealthy_after } {
            return false;
        }
        self.against.store(0, Ordering::Relaxed);
        if passed {
            // Before it can be chosen, so that it never has all of its share at once.
            self.back_at.store(now, Ordering::Relaxed);
        }
        self.down.store(!passed, Ordering::Release);
        let turns = if passed { &self.to_healthy } else { &self.to_unhealthy };
        turns.fetch_add(1, Ordering::Relaxed);
        true
    }
}

/// A provider that is asked.
pub struct Checker {
    /// Its name.
    pub provider: String,
    /// What is known of it.
    pub state: Arc<State>,
    rules: HealthCheck,
    upstream: Arc<Upstream>,
}

impl Checker {
    /// Asks `upstream` as `rules` say.
    pub fn new(upstream: Arc<Upstream>, rules: &HealthCheck, state: Arc<State>) -> Self {
        Self { provider: upstream.name.clone(), state, rules: rules.clone(), upstream }
    }

    /// The question, made anew each time: certificates and credentials change. `None` where the path makes none.
    fn question(&self) -> Option<HttpHealthCheck> {
        let (mut peer, head) = self.upstream.probe(&self.rules.path)?;
        let timeout = Some(self.rules.timeout);
        peer.options.connection_timeout = timeout;
        peer.options.total_connection_timeout = timeout;
        peer.options.read_timeout = timeout;
        peer.options.write_timeout = timeout;
        // A name that is always good; the head and the peer are the provider's.
        let mut check = HttpHealthCheck::new("localhost", false);
        check.peer_template = peer;
        check.req = head;
        let expect = self.rules.expect;
        check.validator = Some(Box::new(move |answer| {
            let status = answer.status.as_u16();
            let good = match expect {
                Expect::Success => answer.status.is_success(),
                Expect::Below500 => status < 500,
            };
            if good { Ok(()) } else { Err(Error::new(ErrorType::HTTPStatus(status))) }
        }));
        Some(check)
    }

    /// Whether it asks whoever is where `upstream` is.
    pub fn is_of(&self, upstream: &Upstream) -> bool {
        self.upstream.is_where(upstream)
    }

    /// Asks again and again. It ends when it is dropped.
    pub async fn run(self: Arc<Self>) {
        let mut turns = tokio::time::interval(self.rules.interval);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            let failure = self.ask().await.err();
            if !self.state.note(failure.is_none(), crate::clock::uptime_ms(), &self.rules) {
                continue;
            }
            match failure {
                Some(failure) => {
                    tracing::warn!(provider = %self.provider, failure, "found unhealthy");
                }
                None => tracing::info!(provider = %self.provider, "found healthy again"),
            }
        }
    }

    /// Asks once. The error says in a few words what is wrong, and nothing that the provider said.
    async fn ask(&self) -> Result<(), String> {
        let address = self.upstream.address().ok_or("no address is known")?;
        let backend = Backend::new(&address.to_string()).map_err(|_| "not an address")?;
        let question = self.question().ok_or("not a request")?;
        match tokio::time::timeout(self.rules.timeout, question.check(&backend)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(match error.etype() {
                ErrorType::HTTPStatus(status) => format!("status {status}"),
                other => other.as_str().to_owned(),
            }),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn rules(unhealthy_after: u32, healthy_after: u32) -> HealthCheck {
        HealthCheck {
            path: "/".to_owned(),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            unhealthy_after,
            healthy_after,
            expect: Expect::Success,
        }
    }

    #[test]
    fn it_turns_after_so_many_in_a_row() {
        let (state, rules) = (State::default(), rules(2, 3));
        let turns: Vec<_> = [false, true, false, false, false, true, true, false, true, true, true]
            .iter()
            .zip(1..)
            .map(|(passed, now)| state.note(*passed, now, &rules))
            .collect();
        let expected = [3, 10].map(|at| turns[at]);
        assert_eq!((expected, turns.iter().filter(|turn| **turn).count()), ([true, true], 2));
        assert_eq!(state.back_for(15), Some(4));
        assert_eq!(state.counts(), [6, 5, 1, 1]);
    }

    proptest! {
        #[test]
        fn it_is_as_the_last_checks_say_where_they_agree(
            checks in prop::collection::vec(any::<bool>(), 1..60),
            unhealthy_after in 1_u32..4,
            healthy_after in 1_u32..4,
        ) {
            let (state, rules) = (State::default(), rules(unhealthy_after, healthy_after));
            let mut now = 0;
            for passed in &checks {
                now += 1;
                let before = state.is_healthy();
                let turned = state.note(*passed, now, &rules);
                prop_assert_eq!(turned, before != state.is_healthy());
            }
            let ends_with = |passed: bool, count: u32| {
                let last = checks.iter().rev().take(count as usize);
                last.clone().count() == count as usize && last.copied().all(|it| it == passed)
            };
            if ends_with(false, unhealthy_after) {
                prop_assert!(!state.is_healthy());
            }
            if ends_with(true, healthy_after) {
                prop_assert!(state.is_healthy());
            }
            let [passed, failed, up, down] = state.counts();
            prop_assert_eq!(passed + failed, checks.len() as u64);
            prop_assert_eq!(down, up + u64::from(!state.is_healthy()));
        }
    }
}
