//! `/admin/v1/quotas`: what is left of limits, and why requests were refused.

use serde::{Serialize, Serializer};
use sluicegate_filters::admit::{Quota, Span, Unit};
use sluicegate_quota::store::LeaseState;
use sluicegate_quota::{Refusal, State};
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Ref, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::super::actor::{Permission, Scope};
use super::super::call::{Answer, Call, ok};
use super::super::error::ApiError;
use super::super::input::money::Usd;
use super::super::input::time::Moment;
use super::super::service::quotas;
use super::List;
use crate::config::valid::ConfiguredQuota;

/// A scope with its limits.
#[derive(Debug, Serialize, ToSchema)]
pub struct ScopeView {
    /// `team:blue`.
    pub scope: String,
    pub quotas: Vec<QuotaView>,
}

/// A limit, and what is left of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct QuotaView {
    /// The counter's name in its store.
    pub counter: String,
    /// Who says it: `record` or `config`.
    pub source: &'static str,
    /// Only requests for this model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// `requests`, `tokens`, `usd` or `parallel`.
    pub unit: &'static str,
    /// How much may be used in the window now, the raise included. Absent: there are only warnings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<QuotaAmount>,
    /// The raise that is in force, or was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raise: Option<RaiseView>,
    /// From what on there are warnings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soft: Option<QuotaAmount>,
    /// Whether that is reached.
    pub soft_exceeded: bool,
    /// `rolling-60000ms`, `month-UTC`, `lifetime`.
    pub window: String,
    /// When the present window has begun. Absent where it rolls, or never begins anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_start: Option<Moment>,
    /// When the next begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_end: Option<Moment>,
    /// What ended requests have used. In a rolling window, what requests under way hold, too.
    pub settled: QuotaAmount,
    /// What requests under way hold, as their instances last told.
    pub held: QuotaAmount,
    /// What instances hold ready, `held` included.
    pub leased: QuotaAmount,
    /// What was leased to instances that are gone; it counts as used until it is known.
    pub in_doubt: QuotaAmount,
    /// What may still be used. Absent: there are only warnings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining: Option<QuotaAmount>,
    /// By instance.
    pub leases: Vec<LeaseView>,
    /// `lease`, `closed` or `open`.
    pub on_store_loss: &'static str,
    /// `charge` or `release`.
    pub on_lost_lease: &'static str,
    /// `finish` or `cut`.
    pub on_overrun: &'static str,
    /// How many requests this instance has refused for it.
    pub refused: u64,
    /// The last of them, oldest first.
    pub refusals: Vec<RefusalView>,
    /// The counters' time.
    pub at: Moment,
}

/// A raise of a limit for a time.
#[derive(Debug, Serialize, ToSchema)]
pub struct RaiseView {
    pub by: QuotaAmount,
    pub until: Moment,
    /// Whether it counts now.
    pub in_force: bool,
}

/// What one instance holds ready.
#[derive(Debug, Serialize, ToSchema)]
pub struct LeaseView {
    pub instance: String,
    pub leased: QuotaAmount,
    pub held: QuotaAmount,
    pub in_doubt: QuotaAmount,
    /// When it is lost, if nothing is heard of the instance.
    pub expires_at: Moment,
}

/// A request that was refused.
#[derive(Debug, Serialize, ToSchema)]
pub struct RefusalView {
    pub at: Moment,
    /// What it asked for.
    pub amount: QuotaAmount,
    /// What was left.
    pub remaining: QuotaAmount,
    /// `limit_reached`, `never_fits` or `store_away`.
    pub reason: &'static str,
}

/// A limit of the configuration.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConfiguredQuotaView {
    /// `gateway`, `model`, `provider`, `tag`, `end_user`, `team`, `user`, `organization` or `key`.
    pub scope: &'static str,
    /// Which one. Absent: each separately, or the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// `requests`, `tokens`, `usd` or `parallel`.
    pub unit: &'static str,
    pub limit: QuotaAmount,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soft: Option<QuotaAmount>,
    pub window: String,
    pub on_store_loss: &'static str,
    pub on_lost_lease: &'static str,
    pub on_overrun: &'static str,
}

/// A number of units. Money is told twice: as USD, for people, and in billionths of it, to compute with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaAmount {
    Count(u64),
    Money(u64),
}

/// Money, told twice.
#[derive(Debug, Serialize, ToSchema)]
pub struct MoneyView {
    pub usd: Usd,
    pub nano_usd: u64,
}

impl MoneyView {
    /// Of so many billionths.
    pub fn of(nano_usd: u64) -> Self {
        Self { usd: Usd(nano_usd), nano_usd }
    }
}

impl QuotaAmount {
    fn of(unit: Unit, number: u64) -> Self {
        match unit {
            Unit::NanoUsd => Self::Money(number),
            Unit::Requests | Unit::Tokens | Unit::Parallel => Self::Count(number),
        }
    }
}

impl Serialize for QuotaAmount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Count(number) => serializer.serialize_u64(number),
            Self::Money(nano_usd) => MoneyView::of(nano_usd).serialize(serializer),
        }
    }
}

impl PartialSchema for QuotaAmount {
    fn schema() -> RefOr<Schema> {
        OneOfBuilder::new()
            .item(ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)))
            .item(Ref::from_schema_name(MoneyView::name()))
            .description(Some("A number of units. Money is told twice."))
            .into()
    }
}

