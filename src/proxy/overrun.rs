//! Streams that use more than is held for them.
//!
//! What is held is an upper bound, so that this takes a provider that ignores the bound it was given, or an
//! estimate that was too low. The stream's hold is then extended, ahead of its use where the limits have
//! so much. Where a limit is full it says itself what becomes of the stream: it goes on, and what it used
//! too much is counted, or it is cut.
//!
//! Each piece of a stream costs two comparisons, until it has reached what was held.

use std::sync::Arc;

use sluicegate_filters::admit::{OnOverrun, Quota, Unit};
use sluicegate_quota::{Amounts, Extended, Holds};

use super::cost;
use super::ctx::Exchange;
use super::reply::Reply;
use crate::chat::Usage;

/// Output tokens that a hold is extended by ahead of their use, at first and at most.
const AHEAD: u64 = 256;
const MOST_AHEAD: u64 = 8_192;

/// Output tokens after which a stream that goes on over a full limit is looked at again: another limit may
/// be full by then.
const STEP: u64 = 16;

/// Up to where a stream needs no look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overrun {
    input: u64,
    output: u64,
    /// Output tokens to ask for beyond what is used.
    ahead: u64,
}

/// Nothing is held, and so nothing is outrun.
impl Default for Overrun {
    fn default() -> Self {
        Self { input: u64::MAX, output: u64::MAX, ahead: AHEAD }
    }
}

impl Overrun {
    /// Of the present attempt.
    pub fn of(exchange: &Exchange) -> Self {
        let counts = |holds: &Holds| {
            holds.slices().any(|slice| matches!(slice.unit(), Unit::Tokens | Unit::NanoUsd))
        };
        if exchange.holds.as_ref().is_some_and(counts) {
            let bound = &exchange.admission.bound;
            Self::beyond(bound.input, bound.output)
        } else {
            Self::default()
        }
    }

    fn beyond(input: u64, output: u64) -> Self {
        Self { input, output, ahead: AHEAD }
    }

    /// Whether so many tokens are more than is known to be held.
    #[inline]
    pub fn is_due(&self, (input, output): (u64, u64)) -> bool {
        output > self.output || input > self.input
    }

    /// Extends `holds` to what was `used` and what may follow. Returns the limit that cuts the stream, if
    /// one does.
    fn look(
        &mut self,
        holds: &mut Holds,
        used: &Usage,
        cost: impl Fn(&Usage) -> u64,
    ) -> Option<Arc<Quota>> {
        let amounts = |usage: &Usage| Amounts {
            tokens: usage.total(),
            nano_usd: cost(usage),
            ..Amounts::default()
        };
        if self.ahead > 0 {
            let wanted = Usage { output: used.output.saturating_add(self.ahead), ..*used };
            match holds.extend(&amounts(&wanted)) {
                Extended::Yes => {
                    self.settle_for(&wanted);
                    self.ahead = self.ahead.saturating_mul(2).min(MOST_AHEAD);
                    return None;
                }
                // The next event looks again.
                Extended::Asked => return None,
                // From here on only what is needed is asked for.
                Extended::No(_) => self.ahead = 0,
            }
        }
        match holds.extend(&amounts(used)) {
            Extended::Yes => self.settle_for(used),
            Extended::Asked => {}
            Extended::No(quota) if quota.on_overrun == OnOverrun::Cut => return Some(quota),
            Extended::No(_) => {
                let later = used.output.saturating_add(STEP);
                self.settle_for(&Usage { output: later, ..*used });
            }
        }
        None
    }

    fn settle_for(&mut self, usage: &Usage) {
        self.input = self.input.max(usage.total_input());
        self.output = self.output.max(usage.output);
    }
}

