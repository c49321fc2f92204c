//! What a caller is told who has used their limit up.

use std::fmt::Write;

use sluicegate_filters::admit::{Quota, ScopeKind, Unit, Window};
use sluicegate_filters::{Denial, DenialKind};
use sluicegate_quota::Refused;

/// The denial, with what was exceeded, what is left, and when to try again.
pub fn denial(refused: &Refused) -> Denial {
    let Refused { quota, amount, standing, store_away, fits_in_ms } = refused;
    if *store_away {
        let message = "how much is left of the limits can't be found out now; try again";
        return Denial::new(DenialKind::QuotaUnavailable, message)
            .with_detail(quota.id().to_string());
    }
    let kind = kind(quota.unit);
    let mut message = limit(quota, standing.limit);
    if *amount > standing.limit {
        let asked = units(quota.unit, *amount);
        write!(message, " This request may need {asked}, which never fits: ask for less output.")
            .ok();
        return Denial::new(kind, message).with_detail(quota.id().to_string());
    }
    let left = units(quota.unit, standing.remaining);
    write!(message, " {left} left").ok();
    if matches!(quota.unit, Unit::Tokens | Unit::NanoUsd) {
        let asked = units(quota.unit, *amount);
        write!(message, ", and this request may need {asked}").ok();
    }
    message.push('.');
    let denial = |message: String| Denial::new(kind, message).with_detail(quota.id().to_string());
    // Others hold units that they may give back.
    let wait_ms = match fits_in_ms {
        _ if quota.unit == Unit::Parallel => Some(1_000),
        _ if standing.remaining >= *amount => Some(1_000),
        None if standing.resets_in_ms.is_none() => None,
        None => standing.resets_in_ms,
        Some(ms) => Some(*ms),
    };
    match wait_ms {
        None => denial(message),
        Some(ms) => {
            let seconds =
                u32::try_from(ms.max(1).cast_unsigned().div_ceil(1_000)).unwrap_or(u32::MAX);
            write!(message, " Try again in {seconds} s.").ok();
            denial(message).with_retry_after(seconds)
        }
    }
}

/// What ends a stream that has used more than a limit has: the code and the message.
pub fn used_up(quota: &Quota) -> (DenialKind, String) {
    let mut message = limit(quota, quota.limit_at(crate::clock::now_ms()));
    message.push_str(" All of it is used up. The answer above is incomplete.");
    (kind(quota.unit), message)
}

fn kind(unit: Unit) -> DenialKind {
    match unit {
        Unit::NanoUsd => DenialKind::BudgetExceeded,
        Unit::Requests | Unit::Tokens | Unit::Parallel => DenialKind::RateLimitExceeded,
    }
}

/// The limit that is in force, in words.
fn limit(quota: &Quota, limit: u64) -> String {
    let whose = match quota.scope.kind {
        ScopeKind::Key => "This key".to_owned(),
        ScopeKind::Gateway => "This gateway".to_owned(),
        // Whose tag or provider it is, is nobody's business.
        ScopeKind::Provider => "The provider of this model".to_owned(),
        ScopeKind::Tag => "A tag of this key".to_owned(),
        ScopeKind::EndUser => "This end user".to_owned(),
        kind => format!("The {} `{}`", kind.name(), quota.scope.id),
    };
    let model = quota.scope.model.as_ref();
    let of = model.map_or(String::new(), |model| format!(" of the model `{model}`"));
    let what = units(quota.unit, limit);
    let window = match &quota.window {
        Window::Lifetime if quota.unit == Unit::Parallel => " at once".to_owned(),
        Window::Lifetime => " in all".to_owned(),
        Window::Rolling { ms } | Window::Fixed { ms } => format!(" every {}", duration(*ms)),
        Window::Calendar { period, .. } => format!(" a {}", period.name()),
    };
    format!("{whose} may use {what}{of}{window}.")
}

