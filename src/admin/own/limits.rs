//! Limits and budgets in JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sluicegate_filters::admit::{OnLostLease, OnOverrun, OnStoreLoss};
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::super::input::money::{Usd, verbatim};
use super::super::input::time::{Moment, Span};
use crate::stores::records;

/// Limits and budgets. What is absent is not limited.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Limits {
    /// Requests a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpm: Option<u64>,
    /// Tokens a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpm: Option<u64>,
    /// Requests under way at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel: Option<u64>,
    /// What may be spent in each budget window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<Usd>,
    /// From what on there are warnings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soft_budget: Option<Usd>,
    /// The budget's window. Absent: it never begins anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_duration: Option<Span>,
    /// Requests a minute, by model.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub model_rpm: BTreeMap<String, u64>,
    /// Tokens a minute, by model.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub model_tpm: BTreeMap<String, u64>,
    /// The time zone whose days, weeks and months budgets and windows follow: `Europe/Berlin`. Absent: UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_time_zone: Option<String>,
    /// Budgets beside `budget`, each with a window of its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<Budget>,
    /// Budgets by model.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub model_budgets: BTreeMap<String, Budget>,
    /// A raise of `budget` for a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_raise: Option<BudgetRaise>,
    /// Limits in windows of any sort.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<WindowLimit>,
    /// While the counters are away: spend what is leased and then refuse (`lease`, unless given), refuse at
    /// once (`closed`), or admit (`open`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub on_store_loss: Option<OnStoreLoss>,
    /// What was leased to an instance that is gone counts as used until it is known (`charge`, unless given),
    /// or is free again (`release`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub on_lost_lease: Option<OnLostLease>,
    /// A stream that uses more than it holds goes on to its end (`finish`, unless given), or is cut where the
    /// limit has no more (`cut`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub on_overrun: Option<OnOverrun>,
}

/// A budget with a window of its own.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Budget {
    /// What may be spent in the window.
    pub limit: Usd,
    /// The window. Absent: it never begins anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<Span>,
}

/// A raise of a budget for a time.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
pub struct BudgetRaise {
    /// How much more may be spent.
    pub by: Usd,
    /// When that ends.
    pub until: Moment,
}

/// A limit in a window of any sort.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "RawWindowLimit")]
pub struct WindowLimit {
    /// `requests`, `tokens` or `usd`.
    #[schema(value_type = String)]
    pub unit: records::LimitUnit,
    /// How much may be used in the window.
    pub limit: Amount,
    /// `1m`, `12h` or `30d` for one that rolls; `hour`, `day`, `week`, `month`, `year` for the calendar's;
    /// `lifetime`; or a counter's own word, such as `day-Europe/Berlin`.
    pub window: String,
    /// From what on there are warnings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soft: Option<Amount>,
}

/// What a limit allows: a whole number, or an amount of USD as a decimal number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    Count(u64),
    Usd(Usd),
}

/// The same before it is known what the numbers count.
#[derive(Deserialize)]
struct RawWindowLimit {
    unit: records::LimitUnit,
    limit: Digits,
    window: String,
    #[serde(default)]
    soft: Option<Digits>,
}

/// The text of a number.
struct Digits(String);

impl<'de> Deserialize<'de> for Digits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        verbatim(deserializer).map(|text| Self(text.trim_matches('"').to_owned()))
    }
}

impl Digits {
    fn amount(&self, field: &str, unit: records::LimitUnit) -> Result<Amount, String> {
        match unit {
            records::LimitUnit::Usd => {
                Usd::parse(&self.0).map(Amount::Usd).map_err(|error| format!("{field} {error}"))
            }
            records::LimitUnit::Requests | records::LimitUnit::Tokens => {
                let number = self.0.parse().map(Amount::Count);
                number.map_err(|_| format!("{field} must be a whole number, 0 or more"))
            }
        }
    }
}

impl TryFrom<RawWindowLimit> for WindowLimit {
    type Error = String;

    fn try_from(raw: RawWindowLimit) -> Result<Self, String> {
        let soft = raw.soft.map(|soft| soft.amount("has a `soft` that", raw.unit)).transpose()?;
        let limit = raw.limit.amount("has a `limit` that", raw.unit)?;
        Ok(Self { unit: raw.unit, limit, window: raw.window, soft })
    }
}

impl Amount {
    /// Of that unit, from what is stored.
    pub fn of(unit: records::LimitUnit, number: u64) -> Self {
        match unit {
            records::LimitUnit::Usd => Self::Usd(Usd(number)),
            records::LimitUnit::Requests | records::LimitUnit::Tokens => Self::Count(number),
        }
    }

    /// As it is stored.
    pub fn number(self) -> u64 {
        match self {
            Self::Count(number) | Self::Usd(Usd(number)) => number,
        }
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(number) => serializer.serialize_u64(*number),
            Self::Usd(usd) => usd.serialize(serializer),
        }
    }
}

impl PartialSchema for Amount {
    fn schema() -> RefOr<Schema> {
        let types = vec![Type::Integer, Type::String];
        ObjectBuilder::new()
            .schema_type(SchemaType::Array(types))
            .description(Some("A whole number, or an amount of USD as a decimal number."))
            .into()
    }
}

impl ToSchema for Amount {}

impl From<records::Budget> for Budget {
    fn from(budget: records::Budget) -> Self {
        let duration = budget.duration.as_deref().and_then(Span::parse);
        Self { limit: Usd(budget.limit), duration }
    }
}

