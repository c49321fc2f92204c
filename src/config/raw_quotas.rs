//! The shape of `quotas` in the file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluicegate_filters::admit::{self, Period, Unit, Window};
use sluicegate_filters::price::decimal;

use super::valid;

/// A limit for a scope that no record has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// Whom it is for.
    pub scope: QuotaScope,
    /// Which one, by name or id. Absent: each one separately. None for the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Only their requests for this model. Default: for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What is counted.
    pub unit: QuotaUnit,
    /// How much may be used in the window: a whole number, or USD with up to nine decimals.
    pub limit: QuotaAmount,
    /// When it begins anew: 1m, 1h or 30d for a window that rolls; hour, day, week, month or year for
    /// the calendar's; lifetime. None for parallel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<QuotaWindow>,
    /// From what on there are warnings. Default: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soft: Option<QuotaAmount>,
    /// What becomes of requests while the counters are away: what is leased is spent, then they are
    /// refused (`lease`); refused at once (`closed`); admitted (`open`). Default: lease.
    pub on_store_loss: Option<QuotaOnStoreLoss>,
    /// What becomes of units leased to an instance that is gone: used until it is known (`charge`), or
    /// free again (`release`). Default: charge.
    pub on_lost_lease: Option<QuotaOnLostLease>,
    /// What becomes of a stream that uses more than it holds: it goes on (`finish`), or is cut where
    /// the limit has no more (`cut`). Default: finish.
    pub on_overrun: Option<QuotaOnOverrun>,
}

/// Whom a limit is for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "a comment on each would turn the schema's enum into a list")]
pub enum QuotaScope {
    Gateway,
    Model,
    Provider,
    Tag,
    EndUser,
    Team,
    User,
    Organization,
    Key,
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "a comment on each would turn the schema's enum into a list")]
pub enum QuotaUnit {
    Requests,
    Tokens,
    Usd,
    Parallel,
}

/// A number, also as text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum QuotaAmount {
    /// A whole number.
    Whole(u64),
    /// A decimal number.
    Decimal(f64),
    /// A number as text.
    Text(String),
}

/// When a limit begins anew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum QuotaWindow {
    /// In a word.
    Word(String),
    /// With the calendar of a time zone.
    Calendar(QuotaCalendar),
}

/// A calendar's period.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QuotaCalendar {
    /// Which period.
    pub calendar: QuotaPeriod,
    /// The time zone's name, such as Europe/Berlin. Default: UTC.
    pub time_zone: Option<String>,
}

/// A calendar's period.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "a comment on each would turn the schema's enum into a list")]
pub enum QuotaPeriod {
    Hour,
    Day,
    Week,
    Month,
    Year,
}

/// What becomes of requests while the counters are away.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "a comment on each would turn the schema's enum into a list")]
pub enum QuotaOnStoreLoss {
    Lease,
    Closed,
    Open,
}

/// What becomes of units leased to an instance that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "a comment on each would turn the schema's enum into a list")]
pub enum QuotaOnLostLease {
    Charge,
    Release,
}

/// What becomes of a stream that uses more than it holds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "a comment on each would turn the schema's enum into a list")]
pub enum QuotaOnOverrun {
    Finish,
    Cut,
}

impl Quota {
    /// As a person would write it.
    pub(super) fn of(quota: &valid::ConfiguredQuota) -> Self {
        let amount = |number| match quota.unit {
            Unit::NanoUsd => QuotaAmount::Text(decimal::format(number, 9)),
            Unit::Requests | Unit::Tokens | Unit::Parallel => QuotaAmount::Whole(number),
        };
        Self {
            scope: scope(quota.scope),
            id: quota.id.clone(),
            model: quota.model.clone(),
            unit: match quota.unit {
                Unit::Requests => QuotaUnit::Requests,
                Unit::Tokens => QuotaUnit::Tokens,
                Unit::NanoUsd => QuotaUnit::Usd,
                Unit::Parallel => QuotaUnit::Parallel,
            },
            limit: amount(quota.limit),
            window: (quota.unit != Unit::Parallel).then(|| window(&quota.window)),
            soft: quota.soft.map(amount),
            on_store_loss: Some(match quota.on_store_loss {
                admit::OnStoreLoss::Lease => QuotaOnStoreLoss::Lease,
                admit::OnStoreLoss::Closed => QuotaOnStoreLoss::Closed,
                admit::OnStoreLoss::Open => QuotaOnStoreLoss::Open,
            }),
            on_lost_lease: Some(match quota.on_lost_lease {
                admit::OnLostLease::Charge => QuotaOnLostLease::Charge,
                admit::OnLostLease::Release => QuotaOnLostLease::Release,
            }),
            on_overrun: Some(match quota.on_overrun {
                admit::OnOverrun::Finish => QuotaOnOverrun::Finish,
                admit::OnOverrun::Cut => QuotaOnOverrun::Cut,
            }),
        }
    }
}

fn scope(kind: admit::ScopeKind) -> QuotaScope {
    match kind {
        admit::ScopeKind::Organization => QuotaScope::Organization,
        admit::ScopeKind::Team => QuotaScope::Team,
        admit::ScopeKind::User => QuotaScope::User,
        admit::ScopeKind::Key => QuotaScope::Key,
        admit::ScopeKind::EndUser => QuotaScope::EndUser,
        admit::ScopeKind::Tag => QuotaScope::Tag,
        admit::ScopeKind::Provider => QuotaScope::Provider,
        admit::ScopeKind::Model => QuotaScope::Model,
        admit::ScopeKind::Gateway => QuotaScope::Gateway,
    }
}

fn window(window: &Window) -> QuotaWindow {
    let Window::Calendar { period, zone } = window else {
        return QuotaWindow::Word(window.to_string());
    };
    QuotaWindow::Calendar(QuotaCalendar {
        calendar: match period {
            Period::Hour => QuotaPeriod::Hour,
            Period::Day => QuotaPeriod::Day,
            Period::Week => QuotaPeriod::Week,
            Period::Month => QuotaPeriod::Month,
            Period::Year => QuotaPeriod::Year,
        },
        time_zone: Some(zone.name().to_owned()),
    })
}