/// Looks at a stream that may have outrun its hold. Returns the limit that cuts it, if one does.
#[cold]
pub fn look(exchange: &mut Exchange) -> Option<Arc<Quota>> {
    let used = exchange.reply.so_far()?;
    let mut holds = exchange.holds.take()?;
    let mut overrun = exchange.overrun;
    let cut = overrun.look(&mut holds, &used, |usage| cost::cost(exchange, usage).unwrap_or(0));
    exchange.overrun = overrun;
    exchange.holds = Some(holds);
    // An answer that has all its content is not made a failure for its last words.
    cut.filter(|_| match &exchange.reply {
        Reply::Stream(stream) => !stream.is_whole() && stream.observer().finish_reason().is_none(),
        Reply::Awaited | Reply::Document(_) | Reply::Opaque => false,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sluicegate_filters::admit::{Scope, ScopeKind, Window};
    use sluicegate_quota::{Engine, MemoryQuotas, Options};
    use tokio::runtime::Handle;

    use super::*;

    /// Ten nano-USD an output token, one an input token.
    fn cost(usage: &Usage) -> u64 {
        usage.total_input() + usage.output * 10
    }

    fn used(input: u64, output: u64) -> Usage {
        Usage { input, output, ..Usage::default() }
    }

    fn engine() -> Arc<Engine> {
        let options = Options {
            instance: "a".into(),
            lease_ttl: Duration::from_secs(30),
            tick: Duration::from_millis(20),
        };
        Engine::start(Arc::new(MemoryQuotas::new()), options, &Handle::current())
    }

    fn quota(unit: Unit, limit: u64, on_overrun: OnOverrun) -> Quota {
        let scope = Scope::new(ScopeKind::Key, format!("{unit:?}{limit}"));
        Quota { on_overrun, ..Quota::new(scope, unit, Window::Lifetime, limit) }
    }

    /// Streams one output token after the other, up to `tokens`, with 5 of input. Returns after how many
    /// the stream is cut.
    async fn stream(quotas: &[Quota], tokens: u64) -> (Option<u64>, Vec<u64>, Vec<u64>) {
        let engine = engine();
        let slices: Vec<_> = quotas.iter().map(|quota| engine.slice(quota)).collect();
        let held = used(5, 10);
        let amounts = |usage: &Usage| Amounts {
            tokens: usage.total(),
            nano_usd: cost(usage),
            ..Amounts::default()
        };
        let mut holds = engine.hold(&slices, &amounts(&held)).await.unwrap();
        let mut overrun = Overrun::beyond(5, 10);
        let mut cut = None;
        let mut output = 0;
        while output < tokens && cut.is_none() {
            output += 1;
            while overrun.is_due((5, output)) {
                let before = overrun;
                if overrun.look(&mut holds, &used(5, output), cost).is_some() {
                    cut = Some(output);
                    break;
                }
                if overrun == before {
                    tokio::task::yield_now().await;
                }
            }
            // Here the store answers between two tokens, so that what is seen does not depend on who is
            // faster.
            for _ in 0..32 {
                tokio::task::yield_now().await;
            }
        }
        holds.settle(&amounts(&used(5, output)));
        assert!(engine.close(Duration::from_secs(10)).await);
        let states = engine.look(quotas).await.unwrap();
        let overruns = slices.iter().map(|slice| slice.overrun()).collect();
        (cut, states.iter().map(|state| state.used).collect(), overruns)
    }

    #[test]
    fn what_holds_nothing_is_never_due() {
        assert!(!Overrun::default().is_due((u64::MAX, u64::MAX)));
        let overrun = Overrun::beyond(5, 10);
        assert!(!overrun.is_due((5, 10)));
        assert!(overrun.is_due((6, 0)) && overrun.is_due((0, 11)));
    }

    #[tokio::test]
    async fn a_stream_within_its_limits_goes_on_and_nothing_is_overrun() {
        let quotas = [
            quota(Unit::Tokens, 100_000, OnOverrun::Cut),
            quota(Unit::NanoUsd, 1_000_000, OnOverrun::Cut),
        ];
        let (cut, charged, overrun) = stream(&quotas, 3_000).await;
        assert_eq!((cut, charged, overrun), (None, vec![3_005, 30_005], vec![0, 0]));
    }

    #[tokio::test]
    async fn a_limit_that_cuts_lets_all_of_it_be_used_and_not_a_token_more() {
        let (cut, charged, _) = stream(&[quota(Unit::Tokens, 1_000, OnOverrun::Cut)], 3_000).await;
        // The token that does not fit has been generated: it is charged.
        assert_eq!((cut, charged), (Some(996), vec![1_001]));
        let (cut, charged, _) = stream(&[quota(Unit::NanoUsd, 1_000, OnOverrun::Cut)], 3_000).await;
        assert_eq!((cut, charged), (Some(100), vec![1_005]));
    }

    #[tokio::test]
    async fn a_limit_that_lets_finish_counts_what_was_too_much() {
        let (cut, charged, overrun) =
            stream(&[quota(Unit::Tokens, 1_000, OnOverrun::Finish)], 1_500).await;
        assert_eq!((cut, charged), (None, vec![1_505]));
        assert_eq!(overrun, [505]);
    }

    #[tokio::test]
    async fn one_limit_that_lets_finish_saves_no_stream_from_one_that_cuts() {
        let quotas =
            [quota(Unit::Tokens, 20, OnOverrun::Finish), quota(Unit::Tokens, 200, OnOverrun::Cut)];
        let (cut, _, _) = stream(&quotas, 3_000).await;
        let cut = cut.unwrap();
        assert!((196..=196 + STEP).contains(&cut), "{cut}");
    }
}