/// An amount in words.
fn units(unit: Unit, amount: u64) -> String {
    match unit {
        Unit::Requests | Unit::Parallel if amount == 1 => "1 request".to_owned(),
        Unit::Requests | Unit::Parallel => format!("{amount} requests"),
        Unit::Tokens => format!("{amount} tokens"),
        Unit::NanoUsd => usd(amount),
    }
}

/// Nano-USD as dollars, with as many digits as it needs.
pub fn usd(nano: u64) -> String {
    let (whole, rest) = (nano / 1_000_000_000, nano % 1_000_000_000);
    let digits = format!("{rest:09}");
    let digits = digits.trim_end_matches('0');
    format!("${whole}.{digits:0<2}")
}

fn duration(ms: i64) -> String {
    match ms {
        ms if ms % 86_400_000 == 0 => format!("{} d", ms / 86_400_000),
        ms if ms % 3_600_000 == 0 => format!("{} h", ms / 3_600_000),
        ms if ms % 1_000 == 0 => format!("{} s", ms / 1_000),
        ms => format!("{ms} ms"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sluicegate_filters::admit::Scope;
    use sluicegate_quota::Standing;

    use super::*;

    fn refused(unit: Unit, window: Window, limit: u64, amount: u64) -> Refused {
        let quota = Quota::new(Scope::new(ScopeKind::Team, "blue"), unit, window, limit);
        let standing = Standing {
            unit,
            limit,
            remaining: limit.min(amount - 1),
            soft_exceeded: false,
            resets_in_ms: Some(60_000),
        };
        let quota = Arc::new(quota);
        Refused { quota, amount, standing, store_away: false, fits_in_ms: Some(11_001) }
    }

    #[test]
    fn a_refusal_says_what_is_exceeded_what_is_left_and_when_to_come_back() {
        let minute = Window::Rolling { ms: 60_000 };
        let said = denial(&refused(Unit::Tokens, minute, 1_000, 600));
        assert_eq!(said.kind(), DenialKind::RateLimitExceeded);
        assert_eq!(said.retry_after(), Some(12));
        assert_eq!(
            said.message(),
            "The team `blue` may use 1000 tokens every 60 s. 599 tokens left, and this request may \
             need 600 tokens. Try again in 12 s."
        );
        let mut of_money = refused(Unit::NanoUsd, Window::Lifetime, 2_500_000_000, 7);
        of_money.fits_in_ms = None;
        of_money.standing.resets_in_ms = None;
        let said = denial(&of_money);
        assert_eq!((said.kind(), said.retry_after()), (DenialKind::BudgetExceeded, None));
        assert_eq!(
            said.message(),
            "The team `blue` may use $2.50 in all. $0.000000006 left, and this request may need \
             $0.000000007."
        );
    }

    #[test]
    fn a_stream_is_ended_with_the_limit_that_it_has_used_up() {
        let of_money = refused(Unit::NanoUsd, Window::Lifetime, 2_500_000_000, 7);
        let (kind, message) = used_up(&of_money.quota);
        assert_eq!(kind, DenialKind::BudgetExceeded);
        assert_eq!(
            message,
            "The team `blue` may use $2.50 in all. All of it is used up. The answer above is \
             incomplete."
        );
        let of_tokens = refused(Unit::Tokens, Window::Rolling { ms: 60_000 }, 1_000, 600);
        assert_eq!(used_up(&of_tokens.quota).0, DenialKind::RateLimitExceeded);
    }

    #[test]
    fn what_never_fits_is_not_worth_another_try() {
        let said = denial(&refused(Unit::Tokens, Window::Rolling { ms: 1 }, 10, 11));
        assert_eq!(said.retry_after(), None);
        assert!(said.message().contains("never fits"), "{}", said.message());
    }

    #[test]
    fn a_store_that_is_away_is_no_exceeded_limit() {
        let mut away = refused(Unit::Tokens, Window::Lifetime, 10, 1);
        away.store_away = true;
        let said = denial(&away);
        assert_eq!((said.kind(), said.retry_after()), (DenialKind::QuotaUnavailable, Some(1)));
    }
}