impl From<Budget> for records::Budget {
    fn from(budget: Budget) -> Self {
        let duration = budget.duration.map(|span| span.as_str().to_owned());
        Self { limit: budget.limit.0, duration }
    }
}

impl From<records::WindowLimit> for WindowLimit {
    fn from(it: records::WindowLimit) -> Self {
        let amount = |number| Amount::of(it.unit, number);
        let (limit, soft) = (amount(it.limit), it.soft.map(amount));
        Self { unit: it.unit, limit, window: it.window, soft }
    }
}

impl From<WindowLimit> for records::WindowLimit {
    fn from(it: WindowLimit) -> Self {
        let (limit, soft) = (it.limit.number(), it.soft.map(Amount::number));
        Self { unit: it.unit, limit, window: it.window, soft }
    }
}

impl From<records::Limits> for Limits {
    fn from(limits: records::Limits) -> Self {
        Self {
            rpm: limits.rpm,
            tpm: limits.tpm,
            parallel: limits.parallel,
            budget: limits.budget.map(Usd),
            soft_budget: limits.soft_budget.map(Usd),
            budget_duration: limits.budget_duration.as_deref().and_then(Span::parse),
            model_rpm: limits.model_rpm,
            model_tpm: limits.model_tpm,
            budget_time_zone: limits.budget_time_zone,
            budgets: limits.budgets.into_iter().map(Budget::from).collect(),
            model_budgets: by_model(limits.model_budgets),
            budget_raise: limits.budget_raise.and_then(|raise| {
                Some(BudgetRaise { by: Usd(raise.by?), until: Moment(raise.until?) })
            }),
            windows: limits.windows.into_iter().map(WindowLimit::from).collect(),
            on_store_loss: limits.on_store_loss,
            on_lost_lease: limits.on_lost_lease,
            on_overrun: limits.on_overrun,
        }
    }
}

impl From<Limits> for records::Limits {
    fn from(limits: Limits) -> Self {
        Self {
            rpm: limits.rpm,
            tpm: limits.tpm,
            parallel: limits.parallel,
            budget: limits.budget.map(|usd| usd.0),
            soft_budget: limits.soft_budget.map(|usd| usd.0),
            budget_duration: limits.budget_duration.map(|span| span.as_str().to_owned()),
            model_rpm: limits.model_rpm,
            model_tpm: limits.model_tpm,
            budget_time_zone: limits.budget_time_zone,
            budgets: limits.budgets.into_iter().map(records::Budget::from).collect(),
            model_budgets: by_model(limits.model_budgets),
            budget_raise: limits.budget_raise.map(|raise| records::BudgetRaise {
                by: Some(raise.by.0),
                until: Some(raise.until.0),
            }),
            windows: limits.windows.into_iter().map(records::WindowLimit::from).collect(),
            on_store_loss: limits.on_store_loss,
            on_lost_lease: limits.on_lost_lease,
            on_overrun: limits.on_overrun,
        }
    }
}

fn by_model<A, B: From<A>>(budgets: BTreeMap<String, A>) -> BTreeMap<String, B> {
    budgets.into_iter().map(|(model, budget)| (model, B::from(budget))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::input::json;

    const ALL: &str = r#"{"rpm":1,"budget":"2.5","budget_duration":"1mo",
        "budget_time_zone":"Europe/Berlin","budgets":[{"limit":"1","duration":"1d"},{"limit":"9"}],
        "model_budgets":{"m":{"limit":"0.000000001","duration":"7d"}},
        "budget_raise":{"by":"3","until":"2030-01-31T12:00:00Z"},
        "windows":[{"unit":"tokens","limit":5,"window":"1d","soft":4},
                   {"unit":"usd","limit":"0.5","window":"day-Asia/Kolkata"}],
        "on_store_loss":"closed","on_lost_lease":"release","on_overrun":"cut"}"#;

    #[test]
    fn every_limit_is_read_stored_and_given_back() {
        let read: Limits = json::strict(ALL.as_bytes()).unwrap();
        let stored = records::Limits::from(read);
        assert_eq!(stored.windows[1].limit, 500_000_000);
        assert_eq!(stored.model_budgets["m"].limit, 1);
        let text = serde_json::to_string(&stored).unwrap();
        let stored: records::Limits = serde_json::from_str(&text).unwrap();
        let given = serde_json::to_value(Limits::from(stored)).unwrap();
        assert_eq!(given, serde_json::from_str::<serde_json::Value>(ALL).unwrap());
    }

    #[test]
    fn amounts_are_of_their_unit() {
        for (window, field) in [
            (r#"{"unit":"tokens","limit":"1.5","window":"1d"}"#, "windows[0]"),
            (r#"{"unit":"usd","limit":"0.0000000001","window":"1d"}"#, "windows[0]"),
            (r#"{"unit":"usd","limit":"-1","window":"1d"}"#, "windows[0]"),
            (r#"{"unit":"parallel","limit":1,"window":"1d"}"#, "windows[0].unit"),
            (r#"{"unit":"usd","limit":"1","window":"1d","colour":1}"#, "windows[0].colour"),
        ] {
            let body = format!("{{\"windows\":[{window}]}}");
            let error = json::strict::<Limits>(body.as_bytes()).expect_err(window);
            assert_eq!(error.field.as_deref(), Some(field), "{}", error.message);
        }
    }
}
