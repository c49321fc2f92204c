//! What LiteLLM's requests have in common.

use std::collections::BTreeMap;
use std::fmt;

use super::super::error::ApiError;
use super::super::input::money::LaxUsd;
use super::super::input::patch::Field;
use super::super::input::time::Span;
use super::budgets::BudgetFields;
use crate::stores::records::Limits;
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde_json::{Map, Value};

/// Where in the metadata stands what LiteLLM knows and we only keep.
pub const KEPT: &str = "litellm";

/// A whole number that may come as `100.0` or `"100"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count(pub u64);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Count;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number, 0 or more")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Count, E> {
                Ok(Count(number))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Count, E> {
                // Every whole number up to 2^53 is exact.
                if number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&number) {
                    return Ok(Count(number as u64));
                }
                Err(E::custom("must be a whole number, 0 or more"))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Count, E> {
                text.parse().map(Count).map_err(|_| E::custom("must be a whole number, 0 or more"))
            }
        }
        deserializer.deserialize_any(Number)
    }
}

/// Defines a request: its own fields, in which absence may differ from `null`, with those that all of
/// LiteLLM's records have.
macro_rules! fields {
    (
        $(#[$about:meta])*
        pub struct $name:ident {
            $($(#[$plain_about:meta])* $plain:ident: $plain_type:ty,)*
            --
            $($(#[$field_about:meta])* $field:ident: $type:ty,)*
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Default, serde::Deserialize, utoipa::ToSchema)]
        pub struct $name {
            $($(#[$plain_about])* #[serde(default)] $plain: $plain_type,)*
            $($(#[$field_about])* #[serde(default)] #[schema(value_type = Option<$type>)]
              $field: $crate::admin::input::patch::Field<$type>,)*
            #[serde(default)]
            #[schema(value_type = Option<Vec<String>>)]
            models: $crate::admin::input::patch::Field<Vec<String>>,
            #[serde(default)]
            #[schema(value_type = Option<LaxUsd>)]
            max_budget: $crate::admin::input::patch::Field<$crate::admin::input::money::LaxUsd>,
            /// From what on there are warnings.
            #[serde(default)]
            #[schema(value_type = Option<LaxUsd>)]
            soft_budget: $crate::admin::input::patch::Field<$crate::admin::input::money::LaxUsd>,
            /// `30d`, or `daily`, `weekly`, `monthly`.
            #[serde(default)]
            #[schema(value_type = Option<String>)]
            budget_duration: $crate::admin::input::patch::Field<String>,
            #[serde(default)]
            #[schema(value_type = Option<u64>)]
            max_parallel_requests: $crate::admin::input::patch::Field<super::fields::Count>,
            #[serde(default)]
            #[schema(value_type = Option<u64>)]
            tpm_limit: $crate::admin::input::patch::Field<super::fields::Count>,
            #[serde(default)]
            #[schema(value_type = Option<u64>)]
            rpm_limit: $crate::admin::input::patch::Field<super::fields::Count>,
            #[serde(default)]
            #[schema(value_type = Option<std::collections::BTreeMap<String, u64>>)]
            model_rpm_limit: $crate::admin::input::patch::Field<super::fields::Counts>,
            #[serde(default)]
            #[schema(value_type = Option<std::collections::BTreeMap<String, u64>>)]
            model_tpm_limit: $crate::admin::input::patch::Field<super::fields::Counts>,
            /// Budgets by model: `budget_limit` or `max_budget`, `time_period` or `budget_duration`.
            #[serde(default)]
            #[schema(value_type = Option<std::collections::BTreeMap<String, super::budgets::ModelBudget>>)]
            model_max_budget: $crate::admin::input::patch::Field<super::budgets::ModelBudgets>,
            /// More budgets, each with a window of its own.
            #[serde(default)]
            #[schema(value_type = Option<Vec<super::budgets::BudgetLimit>>)]
            budget_limits: $crate::admin::input::patch::Field<Vec<super::budgets::BudgetLimit>>,
            /// How much more than `max_budget` may be spent until `temp_budget_expiry`.
            #[serde(default)]
            #[schema(value_type = Option<LaxUsd>)]
            temp_budget_increase: $crate::admin::input::patch::Field<$crate::admin::input::money::LaxUsd>,
            /// A time in ISO 8601; without a zone, UTC.
            #[serde(default)]
            #[schema(value_type = Option<String>)]
            temp_budget_expiry: $crate::admin::input::patch::Field<String>,
            #[serde(default)]
            #[schema(value_type = Option<Object>)]
            metadata: $crate::admin::input::patch::Field<serde_json::Map<String, serde_json::Value>>,
            #[serde(default)]
            #[schema(value_type = Option<Vec<String>>)]
            tags: $crate::admin::input::patch::Field<Vec<String>>,
        }

        impl $name {
            /// Sets what all records have, as far as it is named.
            fn apply_common(
                &self,
                models: &mut Vec<String>,
                tags: &mut Vec<String>,
                metadata: &mut serde_json::Map<String, serde_json::Value>,
                limits: &mut $crate::stores::records::Limits,
            ) -> Result<(), $crate::admin::error::ApiError> {
                self.models.clone().set(models);
                if let $crate::admin::input::patch::Field::Value(named) = &self.metadata {
                    super::fields::Metadata::of(named).apply(metadata, tags, limits);
                }
                self.tags.clone().set(tags);
                let fields = super::fields::LimitFields {
                    max_budget: &self.max_budget,
                    soft_budget: &self.soft_budget,
                    budget_duration: &self.budget_duration,
                    max_parallel_requests: &self.max_parallel_requests,
                    tpm_limit: &self.tpm_limit,
                    rpm_limit: &self.rpm_limit,
                    model_rpm_limit: &self.model_rpm_limit,
                    model_tpm_limit: &self.model_tpm_limit,
                    budgets: super::budgets::BudgetFields {
                        model_max_budget: &self.model_max_budget,
                        budget_limits: &self.budget_limits,
                        temp_budget_increase: &self.temp_budget_increase,
                        temp_budget_expiry: &self.temp_budget_expiry,
                    },
                };
                fields.apply(limits)
            }
        }
    };
}
pub(super) use fields;

/// Numbers by model.
pub type Counts = BTreeMap<String, Count>;

/// The limits of a request, as far as they are named.
pub struct LimitFields<'a> {
    pub max_budget: &'a Field<LaxUsd>,
    pub soft_budget: &'a Field<LaxUsd>,
    pub budget_duration: &'a Field<String>,
    pub max_parallel_requests: &'a Field<Count>,
    pub tpm_limit: &'a Field<Count>,
    pub rpm_limit: &'a Field<Count>,
    pub model_rpm_limit: &'a Field<Counts>,
    pub model_tpm_limit: &'a Field<Counts>,
    pub budgets: BudgetFields<'a>,
}

impl LimitFields<'_> {
    /// Sets those that are named.
    ///
    /// # Errors
    /// 422.
    pub fn apply(&self, limits: &mut Limits) -> Result<(), ApiError> {
        let count = |field: &Field<Count>, before| field.map(|count| count.0).over(before);
        limits.rpm = count(self.rpm_limit, limits.rpm);
        limits.tpm = count(self.tpm_limit, limits.tpm);
        limits.parallel = count(self.max_parallel_requests, limits.parallel);
        limits.budget = money(self.max_budget, limits.budget);
        limits.soft_budget = money(self.soft_budget, limits.soft_budget);
        match self.budget_duration {
            Field::Absent => {}
            Field::Null => limits.budget_duration = None,
            Field::Value(text) => limits.budget_duration = window("budget_duration", text)?,
        }
        let counts = |field: &Field<Counts>| {
            field.clone().map(|map| map.into_iter().map(|(name, count)| (name, count.0)).collect())
        };
        counts(self.model_rpm_limit).set(&mut limits.model_rpm);
        counts(self.model_tpm_limit).set(&mut limits.model_tpm);
        self.budgets.apply(limits)
    }
}

/// An amount, given what it was.
pub fn money(field: &Field<LaxUsd>, before: Option<u64>) -> Option<u64> {
    match field {
        Field::Absent => before,
        Field::Null => None,
        Field::Value(LaxUsd(amount)) => amount.map(|usd| usd.0),
    }
}

/// A budget's window. LiteLLM's UI has words for three of them.
///
/// # Errors
/// 422, which names `field`.
pub fn window(field: &str, text: &str) -> Result<Option<String>, ApiError> {
    let text = match text {
        "" => return Ok(None),
        "hourly" => "1h",
        "daily" => "1d",
        "weekly" => "7d",
        "monthly" => "1mo",
        text => text,
    };
    match Span::parse(text) {
        Some(span) => Ok(Some(span.as_str().to_owned())),
        None => Err(ApiError::invalid(
            field,
            "must be a span of time such as 24h, 30d or 1mo, up to ten years",
        )),
    }
}

/// When something that lasts for `duration` from `now` on ends; `None`: never.
///
/// # Errors
/// 422.
pub fn end(duration: &str, now: i64) -> Result<Option<i64>, ApiError> {
    if matches!(duration, "" | "-1") {
        return Ok(None);
    }
    let span = Span::parse(duration).ok_or_else(|| {
        let reason = "must be a span of time such as 90s, 30m, 24h, 30d or 1mo, up to ten years";
        ApiError::invalid("duration", reason)
    })?;
    Ok(Some(now + span.milliseconds()))
}

/// The metadata of a request: what LiteLLM lets one write there instead of in fields of their own is
/// taken out.
#[derive(Debug, Default)]
pub struct Metadata {
    pub rest: Map<String, Value>,
    pub tags: Option<Vec<String>>,
    pub model_rpm: Option<BTreeMap<String, u64>>,
    pub model_tpm: Option<BTreeMap<String, u64>>,
}

impl Metadata {
    pub fn of(metadata: &Map<String, Value>) -> Self {
        let mut rest = metadata.clone();
        // Only what our own answers put there.
        rest.remove(KEPT);
        Self {
            tags: taken(&mut rest, "tags"),
            model_rpm: taken(&mut rest, "model_rpm_limit"),
            model_tpm: taken(&mut rest, "model_tpm_limit"),
            rest,
        }
    }

    /// Replaces the metadata, but what is [kept](keep) in it.
    pub fn apply(
        self,
        metadata: &mut Map<String, Value>,
        tags: &mut Vec<String>,
        limits: &mut Limits,
    ) {
        let kept = metadata.remove(KEPT);
        *metadata = self.rest;
        metadata.extend(kept.map(|kept| (KEPT.to_owned(), kept)));
        if let Some(named) = self.tags {
            *tags = named;
        }
        if let Some(named) = self.model_rpm {
            limits.model_rpm = named;
        }
        if let Some(named) = self.model_tpm {
            limits.model_tpm = named;
        }
    }
}

/// The member of that name, if it is what it should be.
fn taken<T: serde::de::DeserializeOwned>(map: &mut Map<String, Value>, name: &str) -> Option<T> {
    let value = serde_json::from_value(map.get(name)?.clone()).ok()?;
    map.remove(name);
    Some(value)
}

/// Keeps what means nothing here, to be given back.
pub fn keep(metadata: &mut Map<String, Value>, name: &str, field: &Field<Map<String, Value>>) {
    let value = match field {
        Field::Absent => return,
        Field::Value(value) if !value.is_empty() => Some(Value::Object(value.clone())),
        Field::Null | Field::Value(_) => None,
    };
    let mut kept = match metadata.remove(KEPT) {
        Some(Value::Object(kept)) => kept,
        _ => Map::new(),
    };
    match value {
        Some(value) => drop(kept.insert(name.to_owned(), value)),
        None => drop(kept.remove(name)),
    }
    if !kept.is_empty() {
        metadata.insert(KEPT.to_owned(), Value::Object(kept));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn counts_are_read_as_python_sends_them() {
        let read = |value| serde_json::from_value::<Count>(value).ok().map(|count| count.0);
        assert_eq!(read(json!(5)), Some(5));
        assert_eq!(read(json!(5.0)), Some(5));
        assert_eq!(read(json!("5")), Some(5));
        for value in [json!(-1), json!(1.5), json!("x"), json!(""), json!(1e300), json!(true)] {
            assert_eq!(read(value.clone()), None, "{value}");
        }
    }

    #[test]
    fn windows_and_ends_are_read_in_words_too() {
        assert_eq!(window("w", "monthly").unwrap().as_deref(), Some("1mo"));
        assert_eq!(window("w", "30d").unwrap().as_deref(), Some("30d"));
        assert_eq!(window("w", "").unwrap(), None);
        assert!(window("w", "sometimes").is_err());
        assert_eq!(end("30s", 1000).unwrap(), Some(31_000));
        assert_eq!(end("-1", 1000).unwrap(), None);
        assert!(end("soon", 0).is_err());
    }

    #[test]
    fn what_stands_in_the_metadata_is_taken_out() {
        let Value::Object(sent) = json!({
            "tags": ["a"], "model_rpm_limit": {"m": 2}, "model_tpm_limit": "nonsense", "mine": 1,
            "litellm": {"forged": true},
        }) else {
            panic!("an object")
        };
        let (mut metadata, mut tags, mut limits) =
            (Map::new(), vec!["old".to_owned()], Limits::default());
        keep(
            &mut metadata,
            "aliases",
            &Field::Value(Map::from_iter([("a".to_owned(), json!("b"))])),
        );
        Metadata::of(&sent).apply(&mut metadata, &mut tags, &mut limits);
        assert_eq!(tags, ["a"]);
        assert_eq!(limits.model_rpm["m"], 2);
        let expected =
            json!({"model_tpm_limit": "nonsense", "mine": 1, "litellm": {"aliases": {"a": "b"}}});
        assert_eq!(Value::Object(metadata.clone()), expected);
        keep(&mut metadata, "aliases", &Field::Null);
        assert!(!metadata.contains_key(KEPT));
    }
}