impl ToSchema for QuotaAmount {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((MoneyView::name().into_owned(), MoneyView::schema()));
        MoneyView::schemas(schemas);
    }
}

pub async fn list(mut call: Call) -> Answer {
    let limit = call.query.number("limit", 1, 500)?.unwrap_or(50);
    let from = match call.query.text("cursor") {
        None => 0,
        Some(cursor) => cursor
            .parse::<usize>()
            .map_err(|_| ApiError::invalid("cursor", "is not one that a list gave"))?,
    };
    call.query.finish()?;
    if !call.actor.may(Permission::SeeQuotas, Scope::All) {
        return Err(ApiError::forbidden("You may not list the limits of the configuration."));
    }
    let runtime = call.services.gateway.current();
    let all = runtime.quotas.all();
    let to = from.saturating_add(usize::try_from(limit).unwrap_or(usize::MAX));
    let items = all.iter().skip(from).take(to - from).map(ConfiguredQuotaView::from).collect();
    let cursor = (to < all.len()).then(|| to.to_string());
    let total = all.len() as u64;
    Ok(ok(List { items, total, cursor }))
}

pub async fn show(call: Call) -> Answer {
    call.query.finish()?;
    let scope = call.path("scope");
    let found = quotas::find(&call.services, &call.actor, scope).await?;
    let quotas: Vec<_> = found.quotas.iter().map(|(quota, _)| quota.clone()).collect();
    let states =
        if quotas.is_empty() { Vec::new() } else { quotas::look(&call.services, &quotas).await? };
    let engine = call.services.gateway.quotas.engine();
    let views = found.quotas.iter().zip(&states).map(|((quota, of_record), state)| {
        let slice = engine.known(&quota.id());
        let (refusals, refused) = slice.map(|slice| slice.refusals()).unwrap_or_default();
        let source = if *of_record { "record" } else { "config" };
        QuotaView::of(quota, source, state, &refusals, refused)
    });
    Ok(ok(ScopeView { scope: scope.to_owned(), quotas: views.collect() }))
}

impl QuotaView {
    fn of(
        quota: &Quota,
        source: &'static str,
        state: &State,
        refusals: &[Refusal],
        refused: u64,
    ) -> Self {
        let amount = |number| QuotaAmount::of(quota.unit, number);
        let sum = |part: fn(&LeaseState) -> u64| {
            state.leases.iter().map(part).fold(0_u64, u64::saturating_add)
        };
        let (leased, held) = (sum(|lease| lease.leased), sum(|lease| lease.held));
        let limit = quota.limit_at(state.now);
        let remaining = limit.saturating_sub(state.used).saturating_sub(held);
        let only_warns = quota.limit == u64::MAX;
        let (window_start, window_end) = match quota.window.span(state.now) {
            Span::Period { start, end } => (Some(Moment(start)), Some(Moment(end))),
            Span::Always | Span::Rolling { .. } => (None, None),
        };
        Self {
            counter: quota.id().to_string(),
            source,
            model: quota.scope.model.clone(),
            unit: unit(quota.unit),
            limit: (!only_warns).then(|| amount(limit)),
            raise: quota.raise.map(|raise| RaiseView {
                by: amount(raise.by),
                until: Moment(raise.until_ms),
                in_force: state.now < raise.until_ms,
            }),
            soft: quota.soft.map(amount),
            soft_exceeded: quota.soft.is_some_and(|soft| state.used >= soft),
            window: quota.window.to_string(),
            window_start,
            window_end,
            settled: amount(state.used.saturating_sub(state.in_doubt)),
            held: amount(held),
            leased: amount(leased),
            in_doubt: amount(state.in_doubt),
            remaining: (!only_warns).then(|| amount(remaining)),
            leases: state
                .leases
                .iter()
                .map(|lease| LeaseView {
                    instance: lease.instance.clone(),
                    leased: amount(lease.leased),
                    held: amount(lease.held),
                    in_doubt: amount(lease.in_doubt),
                    expires_at: Moment(lease.expires_at),
                })
                .collect(),
            on_store_loss: quota.on_store_loss.name(),
            on_lost_lease: quota.on_lost_lease.name(),
            on_overrun: quota.on_overrun.name(),
            refused,
            refusals: refusals
                .iter()
                .map(|refusal| RefusalView {
                    at: Moment(refusal.at),
                    amount: amount(refusal.amount),
                    remaining: amount(refusal.remaining),
                    reason: refusal.reason.name(),
                })
                .collect(),
            at: Moment(state.now),
        }
    }
}

impl From<&ConfiguredQuota> for ConfiguredQuotaView {
    fn from(quota: &ConfiguredQuota) -> Self {
        let amount = |number| QuotaAmount::of(quota.unit, number);
        Self {
            scope: quota.scope.name(),
            id: quota.id.clone(),
            model: quota.model.clone(),
            unit: unit(quota.unit),
            limit: amount(quota.limit),
            soft: quota.soft.map(amount),
            window: quota.window.to_string(),
            on_store_loss: quota.on_store_loss.name(),
            on_lost_lease: quota.on_lost_lease.name(),
            on_overrun: quota.on_overrun.name(),
        }
    }
}

/// As limits are written, where money is USD.
fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::NanoUsd => "usd",
        Unit::Requests | Unit::Tokens | Unit::Parallel => unit.name(),
    }
}
